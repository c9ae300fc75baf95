"""Nodes that cannot be made are tried again and again: none of the tries costs anything that lasts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minik8s_net.boot import nodes
from minik8s_net.boot.nodes import NodeManager
from minik8s_net.cni.errors import CniError
from minik8s_net.config import ClusterConfig
from minik8s_net.kernel.netns import Netns
from minik8s_net.state import State

pytestmark = pytest.mark.netns


class Anything:
    """Whatever is asked of it, it does nothing."""

    def __getattr__(self, _: str) -> Any:
        async def nothing(*_: Any) -> list[Any]:
            return []

        return nothing


async def _refused(*_: Any) -> None:
    raise CniError("no such kernel")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeManager:
    monkeypatch.setattr(nodes, "Netns", lambda name: Netns(name, Path("/proc/self/ns/net")))
    monkeypatch.setattr(nodes, "NETNS_DIR", tmp_path / "netns")
    (tmp_path / "netns").mkdir()
    (tmp_path / "netns" / "t.node-7").touch()
    (tmp_path / "ca").touch()
    client: Any = SimpleNamespace(list=lambda kind: [])
    one: Any = Anything()
    pki: Any = SimpleNamespace(ca=tmp_path / "ca")
    config = ClusterConfig(name="t")
    return NodeManager(config, State(tmp_path), client, one, one, one, one, one, one, pki)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_node_that_cannot_be_wired(manager: NodeManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "ensure_node", _refused)

    async def script() -> None:
        before = descriptors()
        for _ in range(5):
            with pytest.raises(CniError):
                await manager._add("node-1")
        assert descriptors() == before and manager.names() == []

    asyncio.run(script())


def test_a_node_that_cannot_be_collected(manager: NodeManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "remove_pods", _refused)

    async def script() -> None:
        before = descriptors()
        for _ in range(5):
            await manager._collect()
        assert descriptors() == before

    asyncio.run(script())
