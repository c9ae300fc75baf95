"""What the kernel has counted: packets and bytes of links, and of tracked flows.

Links count from their making. Flows are counted while they live (net.netfilter.nf_conntrack_acct) and told of once
more when they end: `Ended` listens to that, so that nothing is missed.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass

from .netlink import NETFILTER, Attributes, Socket, attributes, string
from .nfnetlink import CTNETLINK, connect, header
from .rtnetlink import LINK, ip_text

ACCOUNTING = {"net.netfilter.nf_conntrack_acct": 1}
_GET, _DESTROYED_GROUP = 1, 1 << 2  # NFNLGRP_CONNTRACK_DESTROY is the third
_STATS64, _NAME = 23, 3
_HEADER = struct.Struct("=IHHII")


@dataclass(frozen=True)
class LinkCount:
    """From the link's own point of view."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int


@dataclass(frozen=True)
class FlowCount:
    """A flow by the address it was sent to, and what went there and came back (bytes with their IP headers)."""

    protocol: int
    ip: str
    port: int
    packets: int
    bytes: int
    reply_packets: int
    reply_bytes: int


def links() -> dict[str, LinkCount]:
    """By name, of the calling thread's namespace."""
    found = {}
    with Socket() as sock:
        for _, body in sock.dump(LINK + 2, bytes(16), "list links"):
            a = attributes(body, 16)
            found[string(a.get(_NAME))] = LinkCount(*struct.unpack_from("=QQQQ", a[_STATS64]))
    return found


def flows() -> list[FlowCount]:
    """Every IPv4 flow that is tracked now."""
    with connect() as sock:
        return [_flow(body) for _, body in sock.dump(CTNETLINK << 8 | _GET, header(), "list conntrack entries")]


class Ended:
    """Tells of flows as they end, in the namespace of the thread that opened it. Readable when there are any."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        self._socket.bind((0, _DESTROYED_GROUP))

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self) -> tuple[list[FlowCount], bool]:
        """All that have ended since; and whether the kernel had more to tell than it could keep."""
        found: list[FlowCount] = []
        overrun = False
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return found, overrun
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                overrun = True
                continue
            at = 0
            while at + _HEADER.size <= len(data):
                length = _HEADER.unpack_from(data, at)[0]
                found.append(_flow(data[at + _HEADER.size : at + length]))
                at += (length + 3) & ~3

    def close(self) -> None:
        self._socket.close()


def _flow(body: bytes) -> FlowCount:
    a = attributes(body, 4)
    original = attributes(a.get(1, b""))
    ip, port = attributes(original.get(1, b"")), attributes(original.get(2, b""))
    protocol = port.get(1, b"\0")[0]
    number = struct.unpack("!H", port[3])[0] if 3 in port else 0
    return FlowCount(protocol, ip_text(ip.get(2, b"")), number, *_counters(a, 9), *_counters(a, 10))


def _counters(a: Attributes, kind: int) -> tuple[int, int]:
    counted = attributes(a.get(kind, b""))
    packets, octets = (int.from_bytes(counted.get(each, b""), "big") for each in (1, 2))
    return packets, octets
