#!/bin/busybox sh
# Called by udhcpc with what the network's DHCP server says: ip, mask (its length), router, dns, domain, search,
# mtu; and interface.
case $1 in
    deconfig) ip link set "$interface" up ;;
    bound | renew)
        [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
        ip addr replace "$ip/${mask:-24}" dev "$interface"
        for one in $router; do
            # The router may be outside of the card's own network.
            ip route replace default via "$one" dev "$interface" onlink
            break
        done
        {
            [ -z "${search:-$domain}" ] || echo "search ${search:-$domain}"
            for one in $dns; do
                echo "nameserver $one"
            done
        } >/etc/resolv.conf.new
        mv /etc/resolv.conf.new /etc/resolv.conf # whole or not at all
        # The root of --root, which may be there before or after this.
        top=/hull/root
        [ ! -d "$top/run/hull" ] || cp /etc/resolv.conf "$top/run/hull/"
        ;;
esac
