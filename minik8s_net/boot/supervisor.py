"""The supervisor: starts the runtime and the controller of one cluster, and starts again what dies.

In Kubernetes: systemd, which keeps containerd and the kubelet alive. It lives in the host's own namespaces, touches no
kernel state, and holds nothing: kill it, and `minik8s up` starts another that adopts what is running, by the record.
The controller joins the runtime's namespaces, so when the runtime dies the controller goes too (it notices by itself)
and both start anew. With healing off (`up --no-heal`) it starts each part once and then only waits.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

from ..config import ClusterConfig
from ..runtime import daemon as runtime
from ..runtime.names import remove_names
from ..state import State
from .errors import StartError
from .record import Process, Record, locked

log = logging.getLogger(__name__)
PARTS = ("runtime", "controller")
CRASH_WINDOW, CRASH_LIMIT = 10.0, 5  # seconds; restarts within them before we slow down
RETRY = 1.0  # seconds until something that the machine refused (no memory, no space) is tried again


class Supervisor:
    """Keeps one runtime and one controller alive."""

    def __init__(self, config: ClusterConfig, state: State) -> None:
        self.config, self.state, self.record = config, state, Record(state)
        self._starts: dict[str, list[float]] = {part: [] for part in PARTS}
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Until SIGTERM. The first start fails for good and `up` says why; later ones are tried again."""
        started = failing = False
        while True:
            try:
                runtime_process, controller_process = self._ensure()
            except (OSError, runtime.StartError, StartError) as error:
                self._exit_if_gone()
                self._bury()
                log.log(logging.DEBUG if failing else logging.ERROR, "the cluster does not start", exc_info=True)
                failing = True
                if not started:
                    self._tell_failure(error)
                    raise SystemExit(1) from error
                time.sleep(RETRY)
                continue
            started, failing = True, False
            self._wait_for_end_of([runtime_process, controller_process])
            if not self.config.heal:
                signal.pause()
            self._bury()

    def _bury(self) -> None:
        for pid in [pid for pid, child in self._children.items() if child.poll() is not None]:
            del self._children[pid]

    def _ensure(self) -> tuple[Process, Process]:
        """Both parts running, started if need be. The controller's imports overlap with the runtime's start."""
        z = self.record.alive("runtime")
        controller = self.record.alive("controller")
        if z and controller:
            return z, controller
        if controller:  # its runtime is gone, and with it the namespaces it has joined
            controller.end((signal.SIGTERM, 0.5), (signal.SIGKILL, 2))
        self._note_start("controller")
        child = self._spawn_controller()
        assert child.stdin
        with child.stdin:  # closed before it was told its runtime, it ends
            controller = self._recorded("controller", child.pid)
            if not z:
                self._note_start("runtime")
                remove_names(self.state)
                pid = runtime.start(self.state, self.config.name, lambda pid: self._recorded("runtime", pid))
                z = Process.of(pid)
            try:
                child.stdin.write(f"{z.pid}\n".encode())
            except BrokenPipeError:
                log.error("the controller ended before it was told its runtime; its log says why")
        return z, controller

    def _recorded(self, part: str, pid: int) -> Process:
        """A new process, once it is recorded. It waits for us until then; so we wait for space on the disk."""
        complained = False
        while True:
            try:
                return self.record.set(part, pid)
            except ProcessLookupError:
                raise
            except OSError as error:
                self._exit_if_gone()
                if not complained:
                    log.error("the %s is started once it can be recorded: %s", part, error)
                complained = True
                time.sleep(RETRY)

    def _exit_if_gone(self) -> None:
        if not self.state.config.exists():
            log.error("%s has been taken away: nothing is left to watch over", self.state.root)
            raise SystemExit(0)

    def _tell_failure(self, error: Exception) -> None:
        try:
            (self.state.root / "failed").write_text(str(error))
        except OSError:
            log.error("and nobody can be told: the disk is full")

    def _spawn_controller(self) -> subprocess.Popen[bytes]:
        with open(self.state.logs / "controller.log", "ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "minik8s_net.boot.controller", str(self.state.root)],
                stdin=subprocess.PIPE,
                bufsize=0,  # closing it writes nothing that could fail
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
            )
        self._children[child.pid] = child
        return child

    def _note_start(self, part: str) -> None:
        """A part that keeps dying is started more and more slowly, so that a broken machine stays usable."""
        now = time.monotonic()
        recent = self._starts[part] = [t for t in self._starts[part] if now - t < CRASH_WINDOW] + [now]
        if len(recent) > CRASH_LIMIT:
            log.error("%s died %d times in %.0f s; waiting", part, len(recent) - 1, CRASH_WINDOW)
            time.sleep(CRASH_WINDOW)

    def _wait_for_end_of(self, processes: list[Process]) -> None:
        poll, fds = select.poll(), []
        try:
            for process in processes:
                try:
                    fds.append(os.pidfd_open(process.pid))
                except ProcessLookupError:
                    return
                poll.register(fds[-1], select.POLLIN)
            if all(process.alive() for process in processes):
                poll.poll()
        finally:
            for fd in fds:
                os.close(fd)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(folder: str) -> None:
    """`python -m minik8s_net.boot.supervisor STATE_FOLDER`: the first process of a cluster."""
    from pathlib import Path

    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.INFO)
    signal.signal(signal.SIGTERM, _stop)
    state = State(Path(folder))
    config = ClusterConfig.from_dict(json.loads(state.config.read_text()))
    with locked(state.root / "supervisor.lock", patience=2):
        supervisor = Supervisor(config, state)
        supervisor.record.set("supervisor", os.getpid())
        supervisor.run()


if __name__ == "__main__":
    main(sys.argv[1])
