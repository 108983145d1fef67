#!/bin/busybox sh
# Process 1 of a guest of Hull's. docs/run-protocol.md says what goes over which serial port.
# /hull/settings sets: mode (console, command or terminal), stdin (feed or none), streams (ports or empty), network (dhcp or
# empty), rows, columns,
# console (the terminal of mode console), ports (how many console ports have a name), TERM, the command's words as the
# positional parameters; with shares the function mount_shares; with --root: root (its type), root_tag, directory, shell,
# own_tmp.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -a
root= shell= streams=
. /hull/settings
echo "$hostname" >/proc/sys/kernel/hostname

# The drivers of the devices that the user added.
for module in /hull/modules/*.ko; do
    options=
    case $module in
        *-xen-blkfront.ko) options=max_indirect_segments=64 ;; # pages of a request, as many as virtio's has; Linux's own wish is 32
    esac
    # shellcheck disable=SC2086 # words of their own
    [ ! -e "$module" ] || insmod "$module" $options
done

# Console ports by their names, as udev makes them. The ports are there a moment after their driver.
name_ports() {
    mkdir -p /dev/virtio-ports
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        for port in /sys/class/virtio-ports/*; do
            [ ! -e "$port/name" ] || ln -sf "../${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
        done
        [ "$(ls /dev/virtio-ports | wc -l)" -lt "$ports" ] || return 0
        usleep 50000
    done
}
[ "$ports" = 0 ] || name_ports

# What else the guest needs before its command, such as Xen's daemons in a dom0.
[ ! -e /hull/prepare ] || . /hull/prepare

# An address, a route and name servers for each card. A command finds them there; a console does not wait.
configure() {
    ip link set lo up
    for card in /sys/class/net/eth*; do
        [ ! -e "$card" ] || udhcpc -n -t 4 -T 1 -O search -s /hull/dhcp -i "${card##*/}" >/dev/null 2>&1
    done
}
case $network$mode in
    dhcpconsole) configure & ;;
    dhcp*) configure ;;
esac

# The top of the guest's file system, for the places of shares; empty: this one.
top=

# The control port stays as the kernel opens it: lines, with an echo that the host ignores.
exec 3<>/dev/ttyS3

# Seldom needed at once, so a command on pipes does not wait for it.
mount_more() {
    mkdir -p /dev/pts /dev/shm # the root of --root has made them
    [ -e /dev/pts/ptmx ] || mount -t devpts devpts /dev/pts
}

# find_port NAME: sets port to the console port of a stream. False where the kernel has no driver for it. The host plugs the ports
# in, and their driver is loaded, only here: most commands move so little that the serial port is faster.
find_port() {
    [ -n "$streams" ] || return 1
    echo plug >&3
    for module in /hull/streams/*.ko; do
        [ ! -e "$module" ] || insmod "$module" 2>/dev/null # another stream may have loaded it
    done
    [ -e /sys/bus/virtio/drivers/virtio_console ] || return 1
    for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
        for port in /sys/class/virtio-ports/*; do
            if [ -e "$port/name" ] && read -r name <"$port/name" && [ "$name" = "hull.$1" ]; then
                port=/dev/${port##*/}
                return
            fi
        done
        usleep 20000
    done
    return 1
}

# Standard input: ask for a chunk; the answer is its length on a line, then its bytes. Length 0 is the end. A chunk as long as
# they get means that there is much: the rest comes through the port. Its end may overtake the last bytes, so it is read twice.
feed() {
    while echo read >&3 && read -r length && [ "$length" != 0 ]; do
        dd bs="$length" count=1 iflag=fullblock 2>/dev/null || break
        if [ "$length" = 32768 ] && find_port stdin; then
            exec <$port
            echo port >&3
            dd bs=64k 2>/dev/null && cat
            break
        fi
    done
}

# drain NAME TTY: carries an output stream to the host; the first of it through the serial port, whose last byte is sent before
# the first through the console port.
drain() {
    trap '' TERM # whoever ends the command must not end the way of its last words
    records=$(dd bs=4k count=64 2>&1 >"$2" 3>&-)
    [ $((${records%% *})) = 64 ] || exit
    if find_port "$1"; then
        stty -F "$2" 115200
        exec dd bs=64k >$port 2>/dev/null 3>&-
    fi
    exec cat >"$2" 3>&-
}

# Tells the host how the command ended; what it wrote may still be on its way.
report() {
    status=$?
    echo "exit $status" >&3
}

# The command, or a login shell, on a terminal; this shell keeps the port open, or its window size would be lost.
on_terminal() {
    mount_more
    exec 4<>$terminal
    stty sane 115200 rows "$rows" cols "$columns" <&4
    /hull/linuxrc $terminal <&3 3>&- 4>&- &
    echo ready >&3
    setsid -c "$@" <&4 >&4 2>&4 3>&- 4>&-
    report
    stty 115200 <&4 # waits until the driver has sent all
}

# The command with standard input, output and error on pipes. The last close of a port waits until all is sent.
on_pipes() {
    stty -F /dev/ttyS1 raw -echo 115200
    stty -F /dev/ttyS2 raw -echo 115200
    mkfifo /run/hull.in /run/hull.out /run/hull.err
    /hull/linuxrc <&3 3>&- &
    echo ready >&3
    mount_more 3>&- &
    drain stdout /dev/ttyS1 </run/hull.out &
    out=$!
    drain stderr /dev/ttyS2 </run/hull.err &
    err=$!
    input=/dev/null feeder=
    if [ "$stdin" = feed ]; then
        input=/run/hull.in
        feed </dev/ttyS1 >$input &
        feeder=$!
    fi
    (exec "$@" <$input >/run/hull.out 2>/run/hull.err 3>&-) 2>/run/hull.err
    report
    wait $out $err
    # The feeder has the port open too, so the close was not the last.
    [ -z "$feeder" ] || stty -F /dev/ttyS1 115200
}

# Gives up: what is wrong, for the user's eyes.
give_up() {
    port=/dev/ttyS2
    [ "$mode" = command ] || port=/dev/ttyS0
    echo "hull: $1" >$port
    echo exit 125 >&3
    echo done >&3
    poweroff -f
}

# mount_share TYPE TAG ro|rw PLACE: a folder of the host's.
mount_share() {
    options=$3
    [ "$1" = virtiofs ] || options=$3,trans=virtio,version=9p2000.L,msize=1048576,cache=loose
    mkdir -p "$4" && mount -t "$1" -o "$options" "$2" "$4" || give_up "the guest's kernel cannot mount the share $2 ($1)"
}

# The guest's root: the shared folder below, what is written above it in memory, and its own of what is not files.
enter_root() {
    mkdir /hull/below /hull/above /hull/root
    mount_share "$root" "$root_tag" ro /hull/below
    mount -t tmpfs -o mode=0755,size=80% tmpfs /hull/above
    mkdir /hull/above/files /hull/above/work
    mount -t overlay -o lowerdir=/hull/below,upperdir=/hull/above/files,workdir=/hull/above/work overlay /hull/root ||
        give_up "the guest's kernel cannot lay a file system over another (overlay)"
    top=/hull/root
    (
        cd $top && mkdir -p dev proc sys run tmp root
        mount -t devtmpfs devtmpfs dev
        mkdir -p dev/pts dev/shm
        mount -t devpts devpts dev/pts
        mount -t tmpfs -o mode=1777 tmpfs dev/shm
        mount -t proc proc proc
        mount -t sysfs sysfs sys
        mount -t tmpfs -o mode=0755 tmpfs run
        [ -z "$own_tmp" ] || mount -t tmpfs -o mode=1777 tmpfs tmp
        mkdir run/hull
        cp /bin/busybox run/hull/
        # The host's own may be a program on its loopback, which the guest has not.
        if [ "$network" = dhcp ] && [ -d etc ]; then
            [ ! -e /etc/resolv.conf ] || cp /etc/resolv.conf run/hull/
            ln -sfn /run/hull/resolv.conf etc/resolv.conf
        fi
    )
}

[ $mode != console ] || set -- "${shell:-sh}" -l
[ -z "$root" ] || enter_root
! type mount_shares >/dev/null || mount_shares
if [ -n "$top" ]; then
    # By its path, so that it is the root's own: busybox prefers its own of every name, and so would what it runs.
    enter='cd "$1" 2>/dev/null || cd /; shift; exec "$@"'
    if [ -x $top/bin/sh ]; then
        set -- chroot $top /bin/sh -c "$enter" hull "$directory" "$@"
    else
        set -- chroot $top /run/hull/busybox sh -c "$enter" hull "$directory" "$@"
    fi
fi

cd /root
case $mode in
    console)
        terminal=$console
        on_terminal "$@"
        ;;
    terminal)
        terminal=/dev/ttyS1
        on_terminal "$@"
        ;;
    command) on_pipes "$@" ;;
esac

echo done >&3
sync
poweroff -f
while :; do sleep 60; done
