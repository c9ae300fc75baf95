"""A cluster is up when a name is resolved from inside it: by a real query to the DNS Service from every node."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable

from ..kernel.netns import Netns

PAUSE = 0.01  # seconds between tries; a refused query returns at once


async def dns_answers(nodes: Iterable[Netns], server: str, name: str) -> None:
    """Return when `server` answers `name` (type A) with an address from within each of the namespaces."""
    query = _question(name)
    for node in nodes:
        while not await node.run(_ask, server, query):
            await asyncio.sleep(PAUSE)


def _ask(server: str, query: bytes) -> bool:
    """One query on the worker thread of a namespace: true for NOERROR with at least one answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.25)
        try:
            sock.connect((server, 53))
            sock.send(os.urandom(2) + query)
            answer = sock.recv(512)
        except OSError:
            return False
    return answer[3] & 0x0F == 0 and int.from_bytes(answer[6:8]) > 0


def _question(name: str) -> bytes:
    """A DNS message (RFC 1035) without its id: one question, type A, class IN, recursion desired."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x01\x00" + b"\x00\x01" + b"\x00" * 6 + labels + b"\x00" + b"\x00\x01" + b"\x00\x01"
