#!/bin/busybox sh
# Process 1 of a guest of Hull's. docs/run-protocol.md says what goes over which serial port.
# /hull/settings sets: mode (console, command or terminal), stdin (feed or none), network (dhcp or empty), rows, columns,
# TERM, and the command's words as the positional parameters.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -a
. /hull/settings
echo "$hostname" >/proc/sys/kernel/hostname

# The drivers of the devices that the user added.
for module in /hull/modules/*.ko; do
    [ ! -e "$module" ] || insmod "$module"
done

# An address, a route and name servers for each card. A command finds them there; a console does not wait.
configure() {
    ip link set lo up
    for card in /sys/class/net/eth*; do
        [ ! -e "$card" ] || udhcpc -n -t 4 -T 1 -s /hull/dhcp -i "${card##*/}" >/dev/null 2>&1
    done
}
case $network$mode in
    dhcpconsole) configure & ;;
    dhcp*) configure ;;
esac

# The control port stays as the kernel opens it: lines, with an echo that the host ignores.
exec 3<>/dev/ttyS3

# Seldom needed at once, so a command on pipes does not wait for it.
mount_more() {
    mkdir /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
}

# Standard input: ask for a chunk; the answer is its length on a line, then its bytes. Length 0 is the end.
feed() {
    while echo read >&3 && read -r length && [ "$length" != 0 ]; do
        dd bs="$length" count=1 iflag=fullblock 2>/dev/null || break
    done
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
    # Whoever ends the command must not end the way of its last words.
    (trap '' TERM; exec cat </run/hull.out >/dev/ttyS1 3>&-) &
    out=$!
    (trap '' TERM; exec cat </run/hull.err >/dev/ttyS2 3>&-) &
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

cd /root
case $mode in
    console)
        terminal=/dev/ttyS0
        on_terminal sh -l
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
