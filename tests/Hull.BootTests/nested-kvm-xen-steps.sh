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

# The cloud kernel finds Xen: its events, clock and console, PV disk and network card, two processors.
make_network
make_disk /tmp/disk.img
sum=$(blob_sum)
step xen /hull/Hull.Cli run --engine kvm --xen -c 2 --cpu host-safe,-xsave --timeout 200 --stat --disk /tmp/disk.img --net tap=tap0 -- sh -c "
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
dd if=/tmp/disk.img bs=64k skip=64 count=16 2>/dev/null | md5sum | sed 's/^/found /'
