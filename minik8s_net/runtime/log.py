"""A container's log file, in CRI's format: `2026-01-02T03:04:05.123456789Z stdout F text`.

P marks a piece of a line longer than 16 KiB, F its last piece (or a whole line). At 10 MiB the file becomes NAME.1
and a new one begins.
https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from __future__ import annotations

import os
import time

from .syscalls import clone_tree

MAX_LINE = 16 << 10
MAX_FILE = 10 << 20


class LogFile:
    """Opened before the container's root is changed; works through descriptors from then on.

    The folder is held by a mount of its own: nothing above it can be reached, by whoever gets hold of the descriptor.
    """

    def __init__(self, path: str) -> None:
        folder, self._name = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        self._folder = clone_tree(folder)
        self._rest: dict[str, bytes] = {}
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._name, flags, 0o640, dir_fd=self._folder)
        self._size = os.fstat(self._fd).st_size

    def descriptors(self) -> list[int]:
        """What it works through at the moment."""
        return [self._folder, self._fd]

    def write(self, stream: str, data: bytes) -> None:
        """What the container wrote; an unfinished line waits for its end."""
        *lines, rest = (self._rest.pop(stream, b"") + data).split(b"\n")
        head = f"{_now()} {stream} ".encode()
        out = bytearray()
        for line in lines:
            while len(line) > MAX_LINE:
                out += head + b"P " + line[:MAX_LINE] + b"\n"
                line = line[MAX_LINE:]
            out += head + b"F " + line + b"\n"
        while len(rest) >= MAX_LINE:
            out += head + b"P " + rest[:MAX_LINE] + b"\n"
            rest = rest[MAX_LINE:]
        if rest:
            self._rest[stream] = rest
        self._append(out)

    def finish(self) -> None:
        """The container has ended: unfinished lines are lines."""
        for stream in list(self._rest):
            self.write(stream, b"\n")

    def _append(self, data: bytearray) -> None:
        if not data:
            return
        if self._size + len(data) > MAX_FILE and self._size:
            os.replace(self._name, f"{self._name}.1", src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.close(self._fd)
            self._open()
        try:
            self._size += os.write(self._fd, data)
        except OSError:
            pass  # a full disk costs log lines, never the container


def _now() -> str:
    seconds, nanos = divmod(time.time_ns(), 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanos:09d}Z"
