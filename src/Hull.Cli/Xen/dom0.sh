# Read by Hull's init in Xen's dom0: starts the toolstack's daemons, as Debian's init script does. The drivers are loaded.
export PATH=$PATH:/usr/lib/xen-4.17/bin
mkdir -p /dev/pts /run/lock /run/xen /run/xenstored /var/lib/xen /var/lib/xenstored /var/log/xen
ln -s /run /var/run
ln -s /run/lock /var/lock
mount -t devpts devpts /dev/pts # for the consoles of guests
mount -t xenfs xenfs /proc/xen

# It says nothing when it is ready, so it is asked.
xenstored --pid-file /run/xenstored.pid
tries=600
until xenstore-exists / 2>/dev/null || [ $((tries -= 1)) = 0 ]; do
    usleep 50000
done
xen-init-dom0 >/dev/null
xenconsoled --pid-file=/run/xenconsoled.pid
