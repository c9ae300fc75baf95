"""Every lab: the start is rejected, the solution accepted, each wrong solution rejected, and checks change nothing."""

from __future__ import annotations

import pytest

from minik8s_net import Cluster
from minik8s_net.lab.labs import Lab, labs
from tests.conftest import Home

pytestmark = pytest.mark.cluster


def ready(c: Cluster) -> None:
    for pod in c.get("pods"):
        c.wait(f"pod/{pod.metadata.name}")


def passed(lab: Lab, c: Cluster, settle: float) -> bool:
    results = lab.check(c, settle)
    return len(results) == len(lab.checks()) and all(r.verdict.ok for r in results)


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.folder.name)
def test_lab(lab: Lab, home: Home) -> None:
    home.minik8s("up", "--cluster", "labs", "--nodes", "2")
    c = home.cluster("labs")
    lab.start(c)
    ready(c)
    assert not passed(lab, c, 0.3), "the exercise is solved before it begins"
    wrong = sorted((lab.folder / "wrong").iterdir())
    assert wrong, "a lab needs at least one wrong solution"
    for folder in wrong:
        lab.reset(c)
        lab.start(c)
        lab.make(c, folder)
        ready(c)
        assert not passed(lab, c, 1.5), f"the checks accept {folder.name}"
    lab.reset(c)
    lab.start(c)
    lab.solve(c)
    before = [(p.metadata.name, p.metadata.uid) for p in c.get("pods")]
    assert passed(lab, c, 10)
    done = home.minik8s("lab", "check", str(lab.number), "--cluster", "labs")
    assert f"{len(lab.checks())} of {len(lab.checks())} checks passed" in done.stdout
    assert [(p.metadata.name, p.metadata.uid) for p in c.get("pods")] == before
    lab.reset(c)
    assert c.get("pods") == []


def test_a_lab_that_was_not_started_says_so(shared: Cluster, home: Home) -> None:
    done = home.minik8s("lab", "check", "6", "--cluster", "shared", check=False)
    assert done.returncode == 1
    assert "Nothing of this lab is in the cluster; start it with: minik8s lab start 6 --cluster shared" in done.stderr
