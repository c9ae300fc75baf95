"""Every frame of a network namespace, as the kernel hands it to or takes it from each device (packet(7)).

A ring shared with the kernel (TPACKET_V2): unlike a plain packet socket it stamps every frame when it passes, needs no
large receive buffer (rootless may not have one) and counts what did not fit. A ring belongs to the namespace its
thread was in when it was made. Closing waits for the kernel to let go (RCU, some 10 ms): do it off the event loop.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ETH_P_ALL, _SOL_PACKET = 3, 263
_RX_RING, _STATISTICS, _VERSION = 5, 6, 10
_TPACKET_V2, _ATTACH_FILTER = 1, 26
_BLOCK = 1 << 16
_HEADER = struct.Struct("=IIIHHII")  # struct tpacket2_hdr: status, len, snaplen, mac, net, sec, nsec
_ADDRESS, _SLL = 32, struct.Struct("=HHiHBB")  # the sockaddr_ll after it
_OUTGOING, _OTHERHOST = 4, 3
_libc = ctypes.CDLL(None, use_errno=True)
Instruction = tuple[int, int, int, int]  # code, jt, jf, k: struct sock_filter


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame at one device."""

    at_ns: int
    """Nanoseconds since 1970, by the kernel when the frame passed."""
    ifindex: int
    outgoing: bool
    """The device sent it; else it received it."""
    stranger: bool
    """Received, but its hardware address is another's: normal for a bridge's port, ignored by a host."""
    length: int
    """On the wire; `data` may be shorter."""
    data: bytes


class PacketRing:
    """Records from the moment it is made. Needs CAP_NET_RAW in the namespace; raises OSError."""

    def __init__(
        self, program: Sequence[Instruction] = (), *, interface: str = "", frames: int = 512, snap: int = 944
    ) -> None:
        """`program`: a classic BPF filter (none: everything); `interface` "": all; `snap`: bytes kept of a frame."""
        self._size = 1 << (snap + 80 - 1).bit_length()  # one slot: the kernel's header, then the frame
        blocks = max(1, frames * self._size // _BLOCK)
        self._count, self._next = blocks * _BLOCK // self._size, 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V2)
            request = struct.pack("=4I", _BLOCK, blocks, self._size, self._count)
            self._call(_libc.setsockopt, _SOL_PACKET, _RX_RING, request, len(request))
            self._memory = mmap.mmap(self._socket.fileno(), blocks * _BLOCK)
            self._attach(program)
            self._bind(socket.if_nametoindex(interface) if interface else 0)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Readable while there are frames."""
        return self._socket.fileno()

    def read(self) -> list[Frame]:
        """What was recorded since the last call, in the kernel's order."""
        found = []
        while (frame := self._take()) is not None:
            found.append(frame)
        return found

    def lost(self) -> int:
        """How many frames found the ring full since the last call."""
        return int(struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1])

    def close(self) -> None:
        """Stop capturing."""
        self._memory.close()
        self._socket.close()

    def _take(self) -> Frame | None:
        at = self._next * self._size
        status, length, snaplen, mac, _, seconds, nanoseconds = _HEADER.unpack_from(self._memory, at)
        if not status & 1:  # TP_STATUS_USER
            return None
        _, _, ifindex, _, kind, _ = _SLL.unpack_from(self._memory, at + _ADDRESS)
        data = self._memory[at + mac : at + mac + snaplen]
        struct.pack_into("=I", self._memory, at, 0)  # the slot is the kernel's again
        self._next = (self._next + 1) % self._count
        stamp = seconds * 1_000_000_000 + nanoseconds
        return Frame(stamp, ifindex, kind == _OUTGOING, kind == _OTHERHOST, length, data)

    def _bind(self, ifindex: int) -> None:
        """Only now does anything arrive, so nothing gets past the filter. (socket.bind cannot say "every device".)"""
        address = _SLL.pack(socket.AF_PACKET, socket.htons(ETH_P_ALL), ifindex, 0, 0, 0) + bytes(8)
        self._call(_libc.bind, address, len(address))

    def _call(self, function: Callable[..., int], *arguments: object) -> None:
        """By ctypes, which lets other threads run: the kernel waits for a grace period (RCU, some 15 ms) here."""
        if function(self._socket.fileno(), *arguments):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def _attach(self, program: Sequence[Instruction]) -> None:
        if not program:
            return
        packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
        text = ctypes.create_string_buffer(packed, len(packed))
        told = struct.pack("@HP", len(program), ctypes.addressof(text))
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, told)
