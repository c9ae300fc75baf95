"""A wired cluster of namespaces that nobody else sees."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minik8s_net.cni.fabric import ensure_fabric
from minik8s_net.cni.node import ensure_node
from minik8s_net.cni.peers import ensure_peers
from minik8s_net.cni.pod import Cni, PodAddress
from minik8s_net.config import ClusterConfig
from minik8s_net.kernel.netns import Netns
from minik8s_net.state import State


class Wired:
    def __init__(self, mode: str, folder: Path) -> None:
        self.config = ClusterConfig(name="t", nodes=2, cni=mode)
        self.fabric, self.outside = Netns.anonymous("t.fabric"), Netns.anonymous("t.outside")
        self.nodes = {i: Netns.anonymous(f"t.node-{i}") for i in (1, 2)}
        self.cni, self.pods = Cni(self.config, State(folder)), dict[str, Netns]()

    async def ensure(self) -> list[str]:
        done = await ensure_fabric(self.config, self.fabric, self.outside)
        for index, node in self.nodes.items():
            done += await ensure_node(self.config, index, node, self.fabric)
        for index, node in self.nodes.items():
            done += await ensure_peers(self.config, node, index, self.nodes.keys() - {index})
        return done

    def mend(self) -> list[str]:
        return asyncio.run(self.ensure())

    def pod(self, key: str, node: int) -> PodAddress:
        self.pods[key] = Netns.anonymous(key)
        return asyncio.run(self.cni.add(self.nodes[node], self.pods[key].fd, key))

    def close(self) -> None:
        for each in (self.fabric, self.outside, *self.nodes.values(), *self.pods.values()):
            each.close()


def run(where: Netns, *command: str) -> subprocess.CompletedProcess[str]:
    return where.call(subprocess.run, command, capture_output=True, text=True, check=False)


def pings(where: Netns, ip: str) -> bool:
    """Within two seconds: on a busy machine a link that comes up takes one."""
    return run(where, "ping", "-c1", "-i0.2", "-w2", ip).returncode == 0


@pytest.fixture(params=["host-gw", "vxlan"])
def wired(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wired]:
    cluster = Wired(request.param, tmp_path)
    cluster.mend()
    yield cluster
    cluster.close()


@pytest.fixture
def ping() -> Callable[[Netns, str], bool]:
    return pings
