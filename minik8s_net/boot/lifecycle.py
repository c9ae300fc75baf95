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

from ..config import ClusterConfig, ConfigError
from ..state import State, home, typed
from .record import Process, Record, locked

START_PATIENCE = 60.0  # seconds; a machine ten times slower than a laptop still makes it
POLL = 0.005
PUBLISHED = "published"  # holds the paths of the kubeconfigs that got our context, a line each
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # where distributions hide iptables from ordinary users


class StartError(Exception):
    """The cluster could not be started: what happened, why, and what to type next."""


@dataclass(frozen=True)
class Started:
    """What `up` did: `resumed` if the cluster was there before, `running` if nothing had to be done."""

    config: ClusterConfig
    seconds: float
    resumed: bool
    running: bool


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
    state = State.of(config.name)
    resumed = state.config.exists()
    if resumed:
        config = _existing(state, config, explicit)
    _preflight(config)
    _make_folder(state, config)
    with locked(state.root / "lifecycle.lock"):
        record = Record(state)
        if _ready(state, record):
            if config.heal:
                _ensure_supervisor(config, state, record)
            return Started(config, time.monotonic() - began, resumed=True, running=True)
        try:
            _ensure_supervisor(config, state, record)
            _await_ready(state, record, progress)
        except BaseException as error:
            if not resumed:
                _end(state)
                _remove_folder(state)
                error.add_note(f"nothing is left of it, start again with: {typed('up', config.name)}")
            raise
    if publish:
        _publish_context(state, config, progress)
    return Started(config, time.monotonic() - began, resumed, running=False)


def down(name: str, tell: Callable[[str], None] = lambda _: None) -> bool:
    """End a cluster without a trace. False if there was none. `tell` hears what could not be put in order."""
    state = State.of(name)
    try:
        with locked(state.root / "lifecycle.lock", patience=START_PATIENCE):  # an `up` under way ends first
            _end(state)
    except FileNotFoundError:  # there is none, or the `up` that we waited for has cleaned up
        return False
    _withdraw_context(state, name, tell)
    _remove_folder(state)
    return True


def clusters() -> list[str]:
    """Names of all clusters of this user, running or not."""
    if not home().is_dir():
        return []
    return sorted(entry.name for entry in home().iterdir() if (entry / "cluster.json").is_file())


def stored_config(name: str) -> ClusterConfig | None:
    """The configuration a cluster was made with, None if there is no such cluster."""
    try:
        return ClusterConfig.from_dict(json.loads(State.of(name).config.read_text()))
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
    """Whether the cluster's controller runs and has said that everything answers."""
    state = State.of(name)
    return _ready(state, Record(state))


def add_sbin_to_path() -> None:
    """Make iptables and friends findable for ordinary users too (this process and its children)."""
    present = os.environ.get("PATH", "").split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*present, *(d for d in SBIN if d not in present)])


# -- inside --------------------------------------------------------------------------------------------------------
def _existing(state: State, wanted: ClusterConfig, explicit: bool) -> ClusterConfig:
    stored = ClusterConfig.from_dict(json.loads(state.config.read_text()))
    if explicit and stored != wanted:
        changed = [k for k, v in wanted.to_dict().items() if stored.to_dict()[k] != v]
        was = ", ".join(f"{k}={stored.to_dict()[k]}" for k in changed)
        raise StartError(
            f'cluster "{stored.name}" already exists with {was}.\n'
            f"Type `{typed('up', stored.name)}` to resume it as it is, `{typed('node add', stored.name)}` for more\n"
            f"nodes, or `{typed('down', stored.name)}` first to start afresh."
        )
    return stored


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


def _make_folder(state: State, config: ClusterConfig) -> None:
    try:
        home().mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (state.root, state.logs, state.pki, state.ipam, state.pods):
            folder.mkdir(exist_ok=True, mode=0o700)
        if not state.config.exists():
            new = state.config.with_suffix(".new")
            new.write_text(json.dumps(config.to_dict(), indent=2))
            new.replace(state.config)
    except OSError as error:
        raise StartError(
            f"cannot write the cluster's folder {state.root}: {error.strerror}.\n"
            f"Set MINIK8S_HOME to a folder you may write to, or free some space."
        ) from None


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
        ready = json.loads((state.root / "ready").read_text())
    except (FileNotFoundError, ValueError):
        return False
    controller = record.alive("controller")
    return controller is not None and controller.pid == ready["pid"] and record.alive("runtime") is not None


def _await_ready(state: State, record: Record, progress: Callable[[str], None]) -> None:
    deadline = time.monotonic() + START_PATIENCE
    said: list[str] = []
    while not _ready(state, record):
        said += _news(state, said, progress)
        failed = state.root / "failed"
        if failed.exists():
            raise StartError(failed.read_text().strip())
        if not record.alive("supervisor"):
            raise StartError(f"the cluster's supervisor ended:\n{_tail(state.logs / 'supervisor.log')}")
        if time.monotonic() > deadline:
            raise StartError(
                f"the cluster did not become ready within {START_PATIENCE:.0f} s; the last step was: "
                f"{said[-1] if said else 'none'}.\n{_tail(state.logs / 'controller.log')}"
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


def _publish_context(state: State, config: ClusterConfig, progress: Callable[[str], None]) -> None:
    from ..apiserver.kubeconfig import add_context, user_kubeconfig

    try:
        users = user_kubeconfig().resolve()
        add_context(config.name, state.kubeconfig, users)
        with open(state.root / PUBLISHED, "a") as file:  # it may have been another one at an earlier `up`
            file.write(f"{users}\n")
    except (OSError, ConfigError) as error:
        progress(f"(kubectl's own configuration is left alone: {error}; use KUBECONFIG={state.kubeconfig})")


def _withdraw_context(state: State, name: str, tell: Callable[[str], None]) -> None:
    """From the files that `up` wrote to, which need not be the one that $KUBECONFIG names now."""
    from ..apiserver.kubeconfig import remove_context

    try:
        published = (state.root / PUBLISHED).read_text().splitlines()
    except FileNotFoundError:  # there is none, or another `down` has been here
        return
    for users in dict.fromkeys(published):
        try:
            remove_context(name, Path(users))
        except (OSError, ConfigError) as error:
            tell(f"warning: the context minik8s-{name} stays in kubectl's configuration: {error}")


def _end(state: State) -> None:
    """End the cluster's processes. The runtime goes last and takes every container and namespace with it."""
    from ..runtime.names import remove_names

    owned = Record(state).read()
    patience: dict[str, tuple[tuple[int, float], ...]] = {
        "supervisor": ((signal.SIGTERM, 1.0), (signal.SIGKILL, 2.0)),
        "controller": ((signal.SIGTERM, 0.3), (signal.SIGKILL, 2.0)),
        "runtime": ((signal.SIGKILL, 10.0),),
    }
    for part, signals in patience.items():
        owned = Record(state).read()
        process: Process | None = owned.get(part)
        if process and not process.end(*signals):
            raise StartError(f"the {part} (process {process.pid}) does not end; is it yours? Try again as its owner.")
    remove_names(state)


def _remove_folder(state: State) -> None:
    while state.root.exists():
        try:
            shutil.rmtree(state.root)
        except FileNotFoundError:  # another `down` is at it too
            continue
    for parent in (home(), *home().parents):  # ours only as long as they are empty and below the user's own folders
        if parent.name not in {"minik8s", f"minik8s-{os.getuid()}"}:
            break
        try:
            parent.rmdir()
        except OSError:
            break
