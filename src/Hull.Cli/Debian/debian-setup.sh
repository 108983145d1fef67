#!/bin/sh
# The first process of the new system, once: installs the boot loader from inside, with the system's own tools.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
rm -f /hull-setup
if grub-install --target=i386-pc /dev/vda && update-grub; then
    echo "hull-setup: done"
fi
# Another shell: this one has the removed script open, and a file system with such files stays writable.
exec sh -c 'sync; mount -o remount,ro /; poweroff -f'
