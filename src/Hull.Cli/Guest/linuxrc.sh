#!/bin/busybox sh
# Listens to the host and to poweroff, halt and reboot in the guest. Standard input is the control port.
# The name matters: busybox's poweroff looks for a process called linuxrc before it turns to process 1, and process 1
# cannot listen: it waits for the command in the foreground, because in the background a shell would make the command
# deaf to Ctrl-C.

stop() {
    trap '' TERM USR1 USR2
    sync
    umount -a -r 2>/dev/null
    "$1" -f
}
trap 'stop poweroff' USR1 USR2
trap 'stop reboot' TERM

# A signal ends read with an error: only the end of the port, which never comes, would do so twice in a row.
while :; do
    read -r word first second || sleep 1
    case $word in
        window) stty rows "$first" cols "$second" <"$1" ;;
        poweroff)
            # The host was asked to end: the command may clean up, then process 1 switches off.
            trap '' TERM
            kill -TERM -1
            # A shell on a terminal ignores SIGTERM; the line is hung up.
            [ -z "$1" ] || kill -HUP -1
            kill -CONT -1
            sleep 2
            stop poweroff
            ;;
    esac
    word=
done
