"""rtnetlink requests that make and remove links, addresses, routes, neighbours: pure functions from data to bytes.

Devices go by index here. Constants are those of linux/if_link.h, linux/if_addr.h, linux/rtnetlink.h, linux/neighbour.h.
"""

from __future__ import annotations

import errno
import socket
import struct

from .netlink import CREATE, EXCL, REPLACE, Request, attr, be16, nest, text, u8, u32
from .rtnetlink import (
    ADDRESS,
    LINK,
    MAIN_TABLE,
    NEIGHBOUR,
    ONLINK,
    PERMANENT,
    ROUTE,
    SELF,
    UP,
    Address,
    Fdb,
    Link,
    Neighbour,
    Route,
    ip_bytes,
    mac_bytes,
)

_GONE = (errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL)
VXLAN_PORT = 4789  # RFC 7348


def _ifinfo(index: int, up: bool | None) -> bytes:
    """struct ifinfomsg; `up` None leaves the flag as it is."""
    return struct.pack("=BxHiII", 0, 0, index, UP if up else 0, 0 if up is None else UP)


def _attributes(link: Link, master: int) -> bytes:
    out = text(3, link.name)
    if link.mac:
        out += attr(1, mac_bytes(link.mac))
    if link.mtu:
        out += u32(4, link.mtu)
    if master:
        out += u32(10, master)
    return out


def new_link(link: Link, master: int = 0, peer: Link | None = None, peer_fd: int = -1) -> Request:
    """Create a link. A veth's `peer` starts its life inside the namespace behind `peer_fd`, and down."""
    info = text(1, link.kind)
    if peer is not None:
        far = _ifinfo(peer.index, None) + _attributes(peer, 0) + u32(28, peer_fd)
        info += nest(2, attr(1, far))
    elif link.kind == "bridge":
        info += nest(2, u32(1, 0), u8(23, 0))  # no forward delay, no multicast snooping
    elif link.kind == "vxlan":
        port, no_learning = be16(15, VXLAN_PORT), u8(7, 0)
        info += nest(2, u32(1, link.vni), attr(4, ip_bytes(link.local)), no_learning, port)
    body = _ifinfo(link.index, link.up or None) + _attributes(link, master) + nest(18, info)
    return Request(LINK, CREATE | EXCL, body, f"create {link.kind} {link.name}")


def set_link(link: Link, index: int, master: int | None = None) -> Request:
    """Give an existing link the wanted name, mac, mtu, master (0: none; None: as it is) and up/down."""
    body = _ifinfo(index, link.up) + _attributes(link, 0)
    if master is not None:
        body += u32(10, master)
    return Request(LINK, 0, body, f"change {link.name}")


def set_hairpin(name: str, on: bool, index: int = 0) -> Request:
    """A bridge port that may send a frame back where it came from: a pod reaching itself through a Service."""
    named = b"" if index else text(3, name)
    body = _ifinfo(index, None) + named + nest(18, text(4, "bridge"), nest(5, u8(4, int(on))))
    return Request(LINK, 0, body, f"hairpin of {name}")


def del_link(name: str) -> Request:
    """RTM_DELLINK."""
    return Request(LINK + 1, 0, _ifinfo(0, None) + text(3, name), f"delete link {name}", _GONE)


def new_address(address: Address, index: int) -> Request:
    """RTM_NEWADDR."""
    return Request(ADDRESS, CREATE | REPLACE, _address(address, index), f"add address {_show(address)}")


def del_address(address: Address, index: int) -> Request:
    """RTM_DELADDR."""
    return Request(ADDRESS + 1, 0, _address(address, index), f"delete address {_show(address)}", _GONE)


def _address(address: Address, index: int) -> bytes:
    raw = ip_bytes(address.ip)
    family, scope = (socket.AF_INET, 0) if len(raw) == 4 else (socket.AF_INET6, 0)
    body = struct.pack("=BBBBI", family, address.prefix, 0, scope, index) + attr(2, raw) + attr(1, raw)
    if len(raw) == 4 and address.prefix < 31:
        body += attr(4, (int.from_bytes(raw, "big") | (1 << 32 - address.prefix) - 1).to_bytes(4, "big"))
    return body


def _show(address: Address) -> str:
    return f"{address.ip}/{address.prefix} to {address.dev}"


def new_route(route: Route, index: int) -> Request:
    """RTM_NEWROUTE."""
    return Request(ROUTE, CREATE | REPLACE, _route(route, index), f"add route {route.dst} via {route.via or route.dev}")


def del_route(route: Route, index: int) -> Request:
    """RTM_DELROUTE."""
    return Request(ROUTE + 1, 0, _route(route, index), f"delete route {route.dst}", _GONE)


def _route(route: Route, index: int) -> bytes:
    dst, _, length = ("0.0.0.0/0" if route.dst == "default" else route.dst).partition("/")
    scope = 0 if route.via else 253  # universe, or link
    flags = ONLINK if route.onlink else 0
    kernel_made, unicast = 4, 1  # RTPROT_STATIC, RTN_UNICAST
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, int(length), 0, 0, MAIN_TABLE, kernel_made, scope, unicast, flags)
    if int(length):
        body += attr(1, ip_bytes(dst))
    if route.via:
        body += attr(5, ip_bytes(route.via))
    if route.src:
        body += attr(7, ip_bytes(route.src))
    return body + u32(4, index)


def new_neighbour(neighbour: Neighbour, index: int) -> Request:
    """RTM_NEWNEIGH: a permanent ARP entry."""
    body = _neighbour(socket.AF_INET, index, 0) + attr(1, ip_bytes(neighbour.ip)) + attr(2, mac_bytes(neighbour.mac))
    return Request(NEIGHBOUR, CREATE | REPLACE, body, f"add neighbour {neighbour.ip} on {neighbour.dev}")


def del_neighbour(neighbour: Neighbour, index: int) -> Request:
    """RTM_DELNEIGH."""
    body = _neighbour(socket.AF_INET, index, 0) + attr(1, ip_bytes(neighbour.ip))
    return Request(NEIGHBOUR + 1, 0, body, f"delete neighbour {neighbour.ip} on {neighbour.dev}", _GONE)


def new_fdb(entry: Fdb, index: int) -> Request:
    """RTM_NEWNEIGH of family AF_BRIDGE: which host of the fabric has this MAC address."""
    return Request(NEIGHBOUR, CREATE | REPLACE, _fdb(entry, index), f"add fdb {entry.mac} to {entry.dst}")


def del_fdb(entry: Fdb, index: int) -> Request:
    """RTM_DELNEIGH of family AF_BRIDGE."""
    return Request(NEIGHBOUR + 1, 0, _fdb(entry, index), f"delete fdb {entry.mac}", _GONE)


def _fdb(entry: Fdb, index: int) -> bytes:
    return _neighbour(socket.AF_BRIDGE, index, SELF) + attr(2, mac_bytes(entry.mac)) + attr(1, ip_bytes(entry.dst))


def _neighbour(family: int, index: int, flags: int) -> bytes:
    return struct.pack("=BxxxiHBB", family, index, PERMANENT, flags, 0)
