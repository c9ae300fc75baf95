"""A node that is removed while something looks at all of them, with pauses in between."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from minik8s_net.boot.nodes import NodeManager
from minik8s_net.healing import drift as drifts
from minik8s_net.healing import rules
from minik8s_net.observe import top as tops


def manager(*names: str) -> NodeManager:
    nodes = NodeManager.__new__(NodeManager)  # its list of nodes is all that is needed
    nodes._agents = {name: Agents(nodes, name) for name in names}  # type: ignore[misc]
    return nodes


class Agents(SimpleNamespace):
    """Of a node: whoever works on node-1 sees node-2 removed while he waits."""

    def __init__(self, nodes: NodeManager, name: str) -> None:
        super().__init__(name=name, netns=self, enforcer=None, kubelet=SimpleNamespace(wired=list))
        self.nodes = nodes

    async def run(self, *_: Any) -> Any:
        await asyncio.sleep(0)
        self.nodes._agents.pop("node-2", None)
        return {}, [], ""


def test_those_that_are_left_are_told_one_by_one() -> None:
    nodes, told = manager("node-1", "node-2", "node-3"), []
    for name, _ in nodes.each():
        told.append(name)
        nodes._agents.pop("node-2", None)
    assert told == ["node-1", "node-3"]


def test_top_leaves_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = manager("node-1", "node-2")
    monkeypatch.setattr(tops, "_services", lambda live, flows: [])
    live: Any = SimpleNamespace(nodes=nodes, traffic=SimpleNamespace(overruns=0))
    assert asyncio.run(tops.top(live, {})) == {"pods": [], "services": [], "policies": [], "overruns": 0}


@pytest.mark.parametrize("error", [KeyError("node-2"), RuntimeError("shut down"), FileNotFoundError()])
def test_drift_leaves_it_out_and_hides_no_other_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = manager("node-1", "node-2")
    live: Any = SimpleNamespace(nodes=nodes)

    async def look(live: Any, node: str) -> list[drifts.Drift]:
        await asyncio.sleep(0)
        if node == "node-2":
            if gone:
                nodes._agents.pop("node-2")
            raise error
        return [drifts.Drift("proxy", node, "kube-proxy", "running", "stopped")]

    async def nothing(live: Any) -> list[drifts.Drift]:
        return []

    monkeypatch.setattr("minik8s_net.healing.places.places", lambda live: [])
    monkeypatch.setattr(rules, "rule_drift", look)
    monkeypatch.setattr(drifts, "name_drift", nothing)
    gone = False
    with pytest.raises(type(error)):
        asyncio.run(drifts.drift(live))
    gone = True
    assert [each.place for each in asyncio.run(drifts.drift(live))] == ["node-1"]
