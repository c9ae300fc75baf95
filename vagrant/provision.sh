#!/usr/bin/env bash
# Turns a fresh Debian into a minik8s classroom machine. Run as root, from Vagrant or by hand: provision.sh [SOURCE]
# Can be run again at any time. Ends in `minik8s demo`: exit status 0 means every statement held on this machine.
set -euo pipefail
source=${1:-/vagrant}
target=/opt/minik8s
export DEBIAN_FRONTEND=noninteractive

apt-get update -qq
apt-get install -y -qq --no-install-recommends \
    python3 python3-venv iptables ipset nftables conntrack iproute2 iputils-ping curl tcpdump dnsutils uidmap make
mkdir -p "$target"
cp -a "$source"/. "$target"/
python3 -m venv "$target/.venv"
"$target/.venv/bin/pip" install -q -e "$target[notebook]"
ln -sf "$target/.venv/bin/minik8s" /usr/local/bin/minik8s

# What only an administrator can do, once: br_netfilter makes bridged packets visible to iptables. Loading it switches
# the *host's* own bridges over too; minik8s needs it inside its own namespaces only, so the host's are switched off.
had=$([ -e /proc/sys/net/bridge ] && echo yes || echo no)
modprobe -a br_netfilter overlay vxlan ip_set 2>/dev/null || true
install -d /etc/modules-load.d /etc/sysctl.d
printf '%s\n' br_netfilter overlay vxlan ip_set >/etc/modules-load.d/minik8s.conf
if [ "$had" = no ] && [ -e /proc/sys/net/bridge ]; then
    printf 'net.bridge.bridge-nf-call-%s=0\n' iptables ip6tables arptables >/etc/sysctl.d/60-minik8s.conf
    sysctl -q -p /etc/sysctl.d/60-minik8s.conf || true
fi

minik8s doctor
minik8s demo
