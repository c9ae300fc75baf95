"""Links, addresses, routes, neighbours and bridge forwarding entries: what the kernel has, as plain data.

Lists come from the calling thread's network namespace, or from that of `sock`. The same classes say what is wanted
(`kernel.ensure`). Addresses are text, `dst` is `default` or a CIDR; devices go by name, the kernel's indexes stay here.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .netlink import Attributes, Socket, attributes, number, string

LINK, ADDRESS, ROUTE, NEIGHBOUR = 16, 20, 24, 28  # RTM_NEW…; +1 is DEL, +2 is GET
UP, PERMANENT, REACHABLE = 0x1, 0x80, 0x02
SELF = 0x02  # NTF_SELF: the forwarding table of the device itself, not of its bridge
MAIN_TABLE, ONLINK = 254, 4


@dataclass(frozen=True)
class Link:
    """A network device. In a wanted link, 0 and "" mean "as it comes". `peer` is the other end's index (veth)."""

    name: str
    kind: str = ""  # veth, bridge, vxlan; "" for lo and physical ones
    index: int = 0
    mac: str = ""
    mtu: int = 0
    up: bool = True
    master: str = ""
    hairpin: bool = False
    vni: int = 0
    local: str = ""  # vxlan: the underlay address
    peer: int = 0
    carrier: bool = True


@dataclass(frozen=True)
class Address:
    """An address of a link."""

    ip: str
    prefix: int
    dev: str


@dataclass(frozen=True)
class Route:
    """A route of the main table. `onlink`: `via` need not be inside a network of `dev`."""

    dst: str
    dev: str = ""
    via: str = ""
    src: str = ""
    onlink: bool = False


@dataclass(frozen=True)
class Neighbour:
    """A neighbour (ARP) or forwarding entry."""

    ip: str
    mac: str
    dev: str
    permanent: bool = True


@dataclass(frozen=True)
class Fdb:
    """A VXLAN device's own forwarding entry: frames for `mac` go to the underlay address `dst`."""

    mac: str
    dst: str
    dev: str


def links(sock: Socket | None = None) -> list[Link]:
    """All links of this thread's namespace."""
    found = []
    names: dict[int, str] = {}
    with _using(sock) as s:
        for _, body in s.dump(LINK + 2, bytes(16), "list links"):
            index, flags = struct.unpack_from("=iI", body, 4)
            found.append((index, flags, a := attributes(body, 16)))
            names[index] = string(a.get(3))
    return [_link(index, flags, a, names) for index, flags, a in found]


def _link(index: int, flags: int, a: Attributes, names: dict[int, str]) -> Link:
    info = attributes(a.get(18, b""))
    kind, data = string(info.get(1)), attributes(info.get(2, b""))
    port = attributes(info.get(5, b"")) if string(info.get(4)) == "bridge" else {}
    vxlan = data if kind == "vxlan" else {}
    return Link(
        name=names[index],
        kind=kind,
        index=index,
        mac=mac_text(a.get(1, b"")),
        mtu=number(a.get(4)),
        up=bool(flags & UP),
        master=names.get(number(a.get(10)), ""),
        hairpin=bool(number(port.get(4))),
        vni=number(vxlan.get(1)),
        local=ip_text(vxlan.get(4, b"")),
        peer=number(a.get(5)) if kind == "veth" else 0,
        carrier=bool(number(a.get(33), 1)),
    )


def addresses(sock: Socket | None = None) -> list[Address]:
    """All IPv4 addresses of this thread's namespace."""
    with _using(sock) as s:
        names = index_names(s)
        found = [(body, attributes(body, 8)) for _, body in s.dump(ADDRESS + 2, bytes(8), "list addresses")]
    return [
        Address(ip_text(a.get(2) or a.get(1, b"")), body[1], names.get(struct.unpack_from("=I", body, 4)[0], ""))
        for body, a in found
    ]


def routes(sock: Socket | None = None) -> list[Route]:
    """The main table's IPv4 routes."""
    with _using(sock) as s:
        names = index_names(s)
        found = []
        for _, body in s.dump(ROUTE + 2, bytes([socket.AF_INET]) + bytes(11), "list routes"):
            a = attributes(body, 12)
            if number(a.get(15), body[4]) == MAIN_TABLE:
                found.append((body, a))
    return [_route(body, a, names) for body, a in found]


def _route(body: bytes, a: Attributes, names: dict[int, str]) -> Route:
    flags = struct.unpack_from("=I", body, 8)[0]
    return Route(
        dst=f"{ip_text(a.get(1, bytes(4)))}/{body[1]}" if body[1] else "default",
        dev=names.get(number(a.get(4)), ""),
        via=ip_text(a.get(5, b"")),
        src=ip_text(a.get(7, b"")),
        onlink=bool(flags & ONLINK),
    )


def neighbours(sock: Socket | None = None) -> list[Neighbour]:
    """Entries with a link-layer address, of both IP families."""
    return [
        Neighbour(ip_text(a[1]), mac_text(a[2]), dev, permanent=bool(state & PERMANENT))
        for dev, state, _, a in _neighbour_dump(socket.AF_UNSPEC, sock)
        if 1 in a and 2 in a
    ]


def fdb(sock: Socket | None = None) -> list[Fdb]:
    """Where VXLAN devices send what, default (all-zero) entries included."""
    return [
        Fdb(mac_text(a[2]), ip_text(a[1]), dev)
        for dev, _, flags, a in _neighbour_dump(socket.AF_BRIDGE, sock)
        if flags & SELF and 1 in a and 2 in a
    ]


def _neighbour_dump(family: int, sock: Socket | None) -> Iterator[tuple[str, int, int, Attributes]]:
    with _using(sock) as s:
        names = index_names(s)
        found = list(s.dump(NEIGHBOUR + 2, struct.pack("=BxxxiHBB", family, 0, 0, 0, 0), "list neighbours"))
    for _, body in found:
        _, index, state, flags, _ = struct.unpack_from("=BxxxiHBB", body)
        yield names.get(index, ""), state, flags, attributes(body, 12)


def index_names(sock: Socket) -> dict[int, str]:
    """Interface index -> name."""
    return {
        struct.unpack_from("=i", body, 4)[0]: string(attributes(body, 16).get(3))
        for _, body in sock.dump(LINK + 2, bytes(16), "list links")
    }


@contextmanager
def _using(sock: Socket | None) -> Iterator[Socket]:
    if sock:
        yield sock
        return
    with Socket() as own:
        yield own


def mac_bytes(mac: str) -> bytes:
    """`02:42:0a:…` -> six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(raw: bytes) -> str:
    """Six bytes -> `02:42:0a:…`."""
    return raw.hex(":")


def ip_bytes(ip: str) -> bytes:
    """Dotted address -> four bytes."""
    return ipaddress.ip_address(ip).packed


def ip_text(raw: bytes) -> str:
    """Four bytes -> dotted address."""
    return str(ipaddress.ip_address(raw)) if len(raw) in (4, 16) else ""
