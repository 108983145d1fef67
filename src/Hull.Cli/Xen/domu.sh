#!/bin/busybox sh
# Process 1 of the guest that `xl create /etc/xen/domu.cfg` starts in the demonstration: a shell on Xen's console.
export PATH=/bin HOME=/root
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
hostname domu
for module in /hull/modules/*; do
    insmod "$module"
done
echo "domu: Linux $(uname -r) as a $(cat /sys/hypervisor/guest_type) guest of $(cat /sys/hypervisor/type)"

# xl shutdown and xl reboot: the kernel starts busybox's poweroff and reboot, which ask process 1. It waits, so that it hears them.
trap 'poweroff -f' USR1 USR2
trap 'reboot -f' TERM
while :; do
    setsid -c sh -l </dev/hvc0 >/dev/hvc0 2>&1 &
    wait $!
done
