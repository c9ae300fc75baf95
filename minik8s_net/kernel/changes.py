"""Being told of changes: rtnetlink's notifications, and nftables' generation number.

A `Listener` belongs to the namespace of the thread that opened it and stays there, so an event loop may read it.
"""

from __future__ import annotations

import errno
import socket

from .netlink import attributes
from .nfnetlink import NFTABLES, connect, header

LINKS, NEIGHBOURS, ADDRESSES, ROUTES = 0x1, 0x4, 0x10, 0x40  # RTMGRP_…, linux/rtnetlink.h
_GETGEN, _GEN_ID = 16, 1  # linux/netfilter/nf_tables.h


class Listener:
    """Readable (`fileno`) when something of `groups` has changed."""

    def __init__(self, groups: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, groups))

    def fileno(self) -> int:
        """The socket, for select and event loops."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Forget what has been told; whether there was anything (too much of it, ENOBUFS, is something too)."""
        told = False
        while True:
            try:
                self._socket.recv(1 << 16)
            except BlockingIOError:
                return told
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            told = True

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def generation() -> int:
    """Counts the transactions of nftables in this namespace (iptables' included): 20 µs to ask."""
    with connect() as sock:
        (body,) = sock.ask(NFTABLES << 8 | _GETGEN, header(0), "nftables generation")
    return int.from_bytes(attributes(body, 4)[_GEN_ID], "big")
