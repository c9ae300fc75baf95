"""One cluster of three nodes for every test that drives the real kubectl, and a namespace for each of them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Home

NAME = "trio"
_numbers = itertools.count(1)


@dataclass
class Kubectl:
    """The real binary on the cluster of three, in one namespace. Called, it gives what was printed on stdout."""

    home: Home
    namespace: str

    def argv(self, *argv: str) -> list[str]:
        return ["kubectl", "--context", f"minik8s-{NAME}", "-n", self.namespace, *argv]

    def __call__(self, *argv: str, stdin: str | None = None, code: int = 0) -> str:
        """Fails unless kubectl ends with `code`; for a failure that is expected, stderr follows stdout."""
        done = self.run(*argv, stdin=stdin)
        assert done.returncode == code, f"kubectl {' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr if code else done.stdout

    def run(self, *argv: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*argv), env={**self.home.env, **env}, text=True, capture_output=True, input=stdin, timeout=90
        )

    def start(self, *argv: str, **how: Any) -> subprocess.Popen[str]:
        """For what goes on (-w, -f, proxy): the caller ends it."""
        return subprocess.Popen(self.argv(*argv), env=self.home.env, text=True, stdout=subprocess.PIPE, **how)

    def json(self, *argv: str) -> Any:
        return json.loads(self("get", *argv, "-o", "json"))

    def path(self, what: str, path: str) -> str:
        return self("get", *what.split(), "-o", f"jsonpath={{{path}}}")


@pytest.fixture(scope="session")
def trio(home: Home) -> Iterator[Home]:
    """Three nodes. Where kubectl is missing this says so; .ci/run fails then."""
    if not shutil.which("kubectl"):
        if os.environ.get("MINIK8S_CI"):
            pytest.fail("kubectl is missing: the tests that prove its commands cannot run")
        pytest.skip("KUBECTL IS MISSING: nothing of what students type at work was tried; .ci/run would fail")
    home.minik8s("up", "--cluster", NAME, "--nodes", "3")
    yield home
    home.minik8s("down", "--cluster", NAME)


@pytest.fixture
def kubectl(trio: Home) -> Iterator[Kubectl]:
    """Bound to a namespace of its own, which is deleted behind the test's back."""
    one = Kubectl(trio, f"play-{next(_numbers)}")
    one("create", "namespace", one.namespace)
    yield one
    one("delete", "namespace", one.namespace, "--wait=false")


Eventually = Callable[..., Any]
