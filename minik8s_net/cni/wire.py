"""What all wiring shares: names, hardware addresses, and the veth from the fabric to a host on it.

A hardware address follows from the IP address (0a:58 + its four bytes, as Kubernetes' own CNI plugins do), so that both
ends can install each other as permanent neighbours: those need no ARP and don't count against the machine's table.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from ..config import ClusterConfig
from ..kernel import requests, rtnetlink, sysctl
from ..kernel.ensure import Wanted, ensure, remove
from ..kernel.netlink import Socket
from ..kernel.netns import Netns
from ..kernel.rtnetlink import Link, Neighbour

FABRIC_BRIDGE, NODE_BRIDGE, UPLINK, VXLAN = "br0", "cni0", "eth0", "vxlan.1"
MTU, VXLAN_MTU = 1500, 1450  # VXLAN's headers take 50 bytes of the fabric's 1500 (RFC 7348)
UPLINK_INDEX, BRIDGE_INDEX, VXLAN_INDEX = 2, 3, 4
# Indexes: the two ends of a veth never have the same one (the first packet would take 1–2 s).
FABRIC_PORTS, POD_PORTS = 1000, 10000

# What namespaces would else inherit from the host; before any device, which copies `default`.
HOST_SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv4.icmp_ratelimit": 0,  # or every refusal after the sixth takes a second
}
NO_IPV6 = {"net.ipv6.conf.all.disable_ipv6": 1, "net.ipv6.conf.default.disable_ipv6": 1}


def mac_of(ip: IPv4Address | str) -> str:
    """A hardware address made from an IPv4 address: the same pod address, the same neighbour entry."""
    return "0a:58:" + IPv4Address(ip).packed.hex(":")


def pod_mtu(config: ClusterConfig) -> int:
    """Bytes a pod may send at once: 1450 where VXLAN takes its share."""
    return VXLAN_MTU if config.cni == "vxlan" else MTU


def host_sysctls(forwarding: bool) -> dict[str, int]:
    """What a host's namespace (node, fabric, outside) is set to: name -> value."""
    return {"net.ipv4.ip_forward": int(forwarding), **HOST_SYSCTLS}


def fabric_port(config: ClusterConfig, ip: IPv4Address, port: str) -> Link:
    """The fabric's end of the veth to the host at `ip`."""
    number = int(ip) - int(config.fabric.network_address)
    return Link(port, "veth", FABRIC_PORTS + number, mtu=MTU, master=FABRIC_BRIDGE)


def prepare(forwarding: bool) -> list[str]:
    """Sysctls of any namespace that is a host of ours. In the namespace."""
    changed = sysctl.ensure(host_sysctls(forwarding))
    return changed + sysctl.ensure(NO_IPV6, optional=True)


async def plug(config: ClusterConfig, host: Netns, ip: IPv4Address, fabric: Netns, port: str) -> list[str]:
    """A veth from `host`'s eth0 to the fabric's bridge port `port`; what was done. Half a veth is taken away first."""
    far = fabric_port(config, ip, port)
    near = Link(UPLINK, "veth", UPLINK_INDEX, mac_of(ip), MTU)
    here = {link.name: link for link in await host.run(rtnetlink.links)}.get(UPLINK)
    there = {link.name: link for link in await fabric.run(rtnetlink.links)}.get(port)
    done: list[str] = []
    if here is None or there is None or here.peer != there.index:
        await host.run(remove, Wanted(links=[near]))
        await fabric.run(remove, Wanted(links=[far]))
        await host.run(_create, near, far, fabric.fd)
        done.append(f"create {UPLINK} of {host.name}")
    neighbours = [Neighbour(str(ip), near.mac, FABRIC_BRIDGE)]
    return done + await fabric.run(ensure, Wanted(links=[far], neighbours=neighbours))


def _create(near: Link, far: Link, fabric_fd: int) -> None:
    with Socket() as sock:
        sock.burst([requests.new_link(near, peer=far, peer_fd=fabric_fd)])


def uplink(config: ClusterConfig, ip: IPv4Address) -> Wanted:
    """eth0 of a host on the fabric: its address, and the default route to the fabric, which forwards nothing."""
    gateway = str(config.fabric_ip)
    return Wanted(
        links=[Link("lo"), Link(UPLINK, "veth", mac=mac_of(ip), mtu=MTU)],
        addresses=[rtnetlink.Address(str(ip), config.fabric.prefixlen, UPLINK)],
        routes=[rtnetlink.Route("default", UPLINK, gateway)],
        neighbours=[Neighbour(gateway, mac_of(gateway), UPLINK)],
    )
