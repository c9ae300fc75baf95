"""`up`, `down`, Ctrl-C and `kill -9` at each other's worst moment: afterwards there is one cluster, or nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minik8s_net.boot import lifecycle
from minik8s_net.boot.record import Process, Record
from minik8s_net.config import ClusterConfig, ConfigError
from minik8s_net.state import State
from tests.conftest import Home

SLOW_DOWN = """
import shutil, sys, time
from minik8s_net.boot import lifecycle
from minik8s_net.runtime import names
def slow(module, name, seconds):
    real = getattr(module, name)
    def do(*args, **kwargs):
        print(name, flush=True)
        time.sleep(seconds)
        return real(*args, **kwargs)
    setattr(module, name, do)
slow(names, "remove_names", 1)
slow(shutil, "rmtree", 0.5)
lifecycle.down(sys.argv[1])
"""
DIES_EARLY = """
import os, signal, sys
from minik8s_net.boot import supervisor
real = supervisor.Record.set
def dies(record, part, pid):
    if part == "runtime":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(record, part, pid)
supervisor.Record.set = dies
supervisor.main(sys.argv[1])
"""
WRITER = """
import os, sys, time
log, until = int(sys.argv[1]), time.monotonic() + 1
for number in range(1_000_000):
    try:
        os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY, dir_fd=log))
    except FileNotFoundError:
        break
    if number == 1000:
        print("!", flush=True)
    if time.monotonic() > until:
        break
"""


def processes_of(state: State) -> dict[int, str]:
    """Every process of the machine that was started for this folder: id -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0") if entry.name.isdigit() else []
            if str(state.root) in argv and not (entry / "stat").read_text().rpartition(")")[2].startswith(" Z"):
                found[int(entry.name)] = " ".join(argv)
        except OSError:
            continue
    return found


def nothing_runs(state: State, eventually: Callable[..., Any]) -> None:
    """Fails if something is still there after a moment; but leaves nothing on the machine even then."""
    try:
        eventually(lambda: not processes_of(state), seconds=3)
    finally:
        for pid in processes_of(state):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.cluster
def test_an_up_that_waited_for_a_down_makes_a_cluster_of_its_own(
    fresh_home: Home, eventually: Callable[..., Any]
) -> None:
    state = fresh_home.state("r")
    fresh_home.minik8s("up", "--cluster", "r", "--nodes", "1")
    before = Record(state).read()["runtime"]
    down = subprocess.Popen(
        [sys.executable, "-c", SLOW_DOWN, "r"], env=fresh_home.env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert down.stdout and down.stdout.readline() == "remove_names\n"  # its processes have ended
        fresh_home.minik8s("up", "--cluster", "r", "--nodes", "1")
        down.stdout.close()
        down.wait(30)
        after = Record(state).read()
        assert after["runtime"] != before and all(process.alive() for process in after.values())
        assert all(part["healthy"] for part in fresh_home.json("status", "--cluster", "r")["components"])
        fresh_home.minik8s("down", "--cluster", "r")
        assert not list((fresh_home.path / "state").iterdir())
    finally:
        down.kill()
        down.wait()
        nothing_runs(state, eventually)


@pytest.mark.cluster
def test_a_runtime_that_nobody_recorded_ends_by_itself(tmp_path: Path, eventually: Callable[..., Any]) -> None:
    state = State(tmp_path / "orphan")
    state.logs.mkdir(parents=True)
    state.config.write_text(json.dumps(ClusterConfig(name="orphan", nodes=1).to_dict()))
    done = subprocess.run([sys.executable, "-c", DIES_EARLY, str(state.root)], timeout=30, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    nothing_runs(state, eventually)


@pytest.mark.cluster
def test_an_up_interrupted_at_any_moment_leaves_nothing(fresh_home: Home, eventually: Callable[..., Any]) -> None:
    state = fresh_home.state("i")
    for milliseconds in (0, 20, 50, 90):
        up = subprocess.Popen(
            fresh_home.command("up", "--cluster", "i", "--nodes", "1"), env=fresh_home.env, stderr=subprocess.PIPE
        )
        eventually(lambda: "controller" in Record(state).read())
        time.sleep(milliseconds / 1000)
        up.send_signal(signal.SIGINT)
        said = up.communicate(timeout=30)[1].decode()
        assert up.returncode == 130 and "nothing is left of it" in said, said
        assert not (fresh_home.path / "state").exists() or not list((fresh_home.path / "state").iterdir())
        nothing_runs(state, eventually)


def test_a_folder_in_which_somebody_still_writes_goes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIK8S_HOME", str(tmp_path / "state"))
    state = State.of("w")
    state.logs.mkdir(parents=True)
    state.config.write_text("{}")
    log = os.open(state.logs, os.O_RDONLY)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(log)], pass_fds=[log], stdout=subprocess.PIPE) as writer:
        assert writer.stdout and writer.stdout.read(1)
        assert lifecycle.down("w")
    os.close(log)
    assert not list((tmp_path / "state").iterdir())


def test_whoever_waits_is_told_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from minik8s_net.boot import folder

    monkeypatch.setenv("MINIK8S_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(folder, "SILENT", 0.05)
    monkeypatch.setattr(folder, "LOCK_PATIENCE", 0.3)
    state, said = State.of("w"), list[str]()
    holder = f"process {os.getpid()}, `minik8s up`"
    with (
        folder.held(state, "up", said.append, make=True),
        pytest.raises(lifecycle.StartError, match=holder),
        folder.held(state, "down", said.append),
    ):
        pass
    assert said == [f'waiting: {holder} is busy with "w"']
    with folder.held(state, "down", said.append):
        pass


def test_what_is_no_cluster_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIK8S_HOME", str(tmp_path / "state"))
    (tmp_path / "state" / "letters").mkdir(parents=True)
    (tmp_path / "state" / "letters" / "one").write_text("dear")
    (tmp_path / "state" / "My Letters").mkdir()
    (tmp_path / "state" / "My Letters" / "cluster.json").write_text("{}")
    assert not lifecycle.down("letters") and lifecycle.clusters() == []
    assert (tmp_path / "state" / "letters" / "one").read_text() == "dear"
    for name in ("..", ".", "a/../..", ""):
        with pytest.raises(ConfigError, match="RFC 1123"):
            lifecycle.down(name)


def test_what_a_killed_down_left_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that were recorded in it at the last moment too."""
    monkeypatch.setenv("MINIK8S_HOME", str(tmp_path / "state"))
    left = State(tmp_path / "state" / ".gone.123")
    left.logs.mkdir(parents=True)
    left.config.write_text("{}")
    with subprocess.Popen(["sleep", "60"]) as child:
        Record(left).set("controller", child.pid)
        assert lifecycle.clusters() == []
        assert not lifecycle.down("gone")
        assert child.wait(5) < 0
    assert not left.root.exists()


def test_a_process_of_another_boot_is_not_ours() -> None:
    mine = Process.of(os.getpid())
    assert mine.alive() and Process(mine.pid, mine.started).alive()  # as older records have it
    assert not Process(mine.pid, mine.started, "another boot").alive()
