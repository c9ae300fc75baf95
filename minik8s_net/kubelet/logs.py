"""Container logs: CRI's log format, `TIME STREAM F|P TEXT`, one file per attempt.

https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..apiserver.kubelets import LogOptions

POLL = 0.05  # seconds between looks at a file that is followed
BLOCK = 64 * 1024


@dataclass(frozen=True)
class Filter:
    """What of a log is wanted, line by line."""

    since: float | None
    timestamps: bool

    @classmethod
    def of(cls, options: LogOptions) -> Filter:
        since = None
        if options.since_seconds is not None:
            since = time.time() - options.since_seconds
        elif options.since_time:
            since = datetime.fromisoformat(options.since_time).timestamp()
        return cls(since, options.timestamps)

    def text(self, line: bytes) -> bytes:
        """What is shown of one line of the file (without its newline); b"" for one that is not wanted."""
        stamp, _, rest = line.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, _, content = rest.partition(b" ")
        if self.since is not None and _moment(stamp) < self.since:
            return b""
        shown = stamp + b" " + content if self.timestamps else content
        return shown if tag.startswith(b"P") else shown + b"\n"


def _moment(stamp: bytes) -> float:
    whole, _, fraction = stamp.decode().rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")


def _tail(path: Path, lines: int) -> int:
    """The offset at which the last `lines` lines begin. Reads backwards, block by block."""
    with path.open("rb") as file:
        end = position = file.seek(0, 2)
        if lines <= 0:
            return end
        newlines = 0
        while position > 0:
            step = min(BLOCK, position)
            position -= step
            file.seek(position)
            block = file.read(step)
            for index in range(len(block) - 1, -1, -1):
                if block[index] == 10 and position + index != end - 1:
                    newlines += 1
                    if newlines == lines:
                        return position + index + 1
    return 0


async def read(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log in chunks; with `follow` until the container no longer runs and all it said has been told."""
    wanted = Filter.of(options)
    left = options.limit_bytes
    while not path.exists():
        if not options.follow or not running():
            return
        await asyncio.sleep(POLL)
    with path.open("rb") as file:
        if options.tail_lines is not None:
            file.seek(_tail(path, options.tail_lines))
        rest = b""
        while True:
            alive = options.follow and running()  # asked before reading: what it said last is not lost
            block = file.read(BLOCK)
            if not block:
                if not alive:
                    return
                await asyncio.sleep(POLL)
                continue
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            chunk = b"".join(wanted.text(line) for line in lines)
            if left is not None:
                chunk, left = chunk[:left], left - len(chunk)
            if chunk:
                yield chunk
            if left is not None and left <= 0:
                return
