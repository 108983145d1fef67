#!/bin/bash
# Run by TapTests in a network namespace of its own: two guests on taps of a bridge, with a DHCP server on the host's side.
# taps.sh HULL
set -eu
hull=$1
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

ip link set lo up
ip link add br0 type bridge
ip addr add 10.77.0.1/24 dev br0
ip link set br0 up
for tap in tap1 tap2; do
    ip tuntap add $tap mode tap
    ip link set $tap master br0 up
done
: >leases
cat >conf <<-end
	interface br0
	start 10.77.0.10
	end 10.77.0.20
	opt subnet 255.255.255.0
	opt router 10.77.0.1
	lease_file $folder/leases
	pidfile $folder/pid
end
busybox udhcpd -f conf >log 2>&1 &
head -c 50000000 /dev/urandom >data
sum=$(sha256sum <data)
busybox httpd -f -p 10.77.0.1:80 -h . &

"$hull" run --net tap=tap1 -- sh -c 'wget -q -O /tmp/data http://10.77.0.1/data && sha256sum </tmp/data &&
    ip addr add 10.77.0.100/24 dev eth0 && httpd -h /tmp && echo up && sleep 1000' >first 2>words &
first=$!
until grep -q up first; do
    kill -0 $first
    sleep 0.1
done
[[ $(head -n 1 first) == "$sum" ]]
echo "host to guest"
second=$("$hull" run --net tap=tap2 -- sh -c 'wget -q -O /tmp/data http://10.77.0.100/data && sha256sum </tmp/data')
[[ $second == "$sum" ]]
echo "guest to guest"
[[ $(curl -s http://10.77.0.100/data | sha256sum) == "$sum" ]]
echo "guest to host"

# A tap that goes away is a cable pulled out, and one that comes is put in again.
within() { timeout 20 bash -c "until $1; do sleep 0.1; done"; }
ip link del tap1
within "grep -q 'tap1 is gone' words"
ip tuntap add tap1 mode tap
within "grep -q 'tap1 is back' words"
ip link set tap1 master br0 up
within "[[ \$(curl -s -m 2 http://10.77.0.100/data | sha256sum) == '$sum' ]]"
echo "back again"
