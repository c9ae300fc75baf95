"""Netlink (RFC 3549): requests packed by hand and sent in bursts, answers read back as attributes.

A `Socket` belongs to the network namespace its thread was in when it was opened, and stays there: open one in a pod's
namespace, step back, and still speak to the pod's kernel. Opening costs 20 µs, so nothing is cached. One burst is one
system call for up to 64 requests; the kernel works through all of them and acknowledges each.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

ROUTE, NETFILTER = 0, 12  # protocol families
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
NESTED, BIG_ENDIAN = 0x8000, 0x4000  # attribute type flags
_ERROR, _DONE = 2, 3
_DUMP_INTR, _DUMP_TRIES = 0x10, 10
_CAPPED, _TLVS = 0x100, 0x200
_SOL_NETLINK, _EXT_ACK, _CAP_ACK = 270, 11, 10
_BURST = 64  # their acknowledgements fit the default receive buffer
_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
Attributes = dict[int, bytes]


class NetlinkError(OSError):
    """The kernel refused a request: errno, its own words where it has any, and what was asked."""

    def __init__(self, code: int, what: str, hint: str = "") -> None:
        super().__init__(code, f"{what}: {hint or os.strerror(code)}")
        self.what = what


@dataclass(frozen=True, slots=True)
class Request:
    """One message. `what` says it in words for errors; `ignore` lists errnos that mean "already so"."""

    kind: int
    flags: int
    body: bytes
    what: str
    ignore: tuple[int, ...] = ()


class Socket:
    """A netlink socket in the calling thread's present network namespace. Blocking; for one thread at a time."""

    def __init__(self, family: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._sequence = 0

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what it subscribed to ends."""
        self._socket.close()

    def burst(self, requests: Sequence[Request]) -> int:
        """Send all; how many the kernel did (the others were `ignore`d). Raises NetlinkError for the first refused."""
        done, failure = 0, None
        for start in range(0, len(requests), _BURST):
            piece = requests[start : start + _BURST]
            first = self._send(piece)
            for sequence, code, hint in self._acks(len(piece)):
                request = piece[sequence - first]
                if not code:
                    done += 1
                elif code not in request.ignore and failure is None:
                    failure = NetlinkError(code, request.what, hint)
        if failure:
            raise failure
        return done

    def dump(self, kind: int, body: bytes, what: str = "list") -> Iterator[tuple[int, bytes]]:
        """All objects of a kind: (message type, body). Reads to the end before it yields, so it may be abandoned.

        What changes while the kernel lists it may be told twice or not at all: then it is asked again.
        """
        for _ in range(_DUMP_TRIES):
            self._send([Request(kind, DUMP, body, what)])
            found, whole = self._dumped(what)
            if whole:
                return iter(found)
        raise NetlinkError(errno.EINTR, what, f"it changed during each of {_DUMP_TRIES} looks")

    def _dumped(self, what: str) -> tuple[list[tuple[int, bytes]], bool]:
        """The answers to one request, and whether they are of one moment."""
        found: list[tuple[int, bytes]] = []
        whole = True
        while True:
            for kind, flags, _, payload in _messages(self._socket.recv(1 << 18)):
                whole = whole and not flags & _DUMP_INTR
                if kind in (_ERROR, _DONE):  # the kernel ends with 0, or with what kept it from going on
                    code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
                    if code > 0:
                        raise NetlinkError(code, what)
                if kind == _DONE:
                    return found, whole
                found.append((kind, payload))

    def ask(self, kind: int, body: bytes, what: str) -> list[bytes]:
        """One question, its answers' bodies. Raises NetlinkError: the kernel's refusal."""
        self._send([Request(kind, 0, body, what)])
        found: list[bytes] = []
        while True:
            for kind_, _, _, payload in _messages(self._socket.recv(1 << 18)):
                if kind_ != _ERROR:
                    found.append(payload)
                elif code := -struct.unpack_from("=i", payload)[0]:
                    raise NetlinkError(code, what)
                else:
                    return found

    def _send(self, requests: Sequence[Request]) -> int:
        first, packed = self._sequence + 1, bytearray()
        for request in requests:
            self._sequence += 1
            ack = 0 if request.flags & DUMP == DUMP else ACK
            length = _HEADER.size + len(request.body)
            packed += _HEADER.pack(length, request.kind, request.flags | REQUEST | ack, self._sequence, 0)
            packed += request.body + bytes(-length % 4)
        self._socket.send(packed)
        return first

    def _acks(self, count: int) -> Iterator[tuple[int, int, str]]:
        """(sequence, errno or 0, the kernel's words) for each of `count` requests."""
        while count:
            for kind, flags, sequence, payload in _messages(self._socket.recv(1 << 18)):
                if kind != _ERROR:
                    continue
                hint = ""
                if flags & _TLVS:
                    text = attributes(payload, 20 if flags & _CAPPED else 4 + _padded(payload, 4)).get(1, b"")
                    hint = text.rstrip(b"\0").decode(errors="replace")
                count -= 1
                yield sequence, -struct.unpack_from("=i", payload)[0], hint


def _padded(payload: bytes, at: int) -> int:
    return (int(struct.unpack_from("=I", payload, at)[0]) + 3) & ~3


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
        yield kind, flags, sequence, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


# -- attributes ------------------------------------------------------------------------------------------------------
def attr(kind: int, value: bytes) -> bytes:
    """One attribute: header (length, type), value, padded to four bytes."""
    length = _ATTR.size + len(value)
    return _ATTR.pack(length, kind) + value + bytes(-length % 4)


def nest(kind: int, *inner: bytes) -> bytes:
    """An attribute whose value is other attributes."""
    return attr(kind | NESTED, b"".join(inner))


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string attribute."""
    return attr(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    """A one-byte attribute."""
    return attr(kind, struct.pack("=B", value))


def u32(kind: int, value: int) -> bytes:
    """A four-byte attribute in the machine's byte order."""
    return attr(kind, struct.pack("=I", value))


def be16(kind: int, value: int) -> bytes:
    """A two-byte attribute in network byte order, as ports are."""
    return attr(kind, struct.pack("!H", value))


def attributes(data: bytes, at: int = 0) -> Attributes:
    """The attributes from byte `at` on, by type. Of a repeated type the last is kept."""
    found: Attributes = {}
    end = len(data)
    while at + _ATTR.size <= end:
        length, kind = _ATTR.unpack_from(data, at)
        if length < _ATTR.size:
            break
        found[kind & 0x3FFF] = data[at + _ATTR.size : at + length]
        at += (length + 3) & ~3
    return found


def number(data: bytes | None, default: int = 0) -> int:
    """An attribute's value as a host-order integer of its own width."""
    return default if data is None else int.from_bytes(data, "little" if struct.pack("=H", 1)[0] else "big")


def string(data: bytes | None) -> str:
    """The text of a zero-terminated value."""
    return "" if data is None else data.split(b"\0", 1)[0].decode(errors="replace")
