"""Connection tracking entries by address: listed, marked, and deleted, through ctnetlink (no process).

Constants are those of linux/netfilter/nfnetlink_conntrack.h. A mark stays with the entry for as long as packets, also
dropped ones, keep it alive; the `connmark` match reads it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Set
from dataclasses import dataclass

from . import sysctl
from .netlink import NESTED, Attributes, Request, attr, attributes
from .nfnetlink import CTNETLINK, connect, header, request

_NEW, _GET, _DELETE = 0, 1, 2
_ORIGINAL, _REPLY, _INFO, _MARK, _MASK = 1, 2, 4, 8, 21
_OVER = (7, 8)  # TCP_CONNTRACK_TIME_WAIT, TCP_CONNTRACK_CLOSE
_COUNT = "net.netfilter.nf_conntrack_count"  # a list walks the machine's whole hash table (10 ms), also for nothing
_NO_ENTRY = 2  # ENOENT: ended meanwhile
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
    wanted = [socket.inet_aton(ip) for ip in addresses]
    found = []
    with connect() as sock:
        for _, body in sock.dump(CTNETLINK << 8 | _GET, header(socket.AF_INET), "list flows"):
            if len(wanted) > 20 or any(ip in body for ip in wanted):  # most entries are told apart without parsing
                flow, ends = _flow(attributes(body, 4))
                if not addresses.isdisjoint(ends):
                    found.append(flow)
    return found


def _flow(entry: Attributes) -> tuple[Flow, tuple[str, str, str, str]]:
    """The flow, and the addresses at its ends before and after translation."""
    source, target, protocol, _ = _tuple(entry[_ORIGINAL])
    answering, answered, _, port = _tuple(entry[_REPLY])
    mark = struct.unpack("!I", entry[_MARK])[0] if _MARK in entry else 0
    closed = protocol == 6 and _INFO in entry and attributes(attributes(entry[_INFO])[1])[1][0] in _OVER
    flow = Flow(source, answering, port, _NAMES.get(protocol, str(protocol)), mark, closed, entry[_ORIGINAL])
    return flow, (source, target, answering, answered)


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


def _tuple(data: bytes) -> tuple[str, str, int, int]:
    """(source, destination, protocol number, source port)."""
    both = attributes(data)
    ip, proto = attributes(both[1]), attributes(both[2])
    port = struct.unpack("!H", proto[2])[0] if 2 in proto else 0
    return socket.inet_ntoa(ip[1]), socket.inet_ntoa(ip[2]), proto[1][0], port
