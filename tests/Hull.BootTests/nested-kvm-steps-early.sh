# What L1 does before KVM has a machine; see nested-kvm.sh. EFER.SVME on the first processor is how KVM finds that another
# hypervisor holds it (EBUSY).
. /world
insmod /modules/msr.ko allow_writes=on
change_svme() {
    perl -e 'open F, "+<", "/dev/cpu/0/msr" or die; sysseek F, 0xC0000080, 0; sysread F, $v, 8 or die;
        $v = pack "Q", unpack("Q", $v) ^ 0x1000; sysseek F, 0xC0000080, 0; syswrite F, $v or die "EFER: $!"'
}
change_svme
step busy sh -c '/hull/Hull.Cli run --engine kvm -- true 2>&1'
step busy-doctor sh -c '/hull/Hull.Cli doctor | grep /dev/kvm'
step busy-auto sh -c '/hull/Hull.Cli run --net none --timeout 1 -- true 2>&1'
[ -e $XDG_CACHE_HOME/hull/kvm-verdict ] || echo busy is not kept
change_svme
