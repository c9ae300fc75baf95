"""Pipes and terminals on the event loop, without a thread and without owning them."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from typing import Any

CHUNK = 64 * 1024
LINGER = 0.1  # seconds of output still read after the process has ended


async def chunks(descriptor: int, until: asyncio.Future[bytes] | None = None) -> AsyncIterator[bytes]:
    """What arrives, to the end of file; once `until` is done, only as long as something keeps coming."""
    os.set_blocking(descriptor, False)
    while True:
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            if not await _readable(descriptor, until):
                return
            continue
        except OSError as error:
            if error.errno == errno.EIO:  # how a terminal says that its last process is gone
                return
            raise
        if not data:
            return
        yield data


async def read_all(descriptor: int) -> bytes:
    """Everything up to the end of file, in bytes."""
    return b"".join([chunk async for chunk in chunks(descriptor)])


async def write_all(descriptor: int, data: bytes) -> None:
    """Raises OSError (EPIPE) when nobody reads."""
    os.set_blocking(descriptor, False)
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            await _ready(descriptor, write=True)


async def _readable(descriptor: int, until: asyncio.Future[bytes] | None) -> bool:
    """False if nothing came until after `until` (plus a moment for what is in flight)."""
    ready = asyncio.ensure_future(_ready(descriptor))
    try:
        if until is None:
            await ready
            return True
        either: list[asyncio.Future[Any]] = [ready, until]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([ready], timeout=LINGER)
        return ready.done()
    finally:
        ready.cancel()


async def _ready(descriptor: int, write: bool = False) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)

    def ready() -> None:
        if not future.done():
            future.set_result(None)

    add(descriptor, ready)
    try:
        await future
    finally:
        remove(descriptor)
