"""Datagrams by the batch: one system call receives many, one sends many answers (recvmmsg(2), sendmmsg(2)).

An answer goes out of the very slot in which its question arrived. The message id before it and the address it came
from are there already, so that Python looks at neither:

    slots   | id | question ... | id | question ... |      receive() -> 2
            | id | answer ..... | id | answer ..... |      send(0, 2)

https://man7.org/linux/man-pages/man2/recvmmsg.2.html
"""

from __future__ import annotations

import ctypes
import mmap
import socket
import sys
from ctypes import POINTER, Structure, addressof, c_char, c_int, c_size_t, c_uint, c_uint32, c_void_p, pointer, sizeof

BATCH = 32  # slots
SLOT = 4096  # bytes; a longer datagram is cut off, as by recvfrom. Over UDP we send wire.MAX_UDP at most
Peer = tuple[str, int] | tuple[str, int, int, int]  # as socket.recvfrom: address, port and, of IPv6, flow and scope
_SOCKADDR = {socket.AF_INET: 16, socket.AF_INET6: 28}  # bytes of struct sockaddr_in, sockaddr_in6


class _Iovec(Structure):
    _fields_ = (("base", c_void_p), ("len", c_size_t))


class _Msghdr(Structure):
    _fields_ = (
        ("name", c_void_p),
        ("namelen", c_uint32),
        ("iov", POINTER(_Iovec)),
        ("iovlen", c_size_t),
        ("control", c_void_p),
        ("controllen", c_size_t),
        ("flags", c_int),
    )


class _Mmsghdr(Structure):
    _fields_ = (("hdr", _Msghdr), ("len", c_uint))


_libc = ctypes.CDLL(None)
_recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg
_recvmmsg.argtypes = (c_int, c_void_p, c_uint, c_int, c_void_p)
_sendmmsg.argtypes = (c_int, c_void_p, c_uint, c_int)


class Batch:
    """The slots of one non-blocking UDP socket, used for as long as that is open.

    Slot i is `slots[i * SLOT : (i + 1) * SLOT]`; `received[i].len` bytes of it arrived, and the first
    `replies[i].len` bytes of it go back to where they came from.
    """

    def __init__(self, udp: socket.socket) -> None:
        self._fd, self._family = udp.fileno(), socket.AddressFamily(udp.family)
        self.slots = mmap.mmap(-1, BATCH * SLOT)
        self._names = mmap.mmap(-1, BATCH * _SOCKADDR[self._family])
        # What arrives may fill its slot, a reply is as long as it is: two lengths, so two vectors.
        self._arriving, self.replies = self._vectors(), self._vectors()
        self._incoming, self._outgoing = self._headers(self._arriving), self._headers(self.replies)
        self.received = list(self._incoming)

    def _vectors(self) -> list[_Iovec]:
        slots = addressof(c_char.from_buffer(self.slots))
        return [_Iovec(slots + i * SLOT, SLOT) for i in range(BATCH)]

    def _headers(self, vectors: list[_Iovec]) -> ctypes.Array[_Mmsghdr]:
        names, size = addressof(c_char.from_buffer(self._names)), _SOCKADDR[self._family]
        headers = (_Msghdr(names + i * size, size, pointer(vectors[i]), 1) for i in range(BATCH))
        return (_Mmsghdr * BATCH)(*(_Mmsghdr(header) for header in headers))

    def receive(self) -> int:
        """How many datagrams came, at most `BATCH`; none is waited for."""
        return max(0, int(_recvmmsg(self._fd, self._incoming, BATCH, 0, None)))

    def send(self, first: int, end: int) -> None:
        """The replies in slots first ≤ i < end. What the kernel doesn't take is dropped: the asker asks again."""
        while first < end:
            start = addressof(self._outgoing) + first * sizeof(_Mmsghdr)
            first += max(1, _sendmmsg(self._fd, start, end - first, 0))

    def peer(self, i: int) -> Peer:
        """Where the datagram in slot i came from."""
        size = _SOCKADDR[self._family]
        name = self._names[i * size : (i + 1) * size]
        port = int.from_bytes(name[2:4], "big")
        if self._family == socket.AF_INET:
            return socket.inet_ntop(self._family, name[4:8]), port
        flow, scope = int.from_bytes(name[4:8], "big"), int.from_bytes(name[24:28], sys.byteorder)
        return socket.inet_ntop(self._family, name[8:24]), port, flow, scope
