"""Joining the cluster's own user and mount namespace: the controller's first act, and `minik8s shell`'s."""

from __future__ import annotations

import os

from .names import remove_names
from .syscalls import CLONE_NEWNS, CLONE_NEWUSER, setns

__all__ = ["join", "remove_names"]


def join(pid: int) -> None:
    """Enter the runtime's user (unless it is ours) and mount namespace; `pid` is what `daemon.start` returned.

    The process must be single-threaded still: the kernel refuses a thread's user namespace change (EINVAL).
    Raises ProcessLookupError/FileNotFoundError (runtime gone), PermissionError (another user's cluster).
    """
    fds = {kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("user", "mnt")}
    try:
        if not os.path.sameopenfile(fds["user"], own := os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)):
            setns(fds["user"], CLONE_NEWUSER)
        os.close(own)
        setns(fds["mnt"], CLONE_NEWNS)
    finally:
        for fd in fds.values():
            os.close(fd)
