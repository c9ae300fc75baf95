"""Namespaces' names in the host's /run/netns (root only), so that `ip netns exec NAME` works as in any tutorial.

A name is a symlink to `/proc/PID/root/run/minik8s/netns/NAME`, PID being the runtime: nothing is mounted on the host.
Ownership is recorded *before* the first symlink is made (netns-names.json: cluster and pids of its runtimes), and only
links that point into a recorded runtime are ever removed. A /run/netns that did not exist is marked by an extended
attribute, so that whichever cluster leaves last can remove it.
"""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..state import State

HOST_DIR = "/run/netns"
_RECORD = "netns-names.json"
_MARK = "trusted.minik8s"


def target(pid: int, name: str) -> str:
    """Where the symbolic link of a namespace leads: into the runtime's own mount namespace."""
    return f"/proc/{pid}/root/run/minik8s/netns/{name}"


def prepare(root: str, cluster: str, pid: int) -> int | None:
    """Before /run is covered: make sure of the host's folder, record ourselves. Its descriptor, or None."""
    try:
        _make_host_dir()
    except OSError:
        return None  # no writable /run, or root of a user namespace only: the names are a convenience
    record = _read(root)
    record["cluster"] = cluster
    before = record.get("pids")
    record["pids"] = [*(before if isinstance(before, list) else []), pid]
    path = os.path.join(root, _RECORD)
    with open(f"{path}.new", "w") as file:
        json.dump(record, file)
    os.replace(f"{path}.new", path)
    return os.open(HOST_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _make_host_dir() -> None:
    try:
        os.mkdir(HOST_DIR, 0o755)
    except FileExistsError:
        return
    try:
        os.setxattr(HOST_DIR, _MARK, b"created")
    except OSError:
        os.rmdir(HOST_DIR)
        raise


def _read(root: str) -> dict[str, object]:
    try:
        with open(os.path.join(root, _RECORD)) as file:
            record = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def publish(folder: int | None, pid: int, name: str) -> None:
    """Name a namespace. A name that somebody else uses stays his."""
    if folder is None:
        return
    try:
        os.symlink(target(pid, name), name, dir_fd=folder)
    except OSError as error:  # the names are a convenience: the namespace is there all the same
        if not _is_link_to(folder, name, target(pid, name)):
            print(f"/run/netns/{name} is not named on the host: {error.strerror}", flush=True)


def missing(folder: int | None, names: list[str]) -> list[str]:
    """Which of these nobody has in the host's folder; none where we name nothing."""
    return [] if folder is None else sorted(set(names) - set(os.listdir(folder)))


def withdraw(folder: int | None, pid: int, name: str) -> None:
    """Remove the name of one namespace from the host's /run/netns."""
    if folder is not None and _is_link_to(folder, name, target(pid, name)):
        os.unlink(name, dir_fd=folder)


def _is_link_to(folder: int, name: str, wanted: str) -> bool:
    try:
        return os.readlink(name, dir_fd=folder) == wanted
    except OSError:
        return False


def remove_names(state: State) -> None:
    """From the host, once the runtime is dead: remove what it left in /run/netns. Can be called any number of times."""
    record = _read(str(state.root))
    pids = record.get("pids")
    if not isinstance(pids, list):
        return
    try:
        folder = os.open(HOST_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        for name in os.listdir(folder):
            if any(_is_link_to(folder, name, target(p, name)) for p in pids):
                os.unlink(name, dir_fd=folder)
        if not os.listdir(folder) and _MARK in os.listxattr(HOST_DIR):
            os.rmdir(HOST_DIR)
    except OSError as error:
        if error.errno != errno.EBUSY:  # `ip netns` mounts the folder on itself: then it is no longer ours to remove
            print(f"{HOST_DIR}: {error}", flush=True)
    finally:
        os.close(folder)
    os.unlink(os.path.join(state.root, _RECORD))
