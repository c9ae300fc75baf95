"""Connection tracking entries by address: listed, marked, and deleted, through ctnetlink (no process).

Constants are those of linux/netfilter/nfnetlink_conntrack.h. A mark stays with the entry for as long as packets, also
dropped ones, keep it alive; the `connmark` match reads it.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable, Set
from dataclasses import dataclass

from . import sysctl
from .netlink import NESTED, Request, attr, attributes
from .nfnetlink import CTNETLINK, connect, header, request

_NEW, _GET, _DELETE = 0, 1, 2
_ORIGINAL, _REPLY, _INFO, _MARK, _MASK = 1, 2, 4, 8, 21
_OVER = (7, 8)  # TCP_CONNTRACK_TIME_WAIT, TCP_CONNTRACK_CLOSE
_COUNT = "net.netfilter.nf_conntrack_count"  # a list walks the machine's whole hash table (10 ms), also for nothing
_NO_ENTRY = 2  # ENOENT: ended meanwhile
_HEADER = 4  # struct nfgenmsg
_PLAIN, _PLAIN_LENGTH = struct.Struct("=H10x4s4x4s8xB7x2s"), 52  # CTA_TUPLE_*: {IP {src, dst}, PROTO {num, ports}}
_NAMES = {1: "ICMP", 6: "TCP", 17: "UDP", 132: "SCTP"}


@dataclass(frozen=True)
class Flow:
    """`source` before SNAT, `destination` and `port` after DNAT: what the FORWARD chain sees of the first packet."""

    source: str
    destination: str
    port: int
    protocol: str
    mark: int
    closed: bool  # TCP over, kept by the kernel for a while
    tuple: bytes  # the kernel's own encoding of the original direction, which names the entry

    def __str__(self) -> str:
        return f"{self.protocol} {self.source} -> {self.destination}:{self.port}"


def flows(addresses: Set[str]) -> list[Flow]:
    """The IPv4 entries with one of the addresses at either end, on either side of a translation."""
    if sysctl.get(_COUNT) == "0":
        return []
    wanted = {socket.inet_aton(ip) for ip in addresses}
    with connect() as sock:
        dumped = sock.dump(CTNETLINK << 8 | _GET, header(socket.AF_INET), "list flows")
        return [flow for _, body in dumped if (flow := _flow(body, wanted))]


def _flow(body: bytes, wanted: set[bytes]) -> Flow | None:
    """None unless one of the ends, before or after translation, is in `wanted`."""
    source, target, protocol, _ = _tuple(body, _HEADER)
    second = _HEADER + _length(body, _HEADER)
    answering, answered, _, port = _tuple(body, second)
    if wanted.isdisjoint((source, target, answering, answered)):
        return None
    rest = attributes(body, second + _length(body, second))
    mark = struct.unpack("!I", rest[_MARK])[0] if _MARK in rest else 0
    closed = protocol == 6 and _INFO in rest and attributes(attributes(rest[_INFO])[1])[1][0] in _OVER
    name, key = _NAMES.get(protocol, str(protocol)), body[_HEADER + 4 : second]
    return Flow(socket.inet_ntoa(source), socket.inet_ntoa(answering), port, name, mark, closed, key)


def set_mark(flows: Iterable[Flow], value: int, mask: int) -> None:
    """Set the `mask` bits of each entry's mark to `value`."""
    bits = attr(_MARK, struct.pack("!I", value)) + attr(_MASK, struct.pack("!I", mask))
    _send([_about(_NEW, flow, bits, "mark") for flow in flows])


def delete(flows: Iterable[Flow]) -> None:
    """A packet that follows starts a new flow, and meets the rules again."""
    _send([_about(_DELETE, flow, b"", "delete") for flow in flows])


def _send(requests: list[Request]) -> None:
    if requests:
        with connect() as sock:
            sock.burst(requests)


def _about(command: int, flow: Flow, rest: bytes, verb: str) -> Request:
    body = attr(_ORIGINAL | NESTED, flow.tuple) + rest
    return request(CTNETLINK, command, body, f"{verb} flow {flow}", ignore=(_NO_ENTRY,))


def _length(body: bytes, at: int) -> int:
    return (int.from_bytes(body[at : at + 2], sys.byteorder) + 3) & ~3


def _tuple(body: bytes, at: int) -> tuple[bytes, bytes, int, int]:
    """(source, destination, protocol number, source port) of the tuple attribute at `at`.

    TCP's and UDP's always look the same; read in one go they cost a tenth, and there may be 100 000.
    """
    length, source, target, protocol, port = _PLAIN.unpack_from(body, at)
    if length == _PLAIN_LENGTH:
        return source, target, protocol, int.from_bytes(port, "big")
    both = attributes(body[at + 4 : at + length])
    ip, proto = attributes(both[1]), attributes(both[2])
    return ip[1], ip[2], proto[1][0], struct.unpack("!H", proto[2])[0] if 2 in proto else 0
