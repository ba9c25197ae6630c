#!/bin/bash
# fresh.sh - a command on a fresh Debian 12: a minimal root file system with a clean clone of this repository at /grua.
#
#   fresh.sh [--keep DIR] COMMAND ARG...
#
# The root has apt and the machine's own sources, and nothing else. The command runs in it as root in mount, PID and IPC namespaces
# of their own and in /grua; it shares the machine's network and cgroups. --keep DIR uses, or makes and keeps, that root.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
keep=
case ${1:-} in ''|-h|--help) sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; --keep) keep=$2; shift 2 ;; esac
root=${keep:-$(mktemp -d /var/tmp/grua-fresh.XXXXXX)}
[ -n "$keep" ] || trap 'rm -rf --one-file-system "$root"' EXIT
if [ ! -e "$root/grua/.git" ]; then
  "$here/rootfs.sh" --sources "$root" ca-certificates
  git clone -q "$here/../.." "$root/grua"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' > "$root/etc/hosts" # as an installed system has it
  # What the machine's own apt is told (proxies, certificates) the fresh one is told, too.
  cp -rL /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
  cp -rL /etc/ssl/certs/. "$root/etc/ssl/certs/" 2>/dev/null || true
fi
cat > "$root/enter" <<'ENTER'
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
umount -l /old
cd /grua && exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="${TERM:-dumb}" $GRUA_FRESH_ENV "$@"
ENTER
export GRUA_FRESH_ENV=${GRUA_FRESH_ENV:-}
unshare --mount --pid --ipc --fork --kill-child --propagation private sh -eu -c '
  root=$1; shift
  mount --bind "$root" "$root"; mount --rbind /sys "$root/sys"; mount --rbind /dev "$root/dev"
  # Not a chroot: in one the kernel refuses user namespaces.
  mkdir -p "$root/old"; cd "$root"; pivot_root . old
  exec /usr/bin/sh -eu /enter "$@"' sh "$root" "$@"
