#!/bin/bash
# Hull's KVM engine on a real kvm_amd: QEMU's emulator has SVM, Debian's generic kernel boots in it (L1) with its KVM
# modules, and the published hull runs guests there (L2), with a disk, a network card and two processors.
#   nested-kvm.sh GENERIC_KERNEL_PACKAGE [STEPS]
# GENERIC_KERNEL_PACKAGE is an unpacked linux-image-amd64. STEPS is a shell script for L1; without it the test's own. If there
# is a STEPS-early.sh beside STEPS.sh, it runs before KVM has its first machine.
# With NESTED_TESTS=1 L1 also has Hull.Tests, as built, in /tests, and what runs them: /dotnet/dotnet exec
# /sdk/vstest.console.dll. That is how the tests of Kvm/ run in full where this host's own KVM is a poor one.
# NESTED_MODULES is a folder with other KVM modules for the same kernel (kvm-xen-modules.sh makes such).
# NESTED_CPU_LESS is what the processor lacks besides (",-avx,-avx2"), NESTED_WORDS what L1's kernel is told besides.
# Prints L1's console; the lines that begin with "step" say how each step ended.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
package=$1
steps=${2-$here/nested-kvm-steps.sh}
published=$root/artifacts/publish/Hull.Cli/release_linux-x64
store=${XDG_DATA_HOME:-$HOME/.local/share}/hull/kernels
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree

need() { [[ -e $1 ]] || { printf 'nested-kvm: there is no %s: %s\n' "$1" "$2" >&2; exit 1; }; }
need "$published/Hull.Cli" "run ./hull version"
command -v qemu-system-x86_64 >/dev/null || { echo 'nested-kvm: install qemu-system-x86' >&2; exit 1; }
shopt -s nullglob
kernels=("$package"/boot/vmlinuz-*)
((${#kernels[@]} > 0)) || { printf 'nested-kvm: no kernel in %s\n' "$package" >&2; exit 1; }
clouds=("$store"/*cloud*)
((${#clouds[@]} > 0)) || { echo 'nested-kvm: no cloud kernel in the store: run ./hull run -- true' >&2; exit 1; }

mkdir -p "$tree"/{bin,usr/bin,dev,proc,sys,tmp,run,root,modules,hull,dotnet,lib64,etc,var/lib/dpkg/info,store/hull/kernels}
cp "$(command -v busybox)" "$tree/usr/bin/busybox"
ln -s ../usr/bin/busybox "$tree/bin/sh"
touch "$tree/var/lib/dpkg/info/busybox-static.md5sums" # the host's package, as the set-up checks it
for module in irqbypass ccp kvm kvm-amd tun msr; do
    file=$(find -L ${NESTED_MODULES:+"$NESTED_MODULES"} "$package/lib/modules" -name "$module.ko" | head -n 1)
    [[ -n $file ]] && cp "$file" "$tree/modules/" || { printf 'nested-kvm: no module %s\n' "$module" >&2; exit 1; }
done

# For L2: Perl, which speaks vsock, and the generic kernel again with the modules of 9p, which the cloud kernel has not.
perl=/usr/lib/x86_64-linux-gnu/perl-base
need "$perl/Socket.pm" 'install perl-base'
mkdir -p "$tree/usr/lib/x86_64-linux-gnu" "$tree/generic/boot"
cp -L /usr/bin/perl "$tree/usr/bin/"
cp -r "$perl" "$tree/usr/lib/x86_64-linux-gnu/"
cp "${kernels[-1]}" "$tree/generic/boot/"
release=${kernels[-1]##*/vmlinuz-}
for part in drivers/virtio net/9p fs/9p fs/netfs fs/fscache; do
    mkdir -p "$tree/generic/lib/modules/$release/kernel/$part"
    cp "$package/lib/modules/$release/kernel/$part"/*.ko "$tree/generic/lib/modules/$release/kernel/$part/"
done

# The command, the runtime that it was published for, and the C libraries of both.
dotnet=$(dirname "$(readlink -f "$(command -v dotnet || echo /usr/share/dotnet/dotnet)")")
runtime=$(find "$dotnet/shared/Microsoft.NETCore.App" -maxdepth 1 -name '10.*' | sort -V | tail -n 1)
resolver=$(find "$dotnet/host/fxr" -maxdepth 1 -name '10.*' | sort -V | tail -n 1)
mkdir -p "$tree/dotnet/shared/Microsoft.NETCore.App" "$tree/dotnet/host/fxr"
cp -r "$published"/. "$tree/hull/"
cp -r "$runtime" "$tree/dotnet/shared/Microsoft.NETCore.App/"
cp -r "$resolver" "$tree/dotnet/host/fxr/"
libraries=$(for file in "$tree/hull/Hull.Cli" "$tree/usr/bin/perl" "$tree"/dotnet/shared/*/*/*.so "$tree"/dotnet/host/fxr/*/*.so; do
    ldd "$file" 2>/dev/null || true
done | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u)
others=(liblzma.so.5 libzstd.so.1 liblz4.so.1 libz.so.1)
[[ -n ${NESTED_TESTS-} ]] && others+=(libssl.so.3 libcrypto.so.3) # the test runner's; Hull needs none
for name in "${others[@]}"; do
    libraries+=" $(ldconfig -p | sed -n "s/^\t$name (.*x86-64) => //p" | head -n 1)"
done
if [[ -n ${NESTED_TESTS-} ]]; then
    sdk=$(find "$dotnet/sdk" -maxdepth 1 -name '10.*' | sort -V | tail -n 1)
    need "$root/artifacts/bin/Hull.Tests/release/Hull.Tests.dll" 'build tests/Hull.Tests'
    cp -r "$root/artifacts/bin/Hull.Tests/release" "$tree/tests"
    mkdir -p "$tree/sdk"
    cp -r "$sdk"/vstest.console.* "$sdk"/{Microsoft.TestPlatform,Microsoft.VisualStudio,Microsoft.Extensions,Newtonsoft,NuGet}*.dll \
        "$sdk/Extensions" "$tree/sdk/"
    cp "$dotnet/dotnet" "$tree/dotnet/"
fi
for library in $libraries; do
    case $library in "$work"/*) ;; *) cp -L "$library" "$tree/lib64/" ;; esac
done
cp -L /lib64/ld-linux-x86-64.so.2 "$tree/lib64/"
ln -s lib64 "$tree/lib"

# SeaBIOS, for the machine that starts with firmware.
for rom in bios-256k.bin bios.bin; do
    [[ -e /usr/share/seabios/$rom ]] && { mkdir -p "$tree/usr/share/seabios"; cp -L "/usr/share/seabios/$rom" "$tree/usr/share/seabios/"; }
done

# L2's kernel, as it lies in the store.
cp -r "${clouds[-1]}" "$tree/store/hull/kernels/"
cp "$steps" "$tree/steps"
early=${steps%.sh}-early.sh
[[ -e $early ]] && cp "$early" "$tree/early"
cp "$here/nested-kvm-world.sh" "$tree/world"
cp "$here/nested-kvm-keeper.pl" "$tree/keeper"
cat >"$tree/init" <<'INIT'
#!/usr/bin/busybox sh
/usr/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/root DOTNET_ROOT=/dotnet DOTNET_EnableDiagnostics=0 DOTNET_TieredPGO=0
export XDG_DATA_HOME=/store XDG_CACHE_HOME=/tmp/cache LD_LIBRARY_PATH=/lib64
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/net
ip link set lo up
for module in irqbypass ccp kvm kvm-amd tun; do
    insmod /modules/$module.ko || echo "step module-$module status 1"
done
[ -c /dev/net/tun ] || mknod /dev/net/tun c 10 200
[ ! -e /early ] || sh /early
perl /keeper &
for second in 1 2 3 4 5 6 7 8 9 10; do [ -e /tmp/keeper ] || sleep 1; done
[ -e /tmp/keeper ] || echo "step keeper status 1"
sh /steps
poweroff -f
INIT
chmod +x "$tree/init"
(cd "$tree" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"

# SMAP and protection keys are off: QEMU's emulator breaks .NET's null checks with them.
timeout --kill-after=10 "${NESTED_SECONDS:-600}" qemu-system-x86_64 -accel tcg,thread=multi -cpu "max,+svm,-smap,-pku${NESTED_CPU_LESS-}" \
    -smp "${NESTED_CPUS:-2}" -m 2048 -nodefaults -no-user-config -display none -serial stdio -no-reboot \
    -kernel "${kernels[-1]}" -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1 mitigations=off ${NESTED_WORDS-}" </dev/null
