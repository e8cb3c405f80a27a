#!/bin/sh
# The first process of the guest: makes of a bare kernel what the tests find on a machine, runs them by /vm/plan
# (a program and its arguments a line), and tells on the second serial line how that went.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/busybox HOME=/root TERM=dumb
/bin/busybox --install -s /busybox
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
stty -F /dev/ttyS1 raw -echo
exec >/dev/ttyS1 2>&1 </dev/null

mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
# All of the root is in memory; files of the work tree may lie below /tmp.
chmod 1777 /tmp /var/tmp /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
for module in /vm/modules/*; do [ ! -e "$module" ] || insmod "$module"; done
ip link set lo up

export SEKISHO_BIN=/vm/sekisho SEKISHO_TEST_NOTES=/vm/notes SEKISHO_TEST_SLOWNESS=10
[ ! -d /vm/data ] || export SEKISHO_DATA=/vm/data
cd /vm
while read -r name arguments; do
    echo "VM begin $name"
    : >/vm/notes
    "/vm/tests/$name" --test-threads 2 --color never $arguments
    status=$?
    cat /vm/notes
    echo "VM end $name $status"
done </vm/plan
echo "VM done $(cat /proc/sys/kernel/tainted)"
sync
poweroff -f
