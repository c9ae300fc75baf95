"""Fixtures all tests share. Clusters are real ones, made by the real command, and always ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import minik8s_net
from minik8s_net import Cluster
from minik8s_net.boot.lifecycle import add_sbin_to_path
from minik8s_net.state import State

add_sbin_to_path()
UNPRIVILEGED = 54321  # an uid that no user of the machine has


def need_kubectl() -> str:
    """Its path. A user's fresh machine has none: the tests that want the real one say so. In CI that is an error."""
    found = shutil.which("kubectl")
    if not found:
        assert "MINIK8S_CI" not in os.environ, "CI must have kubectl"
        pytest.skip("kubectl is not installed: what it would show is not tested")
    return found


@dataclass
class Home:
    """A private home folder for minik8s commands: nothing they do reaches the tester's own."""

    path: Path
    uid: int | None = None  # run commands as this uid (needs root); None: as we are
    python: str = sys.executable
    library: str = ""  # where that interpreter finds the package and what it needs

    @property
    def env(self) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MINIK8S_", "KUBE"))}
        extra = {"PYTHONPATH": self.library} if self.library else {}
        return {**keep, **extra, "HOME": str(self.path), "MINIK8S_HOME": str(self.path / "state")}

    def command(self, *argv: str) -> list[str]:
        prefix = []
        if self.uid is not None:
            prefix = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--"]
        return [*prefix, self.python, "-m", "minik8s_net.cli", *argv]

    def minik8s(self, *argv: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the real command; its output as text."""
        done = subprocess.run(
            self.command(*argv), env=self.env, text=True, capture_output=True, input=stdin, timeout=120
        )
        assert not check or done.returncode == 0, f"minik8s {' '.join(argv)}:\n{done.stdout}{done.stderr}"
        return done

    def json(self, *argv: str) -> Any:
        return json.loads(self.minik8s(*argv, "-o", "json").stdout)

    def kubectl(self, *argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the real kubectl with the context that `up` published; skips where there is none."""
        done = subprocess.run(
            [need_kubectl(), *argv], env=self.env, text=True, capture_output=True, input=stdin, timeout=120
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(argv)}:\n{done.stdout}{done.stderr}"
        return done

    def state(self, cluster: str) -> State:
        return State(self.path / "state" / cluster)

    def cluster(self, name: str) -> Cluster:
        return Cluster(self.state(name).kubeconfig, name=name)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The session's home. Whatever clusters are left in it at the end are ended."""
    home = Home(tmp_path_factory.mktemp("home"))
    os.environ["MINIK8S_HOME"] = str(home.path / "state")
    yield home
    home.minik8s("down", "--all")


@pytest.fixture
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home for one test."""
    home = Home(tmp_path)
    monkeypatch.setenv("MINIK8S_HOME", str(tmp_path / "state"))  # for Cluster.shell, which looks the runtime up
    yield home
    home.minik8s("down", "--all")


@pytest.fixture(scope="session")
def public_library() -> Iterator[Path]:
    """The package and what it needs, readable by everybody: root's own Python often lives where only root may look."""
    path = Path("/tmp") / f"minik8s-test-library-{os.getpid()}"
    site = Path(pytest.__file__).parents[1]
    tools = (
        "pip*",
        "ruff*",
        "mypy*",
        "kubernetes*",
        "pytest*",
        "_pytest*",
        "hypothesis*",
        "IPython*",
        "jupyter*",
        "playwright*",
        "babel*",
        "debugpy*",
        "torch*",
        "numpy*",
    )
    shutil.copytree(site, path, ignore=shutil.ignore_patterns(*tools, "__editable__*", "*.pth", "__pycache__"))
    shutil.copytree(
        Path(minik8s_net.__file__).parent, path / "minik8s_net", ignore=shutil.ignore_patterns("__pycache__")
    )
    subprocess.run(["chmod", "-R", "a+rX", str(path)], check=True)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def user_home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home owned by an unnamed ordinary user, whose commands run as that user."""
    if os.getuid() != 0:
        home = Home(tmp_path_factory.mktemp("user"))
    else:
        system = shutil.which("python3", path="/usr/bin")
        if not system:
            pytest.skip("needs a python3 in /usr/bin that an unnamed user may run: apt-get install python3")
        library = request.getfixturevalue("public_library")
        path = Path("/tmp") / f"minik8s-test-{os.getpid()}-{time.monotonic_ns()}"
        path.mkdir(mode=0o700)
        os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
        home = Home(path, UNPRIVILEGED, system, str(library))
    yield home
    home.minik8s("down", "--all")
    if home.uid is not None:
        shutil.rmtree(home.path)


@pytest.fixture(scope="session")
def shared(home: Home) -> Iterator[Cluster]:
    """One cluster of two nodes for all tests that leave it as they found it."""
    home.minik8s("up", "--cluster", "shared", "--nodes", "2")
    yield home.cluster("shared")
    home.minik8s("down", "--cluster", "shared")


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Poll until a look returns something true, bounded."""

    def wait(look: Callable[[], Any], seconds: float = 10.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (seen := look()):
            assert time.monotonic() < deadline, f"still {seen!r} after {seconds} s"
            time.sleep(0.02)
        return seen

    return wait
