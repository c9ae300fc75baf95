"""The kernel's own report of which packet-filter rules a packet met (`meta nftrace`, linux/netfilter/nf_tables.h).

A rule that says `meta nftrace set 1` marks a packet; every later rule it hits, in any table, iptables' included, is
then reported to listeners of the group NFNLGRP_NFTRACE of that network namespace. Works rootless.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from dataclasses import dataclass

from . import nft
from .netlink import NETFILTER, attributes, string
from .nfnetlink import NFTABLES
from .tool import ToolError

_GROUP_NFTRACE, _MSG_TRACE = 9, 17
_SOL_NETLINK, _RCVBUFFORCE = 270, 33
_BUFFER = 1 << 22
_TYPES = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {0: "drop", 1: "accept", 2: "stolen", 3: "queue", -1: "continue", -3: "jump", -4: "goto", -5: "return"}
FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}


@dataclass(frozen=True, slots=True)
class Event:
    """One rule hit (`kind` "rule"), or a chain's end: "policy" of a base chain, "return" of another.

    The packet's headers and devices come with the first event of each base chain only, so `network` may be empty: then
    they are those of the last event with the same `packet`.
    """

    packet: int
    kind: str
    family: str
    table: str
    chain: str
    handle: int
    verdict: str
    """drop, accept, continue, jump, goto, return …"""
    target: str
    """The chain jumped or gone to, or ""."""
    mark: int
    iif: int
    oif: int
    network: bytes
    transport: bytes


class TraceEvents:
    """Listens from the moment it is made, in the namespace of the calling thread."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETFILTER)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
        except PermissionError:  # rootless: as much as the machine allows everybody
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind((0, 1 << (_GROUP_NFTRACE - 1)))
        self._socket.setblocking(False)
        self.overrun = False

    def read(self) -> list[Event]:
        """All events so far, in the kernel's order. Sets `overrun` if some did not fit the buffer."""
        found: list[Event] = []
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overrun = True
                continue
            kind = struct.unpack_from("=H", data, 4)[0]
            if kind == NFTABLES << 8 | _MSG_TRACE:
                found.append(parse(data[16:]))

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def parse(body: bytes) -> Event:
    """An NFT_MSG_TRACE message without its netlink header."""
    a = attributes(body, 4)
    verdict = attributes(a.get(5, b""))
    code = struct.unpack("!i", verdict[1])[0] if 1 in verdict else _number(a.get(16), 1)
    return Event(
        packet=_number(a.get(6)),
        kind=_TYPES.get(_number(a.get(4)), ""),
        family=FAMILIES.get(body[0], str(body[0])),
        table=string(a.get(1)),
        chain=string(a.get(2)),
        handle=int.from_bytes(a.get(3, b""), "big"),
        verdict=_VERDICTS.get(code if code < 0 else code & 0xFF, str(code)),
        target=string(verdict.get(2)),
        mark=_number(a.get(14)),
        iif=_number(a.get(10)),
        oif=_number(a.get(12)),
        network=a.get(8, b""),
        transport=a.get(9, b""),
    )


def _number(data: bytes | None, default: int = 0) -> int:
    return default if data is None else int.from_bytes(data, "big")


class HeldRules:
    """nftables tables that live only as long as this object: `flags owner` ties them to its netlink socket.

    So nothing is left behind however the process ends: the kernel closes the socket, and with it goes the table.
    Closing takes an RCU grace period (some 10 ms): do it off the event loop.
    """

    def __init__(self, script: str) -> None:
        """Apply a script whose tables all say `flags owner`. Raises ToolError."""
        library = nft.library()
        if library is None:
            raise ToolError(["nft", "-f", "-"], 127, "libnftables.so.1: not found; `minik8s doctor` says how to get it")
        self._library = library
        self._context = ctypes.c_void_p(library.nft_ctx_new(0))
        library.nft_ctx_buffer_error(self._context)
        if status := library.nft_run_cmd_from_buffer(self._context, script.encode()):
            errors = (library.nft_ctx_get_error_buffer(self._context) or b"").decode()
            self.close()
            raise ToolError(["nft", "-f", "-"], abs(status), errors)

    def close(self) -> None:
        """Close the owner's socket: the kernel removes the table with it."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p(None)
