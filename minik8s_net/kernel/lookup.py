"""Single questions to the kernel about one packet: its route, its conntrack entry, a chain's hook and rules.

Each is a hash look-up or less on the kernel's side, whatever the table's size. All act on the calling thread's network
namespace. Constants: linux/rtnetlink.h, nfnetlink_conntrack.h, nf_tables.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass

from .netlink import NetlinkError, Socket, attr, attributes, be16, nest, number, string, text, u8, u32
from .nfnetlink import CTNETLINK, NFTABLES, connect, header
from .rtnetlink import index_names, ip_bytes, ip_text

_GETROUTE, _FIB_MATCH = 26, 0x2000
_TYPES = {2: "local", 3: "broadcast", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_TCP_STATES = (
    "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
)  # fmt: skip
_NF_FAMILY = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}


def route(dst: str, src: str = "", iif: str = "", mark: int = 0) -> str:
    """What `ip route get` would say, with the entry that matched: `10.244.2.0/24 via 172.18.1.2 dev eth0`.

    `iif` asks as for a packet that came in there (and needs `src`). A refusal is an answer: "Network is unreachable".
    """
    with Socket() as sock:
        names = index_names(sock)
        indexes = {name: index for index, name in names.items()}
        body = struct.pack("=8BI", socket.AF_INET, 32, 32 if src else 0, 0, 0, 0, 0, 0, _FIB_MATCH)
        body += attr(1, ip_bytes(dst)) + (attr(2, ip_bytes(src)) if src else b"")
        body += (u32(3, indexes.get(iif, 0)) if iif else b"") + (u32(16, mark) if mark else b"")
        try:
            (answer, *_) = sock.ask(_GETROUTE, body, f"route to {dst}")
        except NetlinkError as error:
            return os.strerror(error.errno or 0)
    a = attributes(answer, 12)
    length, kind = answer[1], answer[7]
    words = [_TYPES.get(kind, ""), f"{ip_text(a.get(1, bytes(4)))}/{length}" if length else "default"]
    words += [f"via {ip_text(a[5])}"] if 5 in a else []
    words += [f"dev {names.get(number(a.get(4)), '?')}"] if 4 in a else []
    return " ".join(filter(None, words))


@dataclass(frozen=True)
class Tracked:
    """A conntrack entry: addresses as the first packet was sent, and as its answers come."""

    protocol: str
    original: str
    """`10.244.1.3:40000 -> 10.96.0.10:53`"""
    reply: str
    """`10.244.2.2:53 -> 10.244.1.3:40000`"""
    state: str
    mark: int


def tracked(protocol: int, src: str, sport: int, dst: str, dport: int) -> Tracked | None:
    """The entry of the flow whose first packet came with these addresses; None if there is none (yet, or any more)."""
    ip = nest(1, attr(1, ip_bytes(src)), attr(2, ip_bytes(dst)))
    proto = nest(2, u8(1, protocol), be16(2, sport), be16(3, dport))
    try:
        with connect() as sock:
            (answer, *_) = sock.ask(CTNETLINK << 8 | 1, header() + nest(1, ip, proto), "conntrack entry")
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    a = attributes(answer, 4)
    info = attributes(attributes(a.get(4, b"")).get(1, b""))
    status = int.from_bytes(a.get(3, b""), "big")
    if protocol == socket.IPPROTO_TCP:
        state = _TCP_STATES[number(info.get(1))] if 1 in info else ""
    else:
        state = "ASSURED" if status & 4 else "answered" if status & 2 else "UNREPLIED"
    name = {6: "tcp", 17: "udp"}.get(protocol, str(protocol))
    return Tracked(name, _ends(a.get(1, b"")), _ends(a.get(2, b"")), state, int.from_bytes(a.get(8, b""), "big"))


def _ends(data: bytes) -> str:
    both = attributes(data)
    ip, port = attributes(both.get(1, b"")), attributes(both.get(2, b""))
    sport, dport = (int.from_bytes(port.get(kind, b""), "big") for kind in (2, 3))
    return f"{ip_text(ip.get(1, b''))}:{sport} -> {ip_text(ip.get(2, b''))}:{dport}"


def hook(family: str, table: str, chain: str) -> tuple[str, int]:
    """Where a base chain is hooked in and at what priority: ("prerouting", -100); ("", 0) if it is none."""
    body = bytes([_NF_FAMILY[family], 0, 0, 0]) + text(1, table) + text(3, chain)
    try:
        with connect() as sock:
            (answer, *_) = sock.ask(NFTABLES << 8 | 4, body, f"chain {chain}")
    except NetlinkError:
        return "", 0
    found = attributes(attributes(answer, 4).get(4, b""))
    if 1 not in found:
        return "", 0
    return _HOOKS[int.from_bytes(found[1], "big")], struct.unpack("!i", found[2])[0]


def handles(family: str, table: str, chain: str) -> list[int]:
    """The handles of a chain's rules, in order."""
    body = bytes([_NF_FAMILY[family], 0, 0, 0]) + text(1, table) + text(2, chain)
    with connect() as sock:
        found = [attributes(rule, 4) for _, rule in sock.dump(NFTABLES << 8 | 7, body, f"rules of {chain}")]
    return [
        int.from_bytes(a.get(3, b""), "big") for a in found if (string(a.get(1)), string(a.get(2))) == (table, chain)
    ]
