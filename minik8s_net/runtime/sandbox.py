"""Namespaces that pods, nodes and the fabric are made of.

A network namespace is held by a bind mount under NETNS_DIR (its name), a sandbox's UTS and IPC namespaces by
descriptors of the runtime: no pause process. The runtime is single-threaded, so it can step into a new namespace,
pin it, and step back (0.4 ms).
"""

from __future__ import annotations

import os
import socket

from .syscalls import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUTS, bind, setns, umount, unshare

NETNS_DIR = "/run/minik8s/netns"
MAX_NAME = 200  # bytes; a file name has 255, and tools add to it


class Home:
    """The runtime's own namespaces: the way back."""

    def __init__(self) -> None:
        self.fds = {kind: _open_own(kind) for kind in ("net", "uts", "ipc")}

    def back(self, *kinds: str) -> None:
        for kind in kinds:
            setns(self.fds[kind])


def _open_own(kind: str) -> int:
    return os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def netns_name(cluster: str, namespace: str, pod: str) -> str:
    """`CLUSTER.NAMESPACE.POD`; beyond 200 bytes its head and a hash of the whole."""
    name = f"{cluster}.{namespace}.{pod}"
    if len(name) <= MAX_NAME:
        return name
    import hashlib

    return f"{name[: MAX_NAME - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def netns_path(name: str) -> str:
    """Where a pod's network namespace is bound."""
    return f"{NETNS_DIR}/{name}"


def make_netns(home: Home, name: str) -> None:
    """A new network namespace bound at NETNS_DIR/name. Raises FileExistsError."""
    path = netns_path(name)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        unshare(CLONE_NEWNET)
        try:
            bind("/proc/self/ns/net", path)
        finally:
            home.back("net")
    except OSError:
        os.unlink(path)
        raise


def drop_netns(name: str) -> None:
    """Let go of a namespace; the kernel takes it apart once nobody is in it. Gone already is fine."""
    path = netns_path(name)
    if os.path.exists(path):
        umount(path)
        os.unlink(path)


def make_uts_ipc(home: Home, hostname: str) -> tuple[int, int]:
    """New UTS (with the hostname set) and IPC namespaces, as descriptors."""
    unshare(CLONE_NEWUTS | CLONE_NEWIPC)
    try:
        socket.sethostname(hostname[:63].rstrip("-."))
        return _open_own("uts"), _open_own("ipc")
    finally:
        home.back("uts", "ipc")
