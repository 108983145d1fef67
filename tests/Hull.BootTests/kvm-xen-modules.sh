#!/bin/bash
# Builds Debian's KVM modules with CONFIG_KVM_XEN, which Debian leaves out: kvm.ko and kvm-amd.ko for the generic kernel, from
# Debian's own source and headers. Takes a minute. Needs gcc-12, make and xz.
#   kvm-xen-modules.sh KERNEL_PACKAGE FOLDER
# KERNEL_PACKAGE is the name of a linux-image package; FOLDER gets the modules.
set -euo pipefail
image=$1 folder=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(apt-cache policy "$image" | sed -n 's/^ *Candidate: //p')
release=${image#linux-image-}
series=$(sed -n 's/^\([0-9]*\.[0-9]*\).*/\1/p' <<<"$release")

(
    mkdir "$work/packages" && cd "$work/packages"
    apt-get download -q "linux-source-$series=$version" "linux-headers-$release=$version" \
        "linux-headers-${release%-amd64}-common=$version" "linux-kbuild-$series=$version"
) >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$work/unpacked"
done

# The headers name their own places below /usr; the copies here are joined with what they leave out of KVM.
sources=$work/unpacked/usr/src
tree=$sources/linux-headers-${release%-amd64}-common
config=$sources/linux-headers-$release
kbuild=$work/unpacked/usr/lib/linux-kbuild-$series
tar -C "$sources" -xf "$sources/linux-source-$series.tar.xz" "linux-source-$series/arch/x86/kvm" "linux-source-$series/virt"
cp -r "$sources/linux-source-$series/arch/x86/kvm" "$tree/arch/x86/"
cp -r "$sources/linux-source-$series/virt" "$tree/"
for place in "$tree" "$config"; do
    ln -sfn "$kbuild/scripts" "$place/scripts"
    ln -sfn "$kbuild/tools" "$place/tools"
done
printf 'include %s/Makefile\n' "$tree" >"$config/Makefile"
make -s -C "$config" M="$tree/arch/x86/kvm" CONFIG_KVM_XEN=y CONFIG_KVM_INTEL= CONFIG_KVM_WERROR= \
    KCFLAGS=-DCONFIG_KVM_XEN=1 -j"$(nproc)" modules >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
mkdir -p "$folder"
for module in kvm kvm-amd; do
    strip -g -o "$folder/$module.ko" "$tree/arch/x86/kvm/$module.ko"
done
