"""The user's kubeconfig: our context comes and goes, and everything else is as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from minik8s_net.apiserver.kubeconfig import add_context, kubeconfig, remove_context, write_kubeconfig
from minik8s_net.apiserver.pki import Pki, ensure_pki
from minik8s_net.config import ClusterConfig, ConfigError

THEIRS = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "work", "cluster": {"server": "https://work.example"}}],
    "users": [{"name": "me", "user": {"token": "secret"}}],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
    "current-context": "work",
    "preferences": {},
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return ensure_pki(tmp_path_factory.mktemp("pki"), ClusterConfig())


@pytest.fixture
def own(tmp_path: Path, pki: Pki) -> Path:
    for name in ("a", "b"):
        write_kubeconfig(tmp_path / name, kubeconfig(name, 6443, pki))
    return tmp_path


def current(path: Path) -> str:
    return str(yaml.safe_load(path.read_text())["current-context"])


def test_folders_we_made_go_with_us(own: Path) -> None:
    path = own / "home" / ".kube" / "config"
    path.parent.parent.mkdir()
    add_context("a", own / "a", path)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert current(path) == "minik8s-a"
    add_context("a", own / "a", path)  # `up` again
    assert remove_context("a", path)
    assert list((own / "home").iterdir()) == []
    assert not remove_context("a", path)


def test_the_last_cluster_takes_the_folder_along(own: Path) -> None:
    path = own / "home" / ".kube" / "config"
    add_context("a", own / "a", path)
    add_context("b", own / "b", path)
    assert remove_context("a", path)
    assert current(path) == "minik8s-b"
    assert remove_context("b", path)
    assert not (own / "home").exists()


def test_folders_of_others_stay(own: Path) -> None:
    path = own / "home" / ".kube" / "config"
    path.parent.mkdir(parents=True)
    add_context("a", own / "a", path)
    assert remove_context("a", path)
    assert path.parent.exists() and not path.exists()
    path.parent.rmdir()
    add_context("a", own / "a", path)
    (path.parent / "cache").mkdir()
    assert remove_context("a", path)
    assert (path.parent / "cache").exists()


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_their_file_is_as_it_was(own: Path, order: str) -> None:
    path = own / "config"
    path.write_text(yaml.safe_dump(THEIRS))
    add_context("a", own / "a", path)
    add_context("b", own / "b", path)
    for name in order:
        assert remove_context(name, path)
    assert yaml.safe_load(path.read_text()) == THEIRS


def test_what_is_no_kubeconfig_is_left_alone(own: Path) -> None:
    path = own / "config"
    path.write_text("- a\n- list\n")
    with pytest.raises(ConfigError, match="not a kubeconfig"):
        add_context("a", own / "a", path)
    assert path.read_text() == "- a\n- list\n" and not path.with_name("config.lock").exists()


def test_a_file_keeps_its_owner_and_its_mode(own: Path) -> None:
    """`sudo -E minik8s up` writes to the file of whoever typed it, who goes on reading it."""
    path = own / "config"
    path.write_text(yaml.safe_dump(THEIRS))
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 1235)
    before = path.stat()
    for change in (lambda: add_context("a", own / "a", path), lambda: remove_context("a", path)):
        change()
        after = path.stat()
        assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert yaml.safe_load(path.read_text()) == THEIRS


def test_what_root_makes_in_a_users_folder_is_the_users(own: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: nobody else may give files away")
    folder = own / "home"
    folder.mkdir()
    os.chown(folder, 1234, 1235)
    path = folder / ".kube" / "config"
    add_context("a", own / "a", path)
    for made in (path.parent, path):
        assert (made.stat().st_uid, made.stat().st_gid) == (1234, 1235)
    assert path.stat().st_mode & 0o777 == 0o600
    assert remove_context("a", path) and not list(folder.iterdir())


def test_a_file_that_we_may_not_give_back_is_left_alone(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own / "config"
    path.write_text(yaml.safe_dump(THEIRS))
    real, stat = path.stat(), Path.stat
    theirs = os.stat_result((*real[:4], 1234, *real[5:10]))
    monkeypatch.setattr(Path, "stat", lambda self, **how: theirs if self == path else stat(self, **how))

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    with pytest.raises(ConfigError, match=f"{path} belongs to user 1234"):
        add_context("a", own / "a", path)
    assert yaml.safe_load(path.read_text()) == THEIRS and stat(path).st_ino == real.st_ino
    assert not list(own.glob(".*"))


def test_a_link_that_waits_in_the_users_folder_is_not_followed(own: Path) -> None:
    path, other = own / "config", own / "other"
    path.write_text(yaml.safe_dump(THEIRS))
    other.write_text("precious")
    (own / f".config.{os.getpid()}").symlink_to(other)
    add_context("a", own / "a", path)
    assert other.read_text() == "precious" and current(path) == "minik8s-a"
