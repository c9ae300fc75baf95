"""Namespaces' names in the host's /run/netns (root only), so that `ip netns exec NAME` works as in any tutorial.

A name is a symlink to `/proc/PID/root/run/minik8s/netns/NAME`, PID being the runtime: nothing is mounted on the host.
Ownership is recorded *before* the first symlink is made (netns-names.json: cluster, pids and start times of its
runtimes), and only links of that cluster into a recorded runtime are ever removed. A /run/netns that did not exist is
marked by an extended attribute, so that whichever cluster leaves last can remove it. Clusters come and go side by
side: the folder is made and removed under a lock (flock, the one that `ip netns add` takes), and who comes leaves
its first name before it lets go, so that nobody who goes finds the folder empty.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sys
import time
from typing import TYPE_CHECKING

from ..kernel.processes import start_time

if TYPE_CHECKING:
    from ..state import State

HOST_DIR = "/run/netns"
FIRST = "fabric"  # every cluster has this namespace
LOCK_PATIENCE = 5.0  # seconds; `ip netns add` holds the lock for milliseconds
_RECORD = "netns-names.json"
_MARK = "trusted.minik8s"


def target(pid: int, name: str) -> str:
    """Where the symbolic link of a namespace leads: into the runtime's own mount namespace."""
    return f"/proc/{pid}/root/run/minik8s/netns/{name}"


def prepare(root: str, cluster: str, pid: int) -> int | None:
    """Before /run is covered: make sure of the host's folder, record ourselves. Its descriptor, or None."""
    try:
        folder = _host_dir()
    except OSError:
        return None  # no writable /run, or root of a user namespace only: the names are a convenience
    try:
        _record(root, cluster, pid)
        publish(folder, pid, f"{cluster}.{FIRST}")
        fcntl.flock(folder, fcntl.LOCK_UN)
    except OSError as error:  # a full disk: without a record no names
        _say(f"{HOST_DIR}: {error}")
        _remove_if_ours(folder)
        os.close(folder)
        return None
    return folder


def _host_dir() -> int:
    """The host's folder, made if need be: locked, and certainly the one that has the name."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        made = _make_host_dir()
        try:
            folder = os.open(HOST_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # the last cluster beside us took it along
            if time.monotonic() < deadline:
                continue
            raise
        try:
            _lock(folder, deadline)
            if os.fstat(folder).st_nlink:
                if made:
                    _mark(folder)
                return folder
        except OSError:
            os.close(folder)
            raise
        os.close(folder)


def _make_host_dir() -> bool:
    try:
        os.mkdir(HOST_DIR, 0o755)
    except FileExistsError:
        return False
    return True


def _mark(folder: int) -> None:
    try:
        os.setxattr(folder, _MARK, b"created")
    except OSError:
        os.rmdir(HOST_DIR)
        raise


def _lock(folder: int, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def _record(root: str, cluster: str, pid: int) -> None:
    record = _read(root)
    path = os.path.join(root, _RECORD)
    with open(f"{path}.new", "w") as file:
        json.dump({"cluster": cluster, "pids": [*_runtimes(record), [pid, start_time("self")]]}, file)
    os.replace(f"{path}.new", path)


def _read(root: str) -> dict[str, object]:
    try:
        with open(os.path.join(root, _RECORD)) as file:
            record = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _runtimes(record: dict[str, object]) -> list[tuple[int, int]]:
    """(process id, start time) of each; 0: not recorded."""
    pids = record.get("pids")
    pairs = [one if isinstance(one, list) else [one, 0] for one in (pids if isinstance(pids, list) else [])]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and all(type(number) is int for number in pair)]


def _say(text: str) -> None:
    """To the log: on standard output the runtime tells its starter how far it is."""
    with contextlib.suppress(OSError):  # the log's disk is full
        print(text, file=sys.stderr, flush=True)


def publish(folder: int | None, pid: int, name: str) -> None:
    """Name a namespace. A name that somebody else uses stays his."""
    if folder is None:
        return
    try:
        os.symlink(target(pid, name), name, dir_fd=folder)
    except OSError as error:  # the names are a convenience: the namespace is there all the same
        if not _is_link_to(folder, name, target(pid, name)):
            _say(f"/run/netns/{name} is not named on the host: {error.strerror}")


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
    runtimes = [pid for pid, started in _runtimes(record) if not _is_anothers(pid, started)]
    if not record:
        return
    try:
        folder = os.open(HOST_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        try:
            _lock(folder, time.monotonic() + LOCK_PATIENCE)
        except BlockingIOError:
            _say(f"{HOST_DIR} is locked by somebody else: our names in it stay until the next try")
            return
        for name in os.listdir(folder):
            ours = name.startswith(f"{record.get('cluster')}.")
            if ours and any(_is_link_to(folder, name, target(pid, name)) for pid in runtimes):
                os.unlink(name, dir_fd=folder)
        _remove_if_ours(folder)
    except OSError as error:
        _say(f"{HOST_DIR}: {error}")
    finally:
        os.close(folder)
    with contextlib.suppress(FileNotFoundError):  # another `down` is at it too
        os.unlink(os.path.join(state.root, _RECORD))


def _remove_if_ours(folder: int) -> None:
    """The host's folder, which we hold locked: if one of us made it and nobody has a name in it."""
    try:
        if os.fstat(folder).st_nlink and not os.listdir(folder) and _MARK in os.listxattr(folder):
            os.rmdir(HOST_DIR)
    except OSError as error:
        if error.errno != errno.EBUSY:  # `ip netns` mounts the folder on itself: then it is no longer ours to remove
            _say(f"{HOST_DIR}: {error}")


def _is_anothers(pid: int, started: int) -> bool:
    """Whether the id of a dead runtime is now another process's: its names are not ours."""
    try:
        return started not in (0, start_time(pid))
    except ProcessLookupError:
        return False
