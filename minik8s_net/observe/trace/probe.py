"""The one packet exchange: a socket of the source's namespace, its port fixed before anything is sent."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import dataclass
from typing import Literal

from .places import Place
from .target import Target

End = Literal["answered", "connected", "refused", "silent", "failed"]
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_LIMIT = 65536
_NOBODY = 9  # the discard port: nothing is sent to it, the kernel only chooses a source address


@dataclass(frozen=True)
class Outcome:
    """How it ended for the sender. `answer` is what came back; `words` says it for people."""

    end: End
    words: str
    answer: bytes = b""


class NoSource(Exception):
    """The kernel gives no source address for the target: it knows no way there. Its own words."""


async def open_socket(place: Place, protocol: str, target: str, dscp: int) -> socket.socket:
    """A non-blocking socket in the place, bound to the address the kernel would send from. Raises NoSource."""
    return await place.run(_open, protocol, target, dscp)


def _open(protocol: str, target: str, dscp: int) -> socket.socket:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            asker.connect((target, _NOBODY))
        except OSError as error:
            raise NoSource(os.strerror(error.errno or 0)) from None
        source = asker.getsockname()[0]
    sock = socket.socket(socket.AF_INET, _KINDS[protocol])
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
    sock.bind((source, 0))
    return sock


async def exchange(sock: socket.socket, target: Target, ip: str, port: int, payload: bytes, seconds: float) -> Outcome:
    """Send, and wait for an answer of any kind, at most `seconds` for each of connection and answer."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            await loop.sock_connect(sock, (ip, port))
    except TimeoutError:
        return Outcome("silent", f"no answer within {seconds:g} s")
    except OSError as error:
        return _failed(error)
    if target.protocol == "tcp" and target.http is None:
        return Outcome("connected", "the connection was accepted")
    request = payload if target.protocol == "udp" else _get(target)
    try:
        async with asyncio.timeout(seconds):
            await loop.sock_sendall(sock, request)
            answer = await loop.sock_recv(sock, _LIMIT)
    except TimeoutError:
        what = "connected, but no answer to the request" if target.protocol == "tcp" else "no answer"
        return Outcome("silent", f"{what} within {seconds:g} s")
    except OSError as error:
        return _failed(error)
    if target.protocol == "tcp":
        line = answer.split(b"\r\n", 1)[0].decode("latin-1")[:100]
        return Outcome("answered", line or "the connection was closed without an answer", answer)
    return Outcome("answered", f"an answer of {len(answer)} bytes", answer)


def _get(target: Target) -> bytes:
    head = f"GET {target.http} HTTP/1.1\r\nHost: {target.host}\r\nUser-Agent: minik8s-trace\r\n"
    return f"{head}Accept: */*\r\nConnection: close\r\n\r\n".encode()


def _failed(error: OSError) -> Outcome:
    words = os.strerror(error.errno or 0)
    if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
        return Outcome("refused", words)
    return Outcome("failed", words)
