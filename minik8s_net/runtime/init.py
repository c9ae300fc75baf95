"""The mini-init, PID 1 of a container: forwards signals, reaps orphans, pumps output to the log, gives the exit code.

Needed because the kernel ignores signals to a PID 1 without handlers: TERM would be lost on most programs.
"""

from __future__ import annotations

import os
import select
import signal

from .log import LogFile

FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)

LAST_BYTES = 1 << 20  # what a pipe or terminal can hold when the workload ends; others may write on for ever


class Init:
    """Made before the workload is forked, so that no signal is missed."""

    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *FORWARDED):
            signal.signal(number, _noted)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def wait_for(self, pid: int, outputs: dict[int, str]) -> int:
        """Until the workload ends: its exit code, 128+N after signal N. What it wrote last is in the log by then."""
        poll = select.poll()
        for fd in (self._wake, *outputs):
            os.set_blocking(fd, False)
            poll.register(fd, select.POLLIN)
        code = self._reap(pid)
        while code is None:
            for fd, _ in poll.poll():
                if fd == self._wake:
                    self._forward(pid)
                    code = self._reap(pid)
                elif not self._pump(fd, outputs[fd]):
                    poll.unregister(fd)
        for fd, stream in outputs.items():
            left = LAST_BYTES
            while left > 0 and select.select([fd], [], [], 0)[0] and (count := self._pump(fd, stream)):
                left -= count
        self._log.finish()
        return code

    def _forward(self, pid: int) -> None:
        for number in os.read(self._wake, 512):
            if number in FORWARDED:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass  # it is a zombie; its SIGCHLD is in the same buffer

    def _reap(self, pid: int) -> int | None:
        code = None
        while True:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if child == 0:
                return code
            if child == pid:
                ended = os.waitstatus_to_exitcode(status)
                code = ended if ended >= 0 else 128 - ended

    def _pump(self, fd: int, stream: str) -> int:
        """Move what is there to the log: how many bytes, 0 at the end of the stream."""
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return 1  # a process of the container has read it: not the end
        except OSError:  # EIO: the last user of a terminal has left
            return 0
        if data:
            self._log.write(stream, data)
        return len(data)


def _noted(number: int, frame: object) -> None:
    """Python needs a handler for the wake-up descriptor to be written to."""
