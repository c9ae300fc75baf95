"""Names in /run/netns (a folder of the test's own stands for it): clusters that come and go at once, ids used again."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from minik8s_net.kernel.processes import start_time
from minik8s_net.runtime import names
from minik8s_net.state import State

ROUNDS = 300


@pytest.fixture
def host_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(names, "HOST_DIR", str(tmp_path / "netns"))
    return tmp_path / "netns"


def come_and_go(root: Path, cluster: str) -> None:
    """As a runtime that starts, and whoever removes its names when it has ended."""
    state = State(root / cluster)
    state.root.mkdir()
    for _ in range(ROUNDS):
        folder = names.prepare(str(state.root), cluster, os.getpid())
        assert folder is not None
        names.publish(folder, os.getpid(), f"{cluster}.node-1")
        assert os.path.samestat(os.fstat(folder), Path(names.HOST_DIR).stat()), "named in a folder that is gone"
        assert (Path(names.HOST_DIR) / f"{cluster}.node-1").is_symlink()
        os.close(folder)
        names.remove_names(state)


def test_clusters_come_and_go_side_by_side(host_dir: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not marks(tmp_path):
        pytest.skip("needs root: an ordinary user has no names in /run/netns")
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=come_and_go, args=(tmp_path, f"c{number}")) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert not host_dir.exists()


def marks(folder: Path) -> bool:
    try:
        os.setxattr(folder, "trusted.minik8s", b"")
    except OSError:
        return False
    return True


def test_only_ours_are_removed(host_dir: Path, tmp_path: Path) -> None:
    """Not another cluster's, not those of a process that has got the id of a dead runtime."""
    host_dir.mkdir()
    mine, dead = os.getpid(), 2**22 + 1  # no process has that id
    for name, pid in (("a.mine", mine), ("a.dead", dead), ("a.others", dead + 1), ("b.dead", dead), ("ab.dead", dead)):
        (host_dir / name).symlink_to(names.target(pid, name))
    record = {"cluster": "a", "pids": [[mine, start_time(mine) - 1], [dead, 77]]}
    (tmp_path / "netns-names.json").write_text(json.dumps(record))
    names.remove_names(State(tmp_path))
    assert sorted(path.name for path in host_dir.iterdir()) == ["a.mine", "a.others", "ab.dead", "b.dead"]
    record["pids"] = [mine]  # as older records have it
    (tmp_path / "netns-names.json").write_text(json.dumps(record))
    names.remove_names(State(tmp_path))
    assert sorted(path.name for path in host_dir.iterdir()) == ["a.others", "ab.dead", "b.dead"]


def test_a_name_that_somebody_else_uses_stays_his(
    host_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host_dir.mkdir()
    (host_dir / "a.fabric").touch()
    folder = names.prepare(str(tmp_path), "a", os.getpid())
    assert folder is not None and (host_dir / "a.fabric").is_file()
    os.close(folder)
    said = capsys.readouterr()
    assert said.out == "" and "a.fabric is not named on the host: File exists" in said.err  # stdout is the protocol's
    names.remove_names(State(tmp_path))
    assert (host_dir / "a.fabric").is_file()


def test_without_space_for_the_record_there_are_no_names(
    host_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_dir.mkdir()
    (tmp_path / "netns-names.json.new").mkdir()  # cannot be written
    assert names.prepare(str(tmp_path), "a", os.getpid()) is None
    assert not list(host_dir.iterdir())
