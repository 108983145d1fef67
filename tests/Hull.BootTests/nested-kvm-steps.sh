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
cp /tmp/disk.img /tmp/pages.img
cp /tmp/disk.img /tmp/other.img

# Every kind of device, behind PCI and behind MMIO.
step kvm /hull/Hull.Cli run --engine kvm -c 2 --timeout 300 --disk /tmp/disk.img --net tap=tap0 --stat \
    --device rng --device balloon --device vsock,path=/tmp/vsock,cid=7 --device console,ports=log=file:/tmp/port \
    --share /tmp/www:web --pmem /tmp/pages.img --disk /tmp/other.img,readonly,mmio=true --device rng,mmio=true -- sh -c "
    ip address add 10.77.0.2/24 dev eth0
    ip link set eth0 up
    echo processors \$(nproc), clock \$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
    dd if=/dev/vda bs=64k count=8 2>/dev/null | md5sum | grep -q $sum && echo disk reads right
    dd if=/dev/vdb bs=64k count=8 2>/dev/null | md5sum | grep -q $sum && echo mmio disk reads right
    dd if=/dev/pmem0 bs=64k count=8 2>/dev/null | md5sum | grep -q $sum && echo pmem reads right
    md5sum </mnt/web/blob | grep -q $sum && echo share reads right
    wget -q -O - http://10.77.0.1/blob | md5sum | grep -q $sum && echo network reads right
    dd if=/dev/hwrng bs=16 count=4 2>/dev/null | wc -c | sed 's/^/random bytes /'
    echo through a port >/dev/virtio-ports/log || echo through a port >/dev/vport3p1
    [ -c /dev/vsock ] && echo vsock is there
    ls -d /sys/bus/virtio/drivers/*/virtio* | wc -l | sed 's/^/bound devices /'
    dd if=/dev/urandom of=/dev/vda bs=64k seek=64 count=16 conv=fsync 2>/dev/null
    dd if=/dev/vda bs=64k skip=64 count=16 2>/dev/null | md5sum | sed 's/^/wrote /'
    grep -q virtio /proc/interrupts && echo interrupts of virtio come
    exit 42
"
dd if=/tmp/disk.img bs=64k skip=64 count=16 2>/dev/null | md5sum | sed 's/^/found /'
grep -q 'through a port' /tmp/port && echo port wrote right

# SeaBIOS, whose ROM and shadow are memory slots, loads a sector from the disk; that prints and writes to the exit port.
printf '\x31\xC0\x8E\xD8\xBE\x1B\x7C\xAC\x84\xC0\x74\x06\xBA\xF8\x03\xEE\xEB\xF5\xBA\xF4\x00\xB0\x29\xEE\xF4\xEB\xFD' >/tmp/sector
printf 'sector booted\r\n\0' >>/tmp/sector
dd if=/dev/zero of=/tmp/boot.img bs=1M count=1 2>/dev/null
dd if=/tmp/sector of=/tmp/boot.img conv=notrunc 2>/dev/null
printf '\x55\xAA' | dd of=/tmp/boot.img bs=1 seek=510 conv=notrunc 2>/dev/null
step firmware /hull/Hull.Cli run --engine kvm --firmware bios --net none --disk /tmp/boot.img --timeout 100 --exit-port 0xf4

step auto sh -c '/hull/Hull.Cli run --timeout 300 --stat -- true 2>&1 | grep kvm-entries'
step refused sh -c '/hull/Hull.Cli run --engine kvm --deterministic -- true 2>&1'
