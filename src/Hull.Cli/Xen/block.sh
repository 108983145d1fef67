#!/bin/sh
# xl runs it in dom0 when a disk of a guest's comes ("add") or goes: tells the back end the device's number. A file gets a loop device.
node=$XENBUS_PATH
case $1 in
    add)
        device=$(xenstore-read "$node/params")
        if [ -f "$device" ]; then
            file=$device
            device=$(losetup -f) && losetup "$device" "$file" && xenstore-write "$node/node" "$device"
        fi
        if [ -b "$device" ]; then
            xenstore-write "$node/physical-device" "$(stat -L -c %t:%T "$device")" "$node/physical-device-path" "$device" \
                "$node/hotplug-status" connected
        else
            xenstore-write "$node/hotplug-error" "$device is no disk" "$node/hotplug-status" error
        fi
        ;;
    remove)
        if device=$(xenstore-read "$node/node" 2>/dev/null); then
            losetup -d "$device"
        fi
        ;;
esac
