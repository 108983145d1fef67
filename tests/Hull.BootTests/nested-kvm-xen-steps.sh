# Steps for nested-kvm.sh with NESTED_TESTS=1, KVM with Xen's hypercalls (NESTED_MODULES) and a processor without AVX
# (NESTED_CPU_LESS): user code against the processor, then guests that find Xen.
# QEMU's processor itself is wrong in two ways that the comparison meets: IRET at level 3 clears IF and sets VIF and VIP, and MMX
# with REX.B reads behind its registers. With AVX it ends at an assertion (VROUNDSS with VEX.L). And its SVM does not intercept
# XSETBV, so KVM does not know what a guest's XCR0 is: the guest goes without XSAVE.
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 HULL_ORACLE_WITHOUT=Iret,_mm
tests() {
    (cd /tests && /dotnet/dotnet exec /sdk/vstest.console.dll Hull.Tests.dll --logger:'console;verbosity=detailed' \
        --TestCaseFilter:"FullyQualifiedName~$1" </dev/null)
    echo "step tests-$1 status $?"
}
tests KvmOracle
tests KvmXen

# The cloud kernel finds Xen: its events, clock and console, PV disk and network card, two processors.
tunctl -t tap0
ip address add 10.77.0.1/24 dev tap0
ip link set tap0 up
mkdir -p /tmp/www
dd if=/dev/urandom of=/tmp/www/blob bs=64k count=8 2>/dev/null
httpd -p 10.77.0.1:80 -h /tmp/www
dd if=/dev/zero of=/tmp/disk.img bs=1M count=16 2>/dev/null
dd if=/tmp/www/blob of=/tmp/disk.img conv=notrunc 2>/dev/null
sum=$(md5sum </tmp/www/blob | cut -c1-32)
/hull/Hull.Cli run --engine kvm --xen -c 2 --cpu host-safe,-xsave --timeout 200 --stat --disk /tmp/disk.img --net tap=tap0 -- sh -c "
    ip address add 10.77.0.2/24 dev eth0
    ip link set eth0 up
    echo \$(cat /sys/hypervisor/type) \$(cat /sys/hypervisor/version/major).\$(cat /sys/hypervisor/version/minor)
    echo processors \$(nproc), clock \$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
    dd if=/dev/xvda bs=64k count=8 2>/dev/null | md5sum | grep -q $sum && echo disk reads right
    wget -q -O - http://10.77.0.1/blob | md5sum | grep -q $sum && echo network reads right
    dd if=/dev/urandom of=/dev/xvda bs=64k seek=64 count=16 conv=fsync 2>/dev/null
    dd if=/dev/xvda bs=64k skip=64 count=16 2>/dev/null | md5sum | sed 's/^/wrote /'
    exit 43
" </dev/null
echo "step xen status $?"
dd if=/tmp/disk.img bs=64k skip=64 count=16 2>/dev/null | md5sum | sed 's/^/found /'
