#!/bin/bash
# firewalls.sh - the host's usual firewalls, for tests: ufw, firewalld, iptables.
#
#   firewalls.sh PID
#
# Stays in the foreground with a mount namespace of its own in the network
# namespace of process PID; says "ready DIR" when DIR can be entered:
#
#   nsenter -m -n -t PID-OF-THIS chroot DIR ufw enable
#
# DIR is this machine's root with the programs laid over it.  What they write
# stays in memory and goes with this script; nothing is installed or started
# on the machine.  firewalld runs only when it is started in there, and has a
# D-Bus of its own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
[ $# = 1 ] || { sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
te_unpack host firewalls ufw firewalld dbus iptables nftables
if [ -z "${FIREWALLS_INSIDE:-}" ]; then
  FIREWALLS_INSIDE=1 exec nsenter --net="/proc/$1/ns/net" unshare -m --propagation private "$0" "$1"
fi
work=/run/grua-firewalls
mkdir -p $work && mount -t tmpfs tmpfs $work && mkdir $work/{lower,upper,work,root}
cp -a "$TE_CACHE/firewalls/." $work/lower/
# With a merged /usr these are links on the host.
for each in bin sbin lib; do
  [ ! -d $work/lower/$each ] || { mkdir -p $work/lower/usr/$each; cp -a $work/lower/$each/. $work/lower/usr/$each/; rm -r "${work:?}/lower/$each"; }
done
# What the packages' installation would do.
cp $work/lower/usr/share/ufw/iptables/*.rules $work/lower/etc/ufw/
for each in iptables ip6tables; do for tool in '' -save -restore; do ln -s $each-nft$tool $work/lower/usr/sbin/$each$tool; done; done
mkdir -p $work/lower/var/lib/ufw $work/lower/etc/default
[ -e $work/lower/etc/default/ufw ] || cp $work/lower/usr/share/ufw/ufw.default $work/lower/etc/default/ufw 2>/dev/null || printf '%s\n' \
  IPV6=yes 'DEFAULT_INPUT_POLICY="DROP"' 'DEFAULT_OUTPUT_POLICY="ACCEPT"' 'DEFAULT_FORWARD_POLICY="DROP"' 'DEFAULT_APPLICATION_POLICY="SKIP"' \
  MANAGE_BUILTINS=no IPT_SYSCTL=/etc/ufw/sysctl.conf 'IPT_MODULES=""' > $work/lower/etc/default/ufw
[ -e $work/lower/etc/ufw/ufw.conf ] || printf 'ENABLED=no\nLOGLEVEL=low\n' > $work/lower/etc/ufw/ufw.conf
mount -t overlay overlay -o "lowerdir=$work/lower:/,upperdir=$work/upper,workdir=$work/work" $work/root
for each in proc sys dev; do mount --rbind /$each $work/root/$each; done
mount -t tmpfs tmpfs $work/root/run
mkdir -p $work/root/run/dbus $work/root/run/lock
echo "ready $work/root"
exec sleep infinity
