#!/bin/busybox sh
# Called by udhcpc with what the network's DHCP server says: ip, mask (its length), router, dns, domain, mtu; and interface.
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
            [ -z "$domain" ] || echo "search $domain"
            for one in $dns; do
                echo "nameserver $one"
            done
        } >/etc/resolv.conf
        ;;
esac
