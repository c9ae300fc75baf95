"""Container logs: CRI's log format, `TIME STREAM F|P TEXT`, one file per attempt.

The runtime renames a file that has grown to 10 MiB to NAME.1 and begins a new one: whoever follows goes on there. What
is not followed is read from the newest file only, as in Kubernetes.
https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from ..api import times
from ..apiserver.kubelets import LogOptions

POLL = 0.05  # seconds between looks at a file that is followed
BLOCK = 64 * 1024


class Filter:
    """What of a log is wanted, line by line; a line that the file has in pieces is one line again."""

    def __init__(self, options: LogOptions) -> None:
        self._timestamps, self._since = options.timestamps, None
        if options.since_seconds is not None:
            self._since = time.time() - options.since_seconds
        elif options.since_time:
            self._since = times.parse(options.since_time).timestamp()
        self._begins = True  # what comes next is the first piece of a line

    def text(self, line: bytes) -> bytes:
        """What is shown of one line of the file (without its newline); b"" for one that is not wanted."""
        stamp, _, rest = line.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, space, content = rest.partition(b" ")
        if not space:
            return b""  # cut off by a full disk
        begins, self._begins = self._begins, not tag.startswith(b"P")
        if self._since is not None and _moment(stamp) < self._since:
            return b""
        shown = stamp + b" " + content if self._timestamps and begins else content
        return shown + b"\n" if self._begins else shown


def _moment(stamp: bytes) -> float:
    whole, _, fraction = stamp.decode().rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")


def _tail(file: BinaryIO, lines: int) -> int:
    """The offset at which the last `lines` lines begin. Reads backwards, block by block."""
    end = position = file.seek(0, 2)
    if lines <= 0:
        return end
    newlines = 0
    while position > 0:
        step = min(BLOCK, position)
        position -= step
        file.seek(position)
        block, index = file.read(step), step
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            if position + index != end - 1:
                newlines += 1
                if newlines == lines:
                    return position + index + 1
    return 0


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:  # not yet, or between the runtime's renaming it and beginning a new one
        return None


def _successor(path: Path, file: BinaryIO) -> BinaryIO | None:
    """The file that was begun after `file`; None while that is the newest. (Open files keep their inode numbers.)"""
    newest = _opened(path)
    if newest is None or os.path.sameopenfile(newest.fileno(), file.fileno()):
        if newest:
            newest.close()
        return None
    before = _opened(path.with_name(f"{path.name}.1"))
    if before is None or os.path.sameopenfile(before.fileno(), file.fileno()):
        if before:
            before.close()
        return newest
    newest.close()  # there were two since: this one comes between
    return before


async def _blocks(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
    """What is in the file, and with `follow` what comes, also in those after it."""
    while (file := _opened(path)) is None:
        if not options.follow or not running():
            return
        await asyncio.sleep(POLL)
    try:
        if options.tail_lines is not None:
            file.seek(_tail(file, options.tail_lines))
        while True:
            alive = options.follow and running()  # asked before reading: what it said last is not lost
            if block := file.read(BLOCK):
                yield block
            elif options.follow and (newer := _successor(path, file)):
                while block := file.read(BLOCK):  # written between our last look and the renaming
                    yield block
                file.close()
                file = newer
            elif alive:
                await asyncio.sleep(POLL)
            else:
                return
    finally:
        file.close()


async def read(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log in chunks; with `follow` until the container no longer runs and all it said has been told."""
    wanted = Filter(options)
    left = options.limit_bytes
    rest = b""
    async with aclosing(_blocks(path, options, running)) as blocks:
        async for block in blocks:
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            chunk = b"".join(wanted.text(line) for line in lines)
            if left is not None:
                chunk, left = chunk[:left], left - len(chunk)
            if chunk:
                yield chunk
            if left is not None and left <= 0:
                return
