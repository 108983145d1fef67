#!/bin/sh
# Run by mmdebstrap when all packages are in: sets the system up and copies it into the image's root file system.
# $1: the new system. In the current folder: disk.raw (the image), keys, apt and setup. From the environment: HULL_OFFSET
# (bytes), HULL_SIZE (KiB), HULL_HOSTNAME. The folder's name is for no argument: other users of the host could read it.
set -eu
umask 022
root=$1

printf '%s\n' "$HULL_HOSTNAME" >"$root/etc/hostname"
cat >"$root/etc/hosts" <<END
127.0.0.1 localhost
127.0.1.1 $HULL_HOSTNAME
::1 localhost ip6-localhost ip6-loopback
END
cat >"$root/etc/fstab" <<'END'
LABEL=root / ext4 errors=remount-ro 0 1
END

# The network: whatever a DHCP server says.
cat >"$root/etc/systemd/network/80-ethernet.network" <<'END'
[Match]
Type=ether

[Network]
DHCP=yes
END
chroot "$root" systemctl -q enable systemd-networkd systemd-resolved

# The console is the first serial port, for the boot loader, the kernel and logins.
mkdir -p "$root/etc/default/grub.d"
cat >"$root/etc/default/grub.d/serial-console.cfg" <<'END'
GRUB_TIMEOUT=1
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
END

# An upgrade of GRUB writes its boot sector again.
printf 'grub-pc grub-pc/install_devices multiselect /dev/vda\n' | chroot "$root" debconf-set-selections

# Root logs in on the console without a password; over the network only with a key.
chroot "$root" passwd -q -d root
if [ -s keys ]; then
    home=$root/root
    mkdir -m 700 -p "$home/.ssh"
    install -m 600 keys "$home/.ssh/authorized_keys"
fi

if [ -s apt ]; then
    install -m 644 apt "$root/etc/apt/apt.conf.d/80host"
fi

# Each copy of the image gets an identity of its own when it starts for the first time.
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
rm -rf "$root/var/cache/apt/archives"/*.deb "$root/var/cache/apt"/*.bin "$root/var/lib/apt/lists"/*

cp "$root/vmlinuz" vmlinuz
cp "$root/initrd.img" initrd
install -m 755 setup "$root/hull-setup"

# Without what is mounted on top.
mkdir -p root
mount --bind "$root" root
mke2fs -q -F -t ext4 -L root -d root -E "offset=$HULL_OFFSET" disk.raw "${HULL_SIZE}k"
umount root
