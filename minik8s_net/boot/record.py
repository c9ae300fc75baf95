"""The record of what a cluster owns outside its folder: processes, by id, start time *and* boot.

Clean-up goes by this record, never by name pattern. A process id alone may have been given to somebody else by now;
together with the start time (and the boot that it counts from) it means one process for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..kernel.processes import boot_id, is_zombie, start_time
from ..state import State
from .errors import DamagedError
from .files import write_whole


@dataclass(frozen=True)
class Process:
    """One process that we started."""

    pid: int
    started: int  # clock ticks since boot
    boot: str = ""  # which boot; "" in records of old

    @classmethod
    def of(cls, pid: int) -> Process:
        """Raises ProcessLookupError if there is none."""
        return cls(pid, start_time(pid), boot_id())

    def alive(self) -> bool:
        """Whether this very process (not another with its id) still runs; a zombie does not."""
        if self.boot not in ("", boot_id()):
            return False
        try:
            return start_time(self.pid) == self.started and not is_zombie(self.pid)
        except ProcessLookupError:
            return False

    def end(self, *signals: tuple[int, float]) -> bool:
        """Send each (signal, seconds to wait for the end) in turn; True once it has ended."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            for number, patience in signals:
                if not self.alive():  # checked after pidfd_open: the descriptor now means this very process
                    return True
                signal.pidfd_send_signal(fd, number)
                if _ended(fd, patience):
                    return True
            return not self.alive()
        except ProcessLookupError:
            return True
        finally:
            os.close(fd)


class Record:
    """`owned.json` of one cluster: part name (supervisor, runtime, controller) -> Process. Written atomically.

    What it says is all that `down` knows, so there are two copies: a damaged one does not orphan the processes.
    """

    def __init__(self, state: State) -> None:
        self._path = state.owned
        self._copy = state.owned.with_name("owned.copy.json")

    def read(self) -> dict[str, Process]:
        """Everything recorded: part -> process. Raises DamagedError if neither copy can be read."""
        try:
            return _parsed(self._path)
        except ValueError as error:
            with contextlib.suppress(ValueError):
                if copied := _parsed(self._copy):
                    return copied
            raise DamagedError(self._path, str(error)) from None

    def get(self, part: str) -> Process | None:
        """The recorded process of a part, dead or alive."""
        return self.read().get(part)

    def alive(self, part: str) -> Process | None:
        """The process of a part if it runs."""
        process = self.get(part)
        return process if process and process.alive() else None

    def set(self, part: str, pid: int) -> Process:
        """Record a process as a part of the cluster. Raises ProcessLookupError if it has ended, OSError."""
        process = Process.of(pid)
        with locked(self._path.with_suffix(".lock")):
            text = json.dumps({name: vars(p) for name, p in self.read().items()} | {part: vars(process)})
            write_whole(self._path, text)
            with contextlib.suppress(OSError):
                self._copy.write_text(text)
        return process


def _parsed(path: Path) -> dict[str, Process]:
    """{} where there is no file. Raises ValueError for a damaged one."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    if not text.strip():
        raise ValueError("it is empty")
    try:
        found = {part: Process(**entry) for part, entry in json.loads(text).items()}
    except (TypeError, AttributeError):
        found = None
    if found is None or not all(type(p.pid) is type(p.started) is int for p in found.values()):
        raise ValueError("it is no record of processes")
    return found


@contextmanager
def locked(path: Path, patience: float = 10.0) -> Iterator[None]:
    """Hold an exclusive file lock. Raises TimeoutError."""
    with open(path, "a") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{path} is held by another minik8s command") from None
                time.sleep(0.02)
        yield


def _ended(pidfd: int, patience: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(patience * 1000))
