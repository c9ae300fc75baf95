"""`minik8s shell`: every way to name a place, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minik8s_net import Cluster
from minik8s_net.demo.stage import TOOLS, pod
from tests.conftest import Home

pytestmark = pytest.mark.cluster
NS = "shells"


@pytest.fixture(scope="module")
def c(shared: Cluster) -> Iterator[Cluster]:
    shared.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})
    names = [f"many-{i}" for i in range(12)]
    shared.apply([pod("here", "here", TOOLS), *(pod(name, "many", TOOLS) for name in names)], NS)
    shared.apply(pod("sh-default", "here", TOOLS))
    for name in ("here", *names):
        shared.wait(f"pod/{name}", namespace=NS)
    shared.wait("pod/sh-default")
    yield shared
    shared.delete("pod", "sh-default")
    shared.delete("namespace", NS)


@pytest.mark.parametrize(
    ("words", "namespace", "name"),
    [
        (["sh-default"], "default", "sh-default"),
        (["default/sh-default"], "default", "sh-default"),
        (["pod/sh-default"], "default", "sh-default"),
        (["-n", NS, "here"], NS, "here"),
        (["here", "-n", NS], NS, "here"),
        ([f"{NS}/here"], NS, "here"),
        ([f"pod/{NS}/here"], NS, "here"),
        ([f"{NS}/pod/here"], NS, "here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_pod_by_each_of_its_names(words: list[str], namespace: str, name: str, c: Cluster, home: Home) -> None:
    ip = c.get("pod", name, namespace).status.podIP
    assert f" {ip}/24" in home.minik8s("shell", "--cluster", "shared", *words, "--", "ip", "-br", "address").stdout


def test_a_place_that_is_none(c: Cluster, home: Home) -> None:
    def said(place: str) -> str:
        done = home.minik8s("shell", "--cluster", "shared", place, "--", "true", check=False)
        assert done.returncode == 1
        assert max(len(line) for line in done.stderr.splitlines()) <= 80
        return " ".join(done.stderr.split())

    assert 'no namespace "node-9", and no running pod "default/node-9"' in said("node-9")
    assert 'there is no running pod "shop/web"' in said("shop/web")
    assert 'there is no namespace "a/b/c/d"' in said("a/b/c/d")
    told = said("nobody")
    assert "fabric, node-1, node-2, outside; pods: " in told
    shown = told.partition("pods: ")[2]
    assert shown.endswith(" …")
    names = shown.removesuffix(" …").split(", ")
    assert len(names) == 8
    for name in names[:2]:  # what is suggested can be typed
        assert c.shell(name, "true").exit_code == 0


def test_the_place_alone_is_required(home: Home) -> None:
    assert home.minik8s("shell", check=False).stderr.endswith("required: PLACE\n")
