"""Connection tracking entries, listed and deleted through nfnetlink (linux/netfilter/nfnetlink_conntrack.h).

Acts on the calling thread's network namespace. A list of 1000 entries takes some milliseconds, a deletion 0.05 ms.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .netlink import NESTED, attr, attributes, number
from .nfnetlink import CTNETLINK, connect, header, request
from .rtnetlink import ip_text

_GET, _DELETE = 1, 2
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP


@dataclass(frozen=True)
class Entry:
    """One tracked flow: as it was sent (`src` → `dst`), and as its replies come (`reply_src` → `reply_dst`)."""

    protocol: int
    src: str
    sport: int
    dst: str
    dport: int
    reply_src: str
    reply_sport: int
    reply_dst: str
    reply_dport: int
    timeout: int  # seconds
    mark: int


def entries() -> list[Entry]:
    """The connection table of this thread's namespace, an entry each."""
    return [entry for entry, _ in _dump()]


def delete(match: Callable[[Entry], bool]) -> int:
    """Delete all entries that match; how many there were."""
    found = [
        request(CTNETLINK, _DELETE, attr(1 | NESTED, tuple_), "delete conntrack entry", ignore=(errno.ENOENT,))
        for entry, tuple_ in _dump()
        if match(entry)
    ]
    with connect() as sock:
        return sock.burst(found)


def delete_udp(ip: str, port: int, endpoint: str) -> int:
    """Delete UDP flows to `ip`:`port` ("" any address) that were sent on to `endpoint` ("": untranslated)."""

    def stale(e: Entry) -> bool:
        to = e.protocol == UDP and e.dport == port and ip in ("", e.dst)
        return to and (e.reply_src == endpoint if endpoint else (e.reply_src, e.reply_sport) == (e.dst, e.dport))

    return delete(stale)


def _dump() -> Iterator[tuple[Entry, bytes]]:
    """Each IPv4 entry, and the packed original tuple that names it."""
    with connect() as sock:
        found = sock.dump(CTNETLINK << 8 | _GET, header(), "list conntrack entries")
    for _, body in found:
        a = attributes(body, 4)
        protocol, src, sport, dst, dport = _tuple(a.get(1, b""))
        _, rsrc, rsport, rdst, rdport = _tuple(a.get(2, b""))
        timeout, mark = (int.from_bytes(a.get(kind, b""), "big") for kind in (7, 8))
        yield (
            Entry(protocol, src, sport, dst, dport, rsrc, rsport, rdst, rdport, timeout, mark),
            a.get(1, b""),
        )


def _tuple(data: bytes) -> tuple[int, str, int, str, int]:
    both = attributes(data)
    ip, port = attributes(both.get(1, b"")), attributes(both.get(2, b""))
    sport, dport = (struct.unpack("!H", port[kind])[0] if kind in port else 0 for kind in (2, 3))
    return number(port.get(1)), ip_text(ip.get(1, b"")), sport, ip_text(ip.get(2, b"")), dport
