"""Last rung: a real connection. Where reasoning and kernel differ, that is the finding."""

from __future__ import annotations

import asyncio
import errno
import socket

from ..trace.places import Place

SECONDS = 1.2  # one retransmission fits in


async def connect(place: Place, host: str, port: int) -> str:
    """ "" if somebody accepts, else what came back, in words."""
    sock = await place.run(socket.socket, socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with sock:
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (host, port)), SECONDS)
        except TimeoutError:
            return f"no answer from {host}:{port} within {SECONDS:g} s"
        except OSError as error:
            return f"{host}:{port}: {error.strerror or errno.errorcode.get(error.errno or 0, 'error')}"
    return ""
