"""Load balancer addresses on the wire, as MetalLB's layer 2 mode does it: one node at a time answers ARP for each.

`loadbalancer.py` decides which (annotation ANNOUNCED_BY); that node has the address as a /32 on eth0, so the kernel
answers ARP by itself, and tells the wire when it takes it over (gratuitous ARP). From there the rules do the rest.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from ipaddress import IPv4Address

from lightkube.resources.core_v1 import Service

from ..kernel import requests, rtnetlink
from ..kernel.netlink import Socket

ANNOUNCED_BY = "minik8s.net/announced-by"
DEVICE = "eth0"  # the node's link to the fabric
_ETH_P_ARP = 0x0806


def announce(services: Mapping[str, Service], node: str, node_ip: str) -> None:
    """In the node's namespace: eth0 has exactly the addresses that are announced by `node`, beside its own."""
    wanted = {rtnetlink.Address(ip, 32, DEVICE) for s in services.values() for ip in announced_addresses(s, node)}
    with Socket() as sock:
        link = next((link for link in rtnetlink.links(sock) if link.name == DEVICE), None)
        if link is None:
            return
        own = rtnetlink.Address(node_ip, 32, DEVICE)
        present = {a for a in rtnetlink.addresses(sock) if a.dev == DEVICE and a.prefix == 32} - {own}
        sock.burst([requests.del_address(address, link.index) for address in present - wanted])
        sock.burst([requests.new_address(address, link.index) for address in wanted - present])
    for address in wanted - present:
        _gratuitous_arp(address.ip, link.mac)


def announced_addresses(service: Service, node: str) -> list[str]:
    """The addresses that `node` answers for."""
    annotations = (service.metadata.annotations if service.metadata else None) or {}
    if annotations.get(ANNOUNCED_BY) != node or not service.status or not service.status.loadBalancer:
        return []
    return [i.ip for i in service.status.loadBalancer.ingress or [] if i.ip]


def _gratuitous_arp(ip: str, link_address: str) -> None:
    """Tell the fabric that the address is here now (RFC 5227, 3), so that nobody asks the former node."""
    mac = bytes.fromhex(link_address.replace(":", ""))
    packed = IPv4Address(ip).packed
    arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, packed, b"\0" * 6, packed)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP)) as raw:
        raw.bind((DEVICE, _ETH_P_ARP))
        raw.send(b"\xff" * 6 + mac + struct.pack("!H", _ETH_P_ARP) + arp)
