# What L1 does with the KVM engine; see nested-kvm.sh. Each step prints "step NAME status N", and what it checks.
step() {
    name=$1
    shift
    start=$(cut -d' ' -f1 /proc/uptime)
    "$@" </dev/null
    echo "step $name status $? from $start to $(cut -d' ' -f1 /proc/uptime)"
}

# A tap device with a web server behind it, for L2's network card.
tunctl -t tap0
ip address add 10.77.0.1/24 dev tap0
ip link set tap0 up
mkdir -p /tmp/www
dd if=/dev/urandom of=/tmp/www/blob bs=64k count=8 2>/dev/null
httpd -p 10.77.0.1:80 -h /tmp/www

# A disk with known content.
dd if=/dev/zero of=/tmp/disk.img bs=1M count=16 2>/dev/null
dd if=/tmp/www/blob of=/tmp/disk.img conv=notrunc 2>/dev/null
sum=$(md5sum </tmp/www/blob | cut -c1-32)

step doctor sh -c '/hull/Hull.Cli doctor | grep /dev/kvm'
step kvm /hull/Hull.Cli run --engine kvm -c 2 --timeout 300 --disk /tmp/disk.img --net tap=tap0 -- sh -c "
    ip address add 10.77.0.2/24 dev eth0
    ip link set eth0 up
    echo processors \$(nproc), clock \$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
    dd if=/dev/vda bs=64k count=8 2>/dev/null | md5sum | grep -q $sum && echo disk reads right
    wget -q -O - http://10.77.0.1/blob | md5sum | grep -q $sum && echo network reads right
    dd if=/dev/urandom of=/dev/vda bs=64k seek=64 count=16 conv=fsync 2>/dev/null
    dd if=/dev/vda bs=64k skip=64 count=16 2>/dev/null | md5sum | sed 's/^/wrote /'
    grep -q virtio /proc/interrupts && echo interrupts of virtio come
    exit 42
"
dd if=/tmp/disk.img bs=64k skip=64 count=16 2>/dev/null | md5sum | sed 's/^/found /'
step auto sh -c '/hull/Hull.Cli run --timeout 300 --stat -- true 2>&1 | grep kvm-entries'
step refused sh -c '/hull/Hull.Cli run --engine kvm --deterministic -- true 2>&1'
