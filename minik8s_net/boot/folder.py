"""The folder of one cluster: made, held, and taken away.

Whoever starts or ends a cluster holds `lifecycle.lock` in its folder until all is done, deletion included. The lock
goes with the folder; so whoever has waited looks whether what he locked still bears the name, and else begins anew.
A folder is renamed before it is deleted: from then on nobody can record anything in it or start anything from it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..config import ClusterConfig
from ..state import State, home
from .errors import DamagedError, StartError, full_disk
from .files import write_whole

START_PATIENCE = 60.0  # seconds; a machine ten times slower than a laptop still makes it
LOCK_PATIENCE = START_PATIENCE + 30  # the holder may need all of that, and then tidies up
POLL = 0.02
SILENT = 1.0  # seconds after which one who waits says so
DELETE_TRIES = 100
_LOCK = "lifecycle.lock"
_OURS = ("cluster.json", "owned.json", _LOCK)  # what makes a folder one of ours: no other is deleted


@contextmanager
def held(state: State, command: str, tell: Callable[[str], None], *, make: bool = False) -> Iterator[None]:
    """Hold the cluster's folder, for `command` ("up"); `make` it where there is none.

    `tell` hears whom we wait for. Raises FileNotFoundError (no such cluster), StartError.
    """
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        if make:
            _make_root(state)
        elif not any((state.root / name).exists() for name in _OURS):
            raise FileNotFoundError(errno.ENOENT, "no cluster", str(state.root))
        try:
            fd = os.open(state.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            if make and time.monotonic() < deadline:
                continue
            raise
        try:
            _lock(fd, state, deadline, tell)
            if not _is_at(fd, state.root / _LOCK):
                continue
            with contextlib.suppress(OSError):  # a full disk: then nobody is named to those who wait
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"process {os.getpid()}, `minik8s {command}`".encode(), 0)
            yield
            return
        finally:
            os.close(fd)


def _lock(fd: int, state: State, deadline: float, tell: Callable[[str], None]) -> None:
    say_at = time.monotonic() + SILENT
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            now = time.monotonic()
        holder = os.pread(fd, 200, 0).decode(errors="replace") or "another minik8s command"
        if now > deadline:
            raise StartError(
                f'{holder} has been busy with the cluster "{state.root.name}" for more than {LOCK_PATIENCE:.0f} s.\n'
                "Wait for it to end, or end it; then type the command again."
            )
        if now > say_at:
            tell(f'waiting: {holder} is busy with "{state.root.name}"')
            say_at = deadline
        time.sleep(POLL)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _make_root(state: State) -> None:
    for _ in range(DELETE_TRIES):
        try:
            state.root.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            home()  # now that it is there, it must be ours
            return state.root.mkdir(exist_ok=True, mode=0o700)
        except PermissionError as error:
            if error.strerror is None:
                raise
            raise unwritable(state, error) from None
        except FileNotFoundError:  # the last cluster beside us has just taken the home along
            continue
        except OSError as error:
            raise unwritable(state, error) from None
    raise StartError(f"{state.root.parent} comes and goes: something else deletes it.")


def fill(state: State, config: ClusterConfig) -> None:
    """What every process of the cluster expects to be there. Raises StartError."""
    try:
        for folder in (state.logs, state.pki, state.ipam, state.pods):
            folder.mkdir(exist_ok=True, mode=0o700)
        if not state.config.exists():
            write_whole(state.config, json.dumps(config.to_dict(), indent=2))
    except OSError as error:
        raise unwritable(state, error) from None


def read_config(state: State) -> ClusterConfig:
    """What the cluster was made with. Raises DamagedError, and OSError (FileNotFoundError: there is none)."""
    text = state.config.read_text(errors="replace")
    try:
        return ClusterConfig.from_dict(json.loads(text))
    except (ValueError, TypeError) as error:  # ConfigError too
        raise DamagedError(state.config, str(error) if text.strip() else "it is empty") from None


def unwritable(state: State, error: OSError) -> StartError:
    """What to say where the folder cannot be written."""
    mend = full_disk(state.root.parent) or "\nSet MINIK8S_HOME to a folder you may write to, or free some space."
    return StartError(f"cannot write the cluster's folder {state.root}: {error.strerror}.{mend}")


def take_away(state: State, end: Callable[[State], None]) -> None:
    """Delete the folder, which the caller holds.

    `end` is called with the folder under its last name, and ends whoever was recorded at the last moment.
    """
    aside = State(state.root.with_name(f".{state.root.name}.{time.time_ns()}"))
    try:
        state.root.rename(aside.root)
    except OSError:  # no room for a name, perhaps: the lock goes last
        for path in state.root.iterdir():
            if path.name != _LOCK:
                _delete(path)
        state.root.rename(aside.root)
    _finish(aside, end)


def sweep(state: State, end: Callable[[State], None]) -> None:
    """What a `down` that was killed has left of this cluster's folder."""
    for left in state.root.parent.glob(f".{state.root.name}.*"):
        _finish(State(left), end)


def leave_home() -> None:
    """Remove the folder of all clusters and what we made above it: only as long as they are empty."""
    for parent in (home(), *home().parents):
        if parent.name not in {"minik8s", f"minik8s-{os.getuid()}"}:
            break
        try:
            parent.rmdir()
        except OSError:
            break


def _finish(aside: State, end: Callable[[State], None]) -> None:
    end(aside)
    _delete(aside.root)


def _delete(path: Path) -> None:
    """Whatever still writes there (a log's last line) or deletes it too."""
    for remaining in reversed(range(DELETE_TRIES)):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            break
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not remaining:
                raise
            time.sleep(POLL)
