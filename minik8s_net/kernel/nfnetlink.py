"""What ipset and conntrack share: netfilter's netlink family (linux/netfilter/nfnetlink.h)."""

from __future__ import annotations

import socket
import struct

from . import netlink
from .netlink import Request

CTNETLINK, NFTABLES, IPSET = 1, 10, 6  # subsystems


def connect() -> netlink.Socket:
    """A socket to the netfilter of the calling thread's present network namespace."""
    return netlink.Socket(netlink.NETFILTER)


def header(family: int = socket.AF_INET) -> bytes:
    """struct nfgenmsg."""
    return struct.pack("=BBH", family, 0, 0)


def request(
    subsystem: int, command: int, body: bytes, what: str, flags: int = 0, ignore: tuple[int, ...] = ()
) -> Request:
    """One nfnetlink message: (subsystem, type), flags, attributes."""
    return Request(subsystem << 8 | command, flags, header() + body, what, ignore)
