# The first process of a node: its own host name, addresses, /etc, /tmp and shared memory, and then sshd. What is mounted
# here ends with it.
set -eu
name=$1 address=$2 gateway=$3 folder=$4
hostname "$name"
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
ip route add default via "$gateway"
mount --bind "$folder/etc" /etc
mount --bind "$folder/tmp" /tmp
mount -t tmpfs -o size=2g shm /dev/shm
mount -t tmpfs run /run
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
