# Steps for nested-kvm.sh with NESTED_TESTS=1, KVM with Xen's hypercalls (NESTED_MODULES) and a processor without AVX
# (NESTED_CPU_LESS): user code against the processor, then guests that find Xen.
# QEMU's processor itself is wrong in ways that the comparison meets: IRET at level 3 clears IF and sets VIF and VIP; far returns
# and calls go to the stack with the kernel's rights, and where that faults L1's kernel takes the fault for its own; MMX with
# REX.B reads behind its registers. With AVX it ends at an assertion (VROUNDSS with VEX.L). And its SVM does not intercept
# XSETBV, so KVM does not know what a guest's XCR0 is: the guest goes without XSAVE.
. /world
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 HULL_ORACLE_WITHOUT=Iret,Retf,Call_m16,_mm
tests() {
    step "tests-$1" /dotnet/dotnet exec /sdk/vstest.console.dll Hull.Tests.dll --logger:'console;verbosity=detailed' \
        --TestCaseFilter:"FullyQualifiedName~$1"
}
cd /tests || exit 1
tests KvmOracle
tests KvmXen

# Once in some tens of starts of a second processor QEMU 7.2 leaves the guest twice for one exit, and so writes L1's own registers
# over the guest's: KVM then enters its own code as the guest's, and faults, for good. kvm_exit's trace shows it: that processor's
# RIP is in L1's __svm_vcpu_run.
cat >/stands.pl <<'PERL'
my (%seen, $from, $to);
open my $symbols, '<', '/proc/kallsyms' or die "kallsyms: $!\n";
for (sort map { /^(\w{16} . __svm_vcpu_run)\s/ || /^(\w{16}) . \S+\s+\[kvm_amd\]/ ? $1 : () } <$symbols>) {
    my ($at, $name) = split / . /;
    $to = hex $at if defined $from && !defined $to && hex $at > $from;
    $from = hex $at if $name;
}
open my $trace, '<', '/sys/kernel/tracing/trace' or die "trace: $!\n";
/kvm_exit: vcpu (\d+) .*? rip 0x(\w+)/ and $seen{$1}{hex $2}++ for <$trace>;
for my $vcpu (sort keys %seen) {
    my @at = keys %{$seen{$vcpu}};
    printf "vcpu %d leaves the guest at %s\n", $vcpu, join ' ', map { sprintf '0x%x', $_ } @at[0 .. ($#at < 4 ? $#at : 4)];
    print "vcpu $vcpu has L1's registers: QEMU stands still\n" if @at == 1 && $at[0] >= $from && $at[0] < $to;
}
PERL
watch() {
    for second in $(seq 80); do [ -e /tmp/runs ] || return; sleep 1; done
    mount -t tracefs trace /sys/kernel/tracing
    echo 1 >/sys/kernel/tracing/events/kvm/kvm_exit/enable
    sleep 1
    echo 0 >/sys/kernel/tracing/events/kvm/kvm_exit/enable
    perl /stands.pl | tee /tmp/stands
}

# The cloud kernel finds Xen: its events, clock and console, PV disk and network card, two processors.
make_network
make_disk /tmp/disk.img
sum=$(blob_sum)
xen() {
    touch /tmp/runs
    watch &
    /hull/Hull.Cli run --engine kvm --xen -c 2 --cpu host-safe,-xsave --timeout 120 --stat --disk /tmp/disk.img --net tap=tap0 -- sh -c "
        ip address add 10.77.0.2/24 dev eth0
        ip link set eth0 up
        echo \$(cat /sys/hypervisor/type) \$(cat /sys/hypervisor/version/major).\$(cat /sys/hypervisor/version/minor)
        echo processors \$(nproc), clock \$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
        dd if=/dev/xvda bs=64k count=8 2>/dev/null | md5sum | grep -q $sum && echo disk reads right
        wget -q -O - http://10.77.0.1/blob | md5sum | grep -q $sum && echo network reads right
        dd if=/dev/urandom of=/dev/xvda bs=64k seek=64 count=16 conv=fsync 2>/dev/null
        dd if=/dev/xvda bs=64k skip=64 count=16 2>/dev/null | md5sum | sed 's/^/wrote /'
        exit 43
    "
    set -- $?
    rm /tmp/runs
    wait
    return $1
}
step xen xen
if grep -qs 'QEMU stands still' /tmp/stands; then
    step xen-again xen
fi
dd if=/tmp/disk.img bs=64k skip=64 count=16 2>/dev/null | md5sum | sed 's/^/found /'
