# What L1 does with the KVM engine; see nested-kvm.sh. Each step prints "step NAME status N", and what it checks.
. /world
make_network
for disk in disk pages other hot; do make_disk /tmp/$disk.img; done
sum=$(blob_sum)

step doctor sh -c '/hull/Hull.Cli doctor | grep /dev/kvm'

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

# What comes and goes while the guest runs: a disk, and memory. Files in the folder tell each side how far the other is.
wait_for='wait_for() { for i in $(seq 200); do eval "$1" && return; sleep 0.1; done; false; }'
eval "$wait_for"
live() {
    /hull/Hull.Cli run --engine kvm --name live -m 256M --timeout 200 --net none --device balloon --share /tmp/www:web -- sh -c "
        $wait_for
        free_kb() { sed -n 's/^MemFree: *\([0-9]*\) .*/\1/p' /proc/meminfo; }
        before=\$(free_kb)
        echo >/mnt/web/up
        wait_for '[ -b /dev/vda ]' || exit 1
        dd if=/dev/vda bs=64k count=8 2>/dev/null | md5sum | grep -q $sum && echo hot disk reads right
        echo >/mnt/web/read
        wait_for '! [ -b /dev/vda ]' && echo hot disk went
        wait_for '[ \$(free_kb) -lt \$((before - 120000)) ]' && echo balloon took memory
        echo >/mnt/web/small
        wait_for '[ \$(free_kb) -gt \$((before - 20000)) ]' && echo balloon gave it back
        exit 44
    "
}
step live live &
live=$!
wait_for '[ -e /tmp/www/up ]' && disk=$(/hull/Hull.Cli device add live disk,file=/tmp/hot.img) && echo "added $disk"
wait_for '[ -e /tmp/www/read ]' && /hull/Hull.Cli device remove live "$disk"
/hull/Hull.Cli balloon live 128M
wait_for '[ -e /tmp/www/small ]' && /hull/Hull.Cli balloon live 256M
wait $live

# A million bytes through vsock and back, from programs of L1's, whose root the guest sees.
cat >/vsock.pl <<'PERL'
use Socket;
my $count = 1_000_000;
socket(C, 40, SOCK_STREAM, 0); # AF_VSOCK; the address is family, padding, port, the host's context identifier
connect(C, pack('S S L L x4', 40, 0, 99, 2)) or die "connect: $!";
if (!fork) {
    my $data = 'x' x $count;
    while (length $data) { my $sent = syswrite(C, $data, 16384) or die; substr($data, 0, $sent) = '' }
    shutdown(C, 1);
    exit;
}
my $got = '';
while (sysread(C, my $part, 65536)) { $got .= $part }
print $got eq 'X' x $count ? "vsock carries right\n" : "vsock is wrong\n";
PERL
perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("/tmp/carry_99")) or die; listen(S, 1);
    accept(C, S); while (sysread(C, my $part, 65536)) { syswrite(C, uc $part) }' </dev/null &
step vsock /hull/Hull.Cli run --engine kvm --timeout 100 --net none --root host --device vsock,path=/tmp/carry -- perl /vsock.pl

step p9 /hull/Hull.Cli run --engine kvm --timeout 100 --net none --device p9,path=/tmp/www,tag=nine /generic/boot/vmlinuz-* -- sh -c "
    mount -t 9p -o trans=virtio,version=9p2000.L nine /mnt || exit 1
    md5sum </mnt/blob | grep -q $sum && echo 9p reads right
    tac /mnt/blob >/mnt/back
"
tac /tmp/www/blob | cmp - /tmp/www/back && echo 9p wrote right

# SeaBIOS, whose ROM and shadow are memory slots, loads a sector from the disk; that prints and writes to the exit port.
printf '\x31\xC0\x8E\xD8\xBE\x1B\x7C\xAC\x84\xC0\x74\x06\xBA\xF8\x03\xEE\xEB\xF5\xBA\xF4\x00\xB0\x29\xEE\xF4\xEB\xFD' >/tmp/sector
printf 'sector booted\r\n\0' >>/tmp/sector
dd if=/dev/zero of=/tmp/boot.img bs=1M count=1 2>/dev/null
dd if=/tmp/sector of=/tmp/boot.img conv=notrunc 2>/dev/null
printf '\x55\xAA' | dd of=/tmp/boot.img bs=1 seek=510 conv=notrunc 2>/dev/null
step firmware /hull/Hull.Cli run --engine kvm --firmware bios --net none --disk /tmp/boot.img --timeout 100 --exit-port 0xf4

step auto sh -c '/hull/Hull.Cli run --timeout 300 --stat -- true 2>&1 | grep kvm-entries'
step refused sh -c '/hull/Hull.Cli run --engine kvm --deterministic -- true 2>&1'
