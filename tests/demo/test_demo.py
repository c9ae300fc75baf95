"""The demo proves the text: each statement is the text's own words, each manifest the text's own, and all hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from minik8s_net.demo import seed
from minik8s_net.demo.runner import SECTIONS, play, statements
from tests.conftest import Home


@pytest.mark.parametrize("statement", statements(), ids=lambda s: s.id)
def test_statements_are_the_texts_own(statement: object) -> None:
    assert seed.says(statement.sentence), statement.sentence  # type: ignore[attr-defined]


def test_the_text_is_the_one_we_were_given() -> None:
    given = Path(__file__).parents[3] / "shared" / "seed.md"
    if not given.exists():
        pytest.skip("no shared/seed.md beside the checkout to compare with")
    assert given.read_text() == seed.text()


def test_all_manifests_of_the_text_are_used() -> None:
    folder = Path(seed.__file__).parent
    code = "".join(p.read_text() for p in folder.glob("*.py"))
    assert set(seed.manifests()) == {"allow-app-pods", "mypod", "my-service", "my-headless-service"}
    for name in seed.manifests():
        assert f'"{name}"' in code


@pytest.mark.cluster
def test_every_statement_holds(home: Home) -> None:
    home.minik8s("up", "--cluster", "demo", "--nodes", "2")
    told: list[str] = []
    results = play(home.cluster("demo"), lambda statement, findings: told.append(statement.id))
    home.minik8s("down", "--cluster", "demo")
    assert [r for r in results if not r["ok"]] == []
    assert [r["id"] for r in results] == told == [s.id for section in SECTIONS for s in section.statements]


@pytest.mark.cluster
def test_the_demo_can_fail(home: Home) -> None:
    """Break the cluster (no DNS server): statements about names must be found false, and the exit status says so."""
    home.minik8s("up", "--cluster", "dumb", "--nodes", "2")
    c = home.cluster("dumb")
    scale = {"spec": {"replicas": 0}}
    path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
    c.api.request("PATCH", path, scale, content_type="application/merge-patch+json")
    results = {r["id"]: r["ok"] for r in play(c, lambda *_: None)}
    home.minik8s("down", "--cluster", "dumb")
    assert results["3.1"]
    assert not results["2.2"]
    assert not results["4.5"]
