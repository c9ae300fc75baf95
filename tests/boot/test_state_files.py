"""Files and folders that are not as we made them: named, with what to type; one damaged cluster hides no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minik8s_net.apiserver.kubeconfig import user_kubeconfig
from minik8s_net.boot import lifecycle, published
from minik8s_net.boot.listing import listed
from minik8s_net.boot.record import Record
from minik8s_net.config import ClusterConfig, ConfigError
from minik8s_net.state import State, home
from tests.conftest import Home

NOBODYS = 54399  # an uid that no user of the machine has


@pytest.fixture
def shared_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """We are a user without a home; somebody else (the tester) may get to /tmp first."""
    for name in ("MINIK8S_HOME", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: NOBODYS)
    folder = Path(f"/tmp/minik8s-{NOBODYS}")
    yield folder
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_folder_in_tmp_that_somebody_else_made_is_not_trusted(shared_tmp: Path) -> None:
    assert home() == shared_tmp  # nobody has made it yet
    (shared_tmp / "victim").mkdir(parents=True)
    (shared_tmp / "victim" / "owned.json").write_text('{"runtime": {"pid": 1, "started": 1}}')
    for use in (home, lifecycle.clusters, lambda: lifecycle.down("victim"), lambda: lifecycle.stored_config("victim"),
                lambda: lifecycle.up(ClusterConfig(name="victim"))):  # fmt: skip
        with pytest.raises(PermissionError, match=rf"{shared_tmp} .*\n.*set MINIK8S_HOME to a folder of your own"):
            use()
    assert (shared_tmp / "victim" / "owned.json").exists()


def test_ours_must_be_a_folder_that_others_may_not_write_to(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Path("/proc/self").stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner)
    real = shared_tmp.with_name(f"minik8s-{owner}")
    if real.exists():
        pytest.skip(f"{real} is in use")
    real.mkdir(mode=0o700)
    try:
        assert home() == real
        real.chmod(0o770)
        with pytest.raises(PermissionError, match="mode drwxrwx---"):
            home()
        real.rmdir()
        real.symlink_to("/nowhere")
        with pytest.raises(PermissionError, match="mode lrwxrwxrwx"):
            home()
    finally:
        real.unlink() if real.is_symlink() else real.rmdir()


@pytest.mark.parametrize("variable", ["MINIK8S_HOME", "XDG_STATE_HOME", "HOME"])
def test_a_relative_home_means_where_we_are_now(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MINIK8S_HOME", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.setenv(variable, "here")
    assert home().is_relative_to(tmp_path / "here")


def test_nobody_says_where_home_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No $HOME, no entry in /etc/passwd: a container's arbitrary user. The cluster is up all the same."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(ConfigError, match="no home folder"):
        user_kubeconfig()
    said: list[str] = []
    assert not published.publish(State(tmp_path), "x", said.append)
    assert "no home folder" in said[0] and f"KUBECONFIG={tmp_path}/kubeconfig" in said[0]


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """Two stopped clusters; the folder of the one that a test damages."""
    monkeypatch.setenv("MINIK8S_HOME", str(tmp_path / "state"))
    for name in ("good", "bad"):
        State.of(name).root.mkdir(parents=True)
        State.of(name).config.write_text(json.dumps({"name": name, "nodes": 3}))
    return State.of("bad")


@pytest.mark.parametrize("file", ["cluster.json", "owned.json"])
@pytest.mark.parametrize("text", ["", "{", "[1]", '{"colour": "red"}', "\x00\x00"])
def test_one_damaged_cluster_hides_no_other(
    two: State, file: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (two.root / file).write_text(text)
    with pytest.raises(lifecycle.StartError, match=rf"{two.root / file} is damaged") as refused:
        lifecycle.up(ClusterConfig(name="bad"), publish=False)
    assert "`minik8s down --cluster bad`" in str(refused.value)
    rows = [one for name in lifecycle.clusters() if (one := listed(name))]
    assert [(one.name, one.state, one.nodes) for one in rows] == [("bad", "damaged", None), ("good", "stopped", 3)]
    assert str(two.root / file) in rows[0].detail
    assert not lifecycle.is_ready("bad")
    assert lifecycle.down("bad") and not two.root.exists()
    assert lifecycle.clusters() == ["good"]


def test_a_damaged_store_is_listed_as_damaged(two: State) -> None:
    two.database.write_text("no database " * 1000)
    found = listed("bad")
    assert found and found.state == "damaged" and str(two.database) in found.detail


def test_processes_of_a_damaged_record_end_too(two: State) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        Record(two).set("controller", child.pid)
        two.owned.write_text("")
        assert Record(two).alive("controller")
        assert lifecycle.down("bad")
        assert child.wait(5) < 0


def test_a_record_that_is_lost_for_good_is_told(two: State) -> None:
    two.owned.write_text("")
    said: list[str] = []
    assert lifecycle.down("bad", said.append)
    assert f"{two.owned} is damaged" in said[0] and "ps -ef" in said[0]


@pytest.mark.cluster
def test_the_command_says_so_too(fresh_home: Home, tmp_path: Path) -> None:
    """And a relative MINIK8S_HOME is good for a whole cluster's life."""
    env = {**fresh_home.env, "MINIK8S_HOME": "state"}

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        library = {"PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-m", "minik8s_net.cli", *argv]
        return subprocess.run(command, env={**env, **library}, cwd=tmp_path, text=True, capture_output=True, timeout=90)

    up = run("up", "--cluster", "d", "--nodes", "1")
    assert up.returncode == 0, up.stderr
    config = tmp_path / "state" / "d" / "cluster.json"
    config.write_text("")
    for command in (["up", "--cluster", "d"], ["list"]):
        told = run(*command)
        assert f"{config} is damaged: it is empty" in told.stderr and "Traceback" not in told.stderr
    assert "damaged" in run("list").stdout
    down = run("down", "--cluster", "d")
    assert down.returncode == 0 and not list((tmp_path / "state").iterdir()), down.stderr
