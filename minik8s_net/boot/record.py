"""The record of what a cluster owns outside its folder: processes, by id *and* start time.

Clean-up goes by this record, never by name pattern. A process id alone may have been given to somebody else by now;
together with the start time (clock ticks since boot, /proc/PID/stat field 22) it means one process for ever.
"""

from __future__ import annotations

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

from ..state import State


@dataclass(frozen=True)
class Process:
    """One process that we started."""

    pid: int
    started: int  # clock ticks since boot

    @classmethod
    def of(cls, pid: int) -> Process:
        """Raises ProcessLookupError if there is none."""
        return cls(pid, _start_time(pid))

    def alive(self) -> bool:
        """Whether this very process (not another with its id) still runs; a zombie does not."""
        try:
            return _start_time(self.pid) == self.started and not _is_zombie(self.pid)
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
    """`owned.json` of one cluster: part name (supervisor, runtime, controller) -> Process. Written atomically."""

    def __init__(self, state: State) -> None:
        self._path = state.owned

    def read(self) -> dict[str, Process]:
        """Everything recorded: part -> process."""
        try:
            return {part: Process(**entry) for part, entry in json.loads(self._path.read_text()).items()}
        except FileNotFoundError:
            return {}

    def get(self, part: str) -> Process | None:
        """The recorded process of a part, dead or alive."""
        return self.read().get(part)

    def alive(self, part: str) -> Process | None:
        """The process of a part if it runs."""
        process = self.get(part)
        return process if process and process.alive() else None

    def set(self, part: str, pid: int) -> Process:
        """Record a process as a part of the cluster. Raises ProcessLookupError if it has ended."""
        process = Process.of(pid)
        with locked(self._path.with_suffix(".lock")):
            entries = {name: vars(p) for name, p in self.read().items()} | {part: vars(process)}
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(entries))
            new.replace(self._path)
        return process


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


def _stat_fields(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    return text[text.rindex(")") + 2 :].split()


def _start_time(pid: int) -> int:
    return int(_stat_fields(pid)[19])


def _is_zombie(pid: int) -> bool:
    return _stat_fields(pid)[0] in "ZX"


def _ended(pidfd: int, patience: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(patience * 1000))
