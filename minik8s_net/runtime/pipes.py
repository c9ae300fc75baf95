"""The beginning of what a command writes. The rest is taken from it, for it is to go on, but costs next to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os

CHUNK = 1 << 16
ROOM = 1 << 20  # bytes of a pipe whose reader has all he wants
REST = 0.01  # seconds between two emptyings of such a pipe: 100 MB/s, in pages that are never copied


async def read_some(fd: int, limit: int) -> bytes:
    """The first `limit` bytes, at end of file; owns and closes the descriptor, a pipe."""
    os.set_blocking(fd, False)
    try:
        kept = bytearray()
        while len(kept) < limit:
            try:
                data = os.read(fd, min(CHUNK, limit - len(kept)))
            except BlockingIOError:
                await _readable(fd)
                continue
            if not data:
                return bytes(kept)
            kept += data
        await _let_go(fd)
        return bytes(kept)
    finally:
        os.close(fd)


async def _let_go(fd: int) -> None:
    """Until end of file, a pipeful at a time: whoever writes more than that waits for us, not we for him."""
    with contextlib.suppress(OSError):  # an ordinary user may have no more than so many pages in pipes
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, ROOM)
    nowhere = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    try:
        while True:
            await _readable(fd)
            with contextlib.suppress(BlockingIOError):
                if not os.splice(fd, nowhere, ROOM, flags=os.SPLICE_F_NONBLOCK):
                    return
            await asyncio.sleep(REST)
    finally:
        os.close(nowhere)


async def _readable(fd: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
