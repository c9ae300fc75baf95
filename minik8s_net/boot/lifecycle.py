"""`up` and `down`: from nothing to a cluster that answers, and back to nothing.

Up is idempotent: a running cluster is left as it is, a stopped or crashed one resumes with its objects. Down ends what
the record says is ours (supervisor first, or it would start things again), then removes names, contexts and the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config import ClusterConfig, is_name
from ..state import State, home, typed
from . import folder, published
from .errors import DamagedError, StartError, full_disk
from .folder import START_PATIENCE
from .record import Process, Record

__all__ = [
    "StartError",
    "Started",
    "add_sbin_to_path",
    "clusters",
    "down",
    "is_dead",
    "is_ready",
    "node_count",
    "stored_config",
    "up",
]
POLL = 0.005
NAMES_PATIENCE = 3  # seconds
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # where distributions hide iptables from ordinary users


@dataclass(frozen=True)
class Started:
    """What `up` did: `resumed` if the cluster was there before, `running` if nothing had to be done.

    `published`: whether the user's kubeconfig has our context. `deaf`: the nodes of a cluster that ran already whose
    names do not work: for whoever is breaking it on purpose that is no error.
    """

    config: ClusterConfig
    seconds: float
    resumed: bool
    running: bool
    published: bool
    deaf: tuple[str, ...] = ()


def up(
    config: ClusterConfig,
    progress: Callable[[str], None] = lambda _: None,
    *,
    explicit: bool = False,
    publish: bool = True,
) -> Started:
    """Start (or resume) a cluster; returns when its DNS answers from inside. Raises StartError, nothing left half-made.

    `explicit`: the configuration was asked for, so a cluster that exists with another one is an error.
    `publish`: add the context minik8s-NAME to the user's kubeconfig and make it the current one.
    """
    began = time.monotonic()
    add_sbin_to_path()
    _preflight(config)
    state = State.of(config.name)
    deaf: tuple[str, ...] = ()
    with folder.held(state, "up", progress, make=True):
        resumed = state.config.exists()
        try:
            if resumed:
                config = _existing(state, config, explicit)
            folder.fill(state, config)
            record = Record(state)
            running = _ready(state, record)
            if not running or config.heal:
                _ensure_supervisor(config, state, record)
            if running:
                deaf = _deaf(state)
            else:
                _await_ready(state, record, progress)
        except BaseException as error:
            full = full_disk(state.root)
            if not resumed:
                _end(state)
                _remove(state)
                error.add_note(f"nothing is left of it, start again with: {typed('up', config.name)}")
            if isinstance(error, OSError) and full:
                raise StartError(f"{error.strerror}: {error.filename}{full}") from error
            raise
        if publish and not running:
            published.publish(state, config.name, progress)
        return Started(config, time.monotonic() - began, resumed, running, published.anywhere(state), deaf)


def down(name: str, tell: Callable[[str], None] = lambda _: None) -> bool:
    """End a cluster without a trace. False if there was none. `tell` hears what could not be put in order."""
    state = State.of(name)
    try:
        with folder.held(state, "down", tell):  # an `up` under way ends first
            _end(state, tell)
            published.withdraw(state, name, tell)
            _remove(state)
    except FileNotFoundError:  # there is none, or whoever we waited for has cleaned up
        folder.sweep(state, _end)
        return False
    return True


def clusters() -> list[str]:
    """Names of all clusters of this user, running or not."""
    if not home().is_dir():
        return []
    entries = [entry for entry in home().iterdir() if is_name(entry.name)]  # others are somebody's, or being deleted
    return sorted(entry.name for entry in entries if (entry / "cluster.json").is_file())


def stored_config(name: str) -> ClusterConfig | None:
    """The configuration a cluster was made with, None if there is no such cluster. Raises StartError."""
    state = State.of(name)
    try:
        return folder.read_config(state)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartError(f"{error.filename}: {error.strerror}.\nSet MINIK8S_HOME to a folder of your own.") from None


def node_count(name: str) -> int:
    """How many nodes a cluster has now (`minik8s node add|rm`), running or stopped."""
    state = State.of(name)
    if not is_ready(name):
        from ..store.store import stored_count

        return stored_count(state.database, "nodes")
    from ..client.http import Api

    return len(Api.load(state.kubeconfig).request("GET", "/api/v1/nodes")["items"])


def is_ready(name: str) -> bool:
    """Whether the cluster's controller runs and has said that everything answers; False too if nobody can tell."""
    state = State.of(name)
    try:
        return _ready(state, Record(state))
    except DamagedError:
        return False


def is_dead(name: str) -> bool:
    """Whether there is a cluster that nobody watches over any more, and nothing in it that was to be kept."""
    state = State.of(name)
    try:
        supervisor = Record(state).read().get("supervisor")
    except DamagedError:
        return False
    kept = any((state.root / "snapshots").glob("*"))
    return state.config.exists() and not (supervisor and supervisor.alive()) and not kept


def add_sbin_to_path() -> None:
    """Make iptables and friends findable for ordinary users too (this process and its children)."""
    present = os.environ.get("PATH", "").split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*present, *(d for d in SBIN if d not in present)])


# -- inside --------------------------------------------------------------------------------------------------------
def _existing(state: State, wanted: ClusterConfig, explicit: bool) -> ClusterConfig:
    stored = folder.read_config(state)
    if explicit and stored != wanted:
        changed = [k for k, v in wanted.to_dict().items() if stored.to_dict()[k] != v]
        was = ", ".join(f"{k}={stored.to_dict()[k]}" for k in changed)
        raise StartError(
            f'cluster "{stored.name}" already exists with {was}.\n'
            f"Type `{typed('up', stored.name)}` to resume it as it is, `{typed('node add', stored.name)}` for more\n"
            f"nodes, or `{typed('down', stored.name)}` first to start afresh."
        )
    return stored


def _deaf(state: State) -> tuple[str, ...]:
    """A cluster that runs is not yet one whose names work: what somebody deleted of the DNS is put back, and asked."""
    from ..api.errors import StatusError
    from ..client.http import Api

    try:
        return tuple(Api.load(state.kubeconfig).verb("names", seconds=NAMES_PATIENCE)["deaf"])
    except StatusError:  # a controller of an earlier version
        return ()


def _preflight(config: ClusterConfig) -> None:
    if config.runtime != "process":
        raise StartError(f'the {config.runtime} runtime is not built yet; leave --runtime out, or say "process"')
    needed = {"iptables-restore": "iptables", "ipset": "ipset", "nft": "nftables", "conntrack": "conntrack"}
    if missing := sorted({package for tool, package in needed.items() if not shutil.which(tool)}):
        raise StartError(
            f"this machine lacks {', '.join(missing)}.\n"
            f"Install with: sudo apt-get install -y {' '.join(missing)}\n"
            f"`minik8s doctor` lists everything that is missing."
        )


def _ensure_supervisor(config: ClusterConfig, state: State, record: Record) -> None:
    supervisor = record.alive("supervisor")
    if supervisor and not config.heal:  # it does not start again what died; another one does, and adopts the rest
        supervisor.end((signal.SIGTERM, 1.0), (signal.SIGKILL, 2.0))
        supervisor = None
    if not supervisor:
        _spawn_supervisor(state, record)


def _spawn_supervisor(state: State, record: Record) -> None:
    if not _ready(state, record):  # a cluster whose supervisor alone died goes on, and only gets another
        for leftover in ("failed", "ready", "progress"):
            (state.root / leftover).unlink(missing_ok=True)
    with open(state.logs / "supervisor.log", "ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "minik8s_net.boot.supervisor", str(state.root)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in (_package_root(), _python_path()) if p)},
        )
    record.set("supervisor", child.pid)
    child.returncode = 0  # it is meant to outlive us: no ResourceWarning at exit


def _package_root() -> str:
    return str(Path(__file__).parents[2])


def _python_path() -> str:
    return os.environ.get("PYTHONPATH", "")


def _ready(state: State, record: Record) -> bool:
    try:
        pid = json.loads((state.root / "ready").read_text())["pid"]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return False
    controller = record.alive("controller")
    return controller is not None and controller.pid == pid and record.alive("runtime") is not None


def _await_ready(state: State, record: Record, progress: Callable[[str], None]) -> None:
    deadline = time.monotonic() + START_PATIENCE
    said: list[str] = []
    while not _ready(state, record):
        said += _news(state, said, progress)
        failed = state.root / "failed"
        if failed.exists():
            raise StartError(failed.read_text().strip() + full_disk(state.root))
        if not record.alive("supervisor"):
            said_last = _tail(state.logs / "supervisor.log")
            raise StartError(f"the cluster's supervisor ended:\n{said_last}{full_disk(state.root)}")
        if time.monotonic() > deadline:
            raise StartError(
                f"the cluster did not become ready within {START_PATIENCE:.0f} s; the last step was: "
                f"{said[-1] if said else 'none'}.\n{_tail(state.logs / 'controller.log')}{full_disk(state.root)}"
            )
        time.sleep(POLL)
    _news(state, said, progress)


def _news(state: State, said: list[str], progress: Callable[[str], None]) -> list[str]:
    try:
        lines = (state.root / "progress").read_text().splitlines()
    except FileNotFoundError:
        return []
    new = lines[len(said) :]
    for line in new:
        progress(line)
    return new


def _tail(path: Path, lines: int = 12) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _end(state: State, tell: Callable[[str], None] = lambda _: None) -> None:
    """End the cluster's processes. The runtime goes last and takes every container and namespace with it."""
    from ..runtime.names import remove_names

    patience: dict[str, tuple[tuple[int, float], ...]] = {
        "supervisor": ((signal.SIGTERM, 1.0), (signal.SIGKILL, 2.0)),
        "controller": ((signal.SIGTERM, 0.3), (signal.SIGKILL, 2.0)),
        "runtime": ((signal.SIGKILL, 10.0),),
    }
    for part, signals in patience.items():
        try:
            process: Process | None = Record(state).get(part)  # read again: the one before may have written last
        except DamagedError:
            tell(
                f"warning: {state.owned} is damaged, so what still runs of the cluster is not known; look with:\n"
                f"  ps -ef | grep {state.root}"
            )
            break
        if process and not process.end(*signals):
            raise StartError(f"the {part} (process {process.pid}) does not end; is it yours? Try again as its owner.")
    remove_names(state)


def _remove(state: State) -> None:
    folder.take_away(state, _end)
    folder.sweep(state, _end)
    folder.leave_home()
