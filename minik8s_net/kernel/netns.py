"""Network namespaces, and the thread that lives in each.

A `Netns` owns one worker thread that has joined the namespace. Kernel work for the namespace is a plain function run
on that thread (0.01–0.05 ms to hand over). Entering and leaving per call is not possible rootless: a thread that left
the host's network namespace may not return to it, so workers are dedicated and the event loop's thread never moves.
Child processes that a worker starts (iptables-restore, ipset) inherit the namespace.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
NETNS_DIR = Path("/run/minik8s/netns")  # in the cluster's own mount namespace
P = ParamSpec("P")
R = TypeVar("R")
_libc = ctypes.CDLL(None, use_errno=True)


def setns(fd: int, nstype: int = 0) -> None:
    """Move the calling thread into the namespace behind `fd`. Raises OSError."""
    if _libc.setns(fd, nstype):
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Give the calling thread (for user and pid: process) new namespaces. Raises OSError."""
    if _libc.unshare(flags):
        code = ctypes.get_errno()
        raise OSError(code, f"unshare({flags:#x}): {os.strerror(code)}")


class Netns:
    """A network namespace and its worker thread. Close it to end the thread; the namespace is not ours to end."""

    def __init__(self, name: str, path: Path | None = None) -> None:
        """Join the namespace bound at `path` (default NETNS_DIR/name). Raises FileNotFoundError, PermissionError."""
        self.name = name
        self.fd = os.open(path or NETNS_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"netns-{name}", initializer=setns, initargs=(self.fd,))
        try:
            self._pool.submit(int).result()  # raises here, not later, if the thread could not join
        except BaseException:
            self.close()
            raise

    @classmethod
    def anonymous(cls, name: str) -> Netns:
        """A new namespace held only by this object's descriptor: gone with it. For tests and benchmarks."""
        with ThreadPoolExecutor(1) as pool:
            fd = pool.submit(_new_netns_fd).result()
        try:
            return cls(name, Path(f"/proc/self/fd/{fd}"))
        finally:
            os.close(fd)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` inside the namespace, off the event loop."""
        return await asyncio.wrap_future(self._pool.submit(_called, functools.partial(function, *args, **kwargs)))

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The same, blocking: for code that has no event loop."""
        return self._pool.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """End the worker thread, once its work is done, and let go of the namespace."""
        self._pool.shutdown(wait=True)
        os.close(self.fd)

    def __repr__(self) -> str:
        return f"Netns({self.name!r})"


def inside(fd: int, back: int, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """On a worker thread: step into namespace `fd`, run, and step back into `back` (both ours, so rootless may)."""
    setns(fd, CLONE_NEWNET)
    try:
        return function(*args, **kwargs)
    finally:
        setns(back, CLONE_NEWNET)


def _called(work: Callable[[], R]) -> R:
    """A StopIteration can't be handed to an asyncio future: whoever awaits it would wait for ever."""
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError(f"nothing more to take in {work}") from error


def _new_netns_fd() -> int:
    unshare(CLONE_NEWNET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
