# What the steps of nested-kvm.sh have in common; L1 has it as /world.

# step NAME COMMAND...: runs it, and prints "step NAME status N"; the status is in $status, too.
step() {
    name=$1
    shift
    start=$(cut -d' ' -f1 /proc/uptime)
    "$@" </dev/null
    status=$?
    echo "step $name status $status from $start to $(cut -d' ' -f1 /proc/uptime)"
}

# A tap device with a web server behind it, for a guest's network card; the folder /tmp/www, with a file of random bytes.
make_network() {
    tunctl -t tap0
    ip address add 10.77.0.1/24 dev tap0
    ip link set tap0 up
    mkdir -p /tmp/www
    dd if=/dev/urandom of=/tmp/www/blob bs=64k count=8 2>/dev/null
    httpd -p 10.77.0.1:80 -h /tmp/www
}

# make_disk FILE: a disk that begins with that file.
make_disk() {
    dd if=/dev/zero of="$1" bs=1M count=16 2>/dev/null
    dd if=/tmp/www/blob of="$1" conv=notrunc 2>/dev/null
}

# What md5sum says of the file.
blob_sum() { md5sum </tmp/www/blob | cut -c1-32; }
