"""What ipset and conntrack share: netfilter's netlink family (linux/netfilter/nfnetlink.h)."""

from __future__ import annotations

import _thread
import socket
import struct

from . import netlink
from .netlink import Request

CTNETLINK, NFTABLES, IPSET = 1, 10, 6  # subsystems


class _Socket(netlink.Socket):
    """Closing any socket of this family waits until the kernel has freed the rules that were just replaced (15 ms)."""

    def close(self) -> None:
        """Somebody else waits. (Not a `threading.Thread`, whose start waits for it to run.)"""
        _thread.start_new_thread(super().close, ())


def connect() -> netlink.Socket:
    """A socket to the netfilter of the calling thread's present network namespace."""
    return _Socket(netlink.NETFILTER)


def header(family: int = socket.AF_INET) -> bytes:
    """struct nfgenmsg."""
    return struct.pack("=BBH", family, 0, 0)


def request(
    subsystem: int, command: int, body: bytes, what: str, flags: int = 0, ignore: tuple[int, ...] = ()
) -> Request:
    """One nfnetlink message: (subsystem, type), flags, attributes."""
    return Request(subsystem << 8 | command, flags, header() + body, what, ignore)
