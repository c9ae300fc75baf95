"""A node with a real runtime, registry and CNI; only scheduler, proxy and policy are missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Event, Pod

from minik8s_net.apiserver.registry import Registry
from minik8s_net.boot import bootstrap
from minik8s_net.cni.fabric import ensure_fabric
from minik8s_net.cni.node import ensure_node
from minik8s_net.cni.pod import Cni
from minik8s_net.config import ClusterConfig
from minik8s_net.kernel.netns import Netns
from minik8s_net.kubelet.kubelet import Kubelet
from minik8s_net.kubelet.kubelets import NodeKubelets
from minik8s_net.runtime.client import RuntimeClient
from minik8s_net.state import State
from minik8s_net.store.store import Store
from tests.runtime.conftest import Runtime, runtime  # noqa: F401 - a fixture

NODE = "node-1"
BUSY = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]


class Node:
    """node-1, run by a real kubelet. Use inside `async with`."""

    def __init__(self, client: RuntimeClient, state: State, config: ClusterConfig) -> None:
        self.runtime, self.state, self.config = client, state, config
        self.kubelets: NodeKubelets
        self.ready_for: list[str] = []  # addresses the kubelet asked the policy about, before any container ran
        self.asked: list[tuple[str, int]] = []  # audience and seconds of the tokens it asked for

    async def __aenter__(self) -> Node:
        config = self.config
        for short in ("fabric", "outside", NODE):
            await self.runtime.ensure_netns(config.netns(short))
        self.spaces = [Netns(config.netns(short)) for short in ("fabric", "outside", NODE)]
        await ensure_fabric(config, self.spaces[0], self.spaces[1])
        await ensure_node(config, 1, self.spaces[2], self.spaces[0])
        self.start()
        return self

    def start(self) -> None:
        """A kubelet, and the store it reads anew: what a controller that was killed comes back with."""
        self.state.root.mkdir(exist_ok=True)
        self.client = Registry(Store(self.state.database), self.config)
        bootstrap.ensure_namespaces_and_api(self.client, self.config)
        bootstrap.ensure_nodes(self.client, self.config)
        cni = Cni(self.config, self.state).at(self.spaces[2])
        self.kubelet = Kubelet(
            self.config, self.state, NODE, self.client, self.runtime, cni, self.spaces[2], self._network_ready,
            self._token, "CA",
        )  # fmt: skip
        self.kubelets = NodeKubelets(self.client)
        self.kubelets.add(NODE, self.kubelet)
        self.task = asyncio.create_task(self.kubelet.run())

    def _token(self, pod: Pod, audience: str, seconds: int) -> str:
        self.asked.append((audience, seconds))
        return f"{audience}-{len(self.asked)}" if audience else "TOKEN"

    async def _network_ready(self, pod: Pod) -> None:
        assert pod.status and pod.status.podIP, "status.podIP is written before the policy is asked"
        running = [s for s in pod.status.containerStatuses or () if s.state and s.state.running]
        assert not running or pod.status.podIP in self.ready_for, "none runs before; those of an adopted pod go on"
        self.ready_for.append(pod.status.podIP)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.client.store.close()

    async def __aexit__(self, *_: object) -> None:
        for pod in self.client.list(Pod):
            self.client.delete(Pod, pod.metadata.name, pod.metadata.namespace, grace_seconds=0)
        await self.until(lambda: not self.kubelet._workers)
        await self.stop()
        for space in self.spaces:
            space.close()

    def create(self, name: str, *containers: dict[str, Any], **spec: Any) -> None:
        body = {"nodeName": NODE, "containers": list(containers), **spec}
        meta = {"name": name, "namespace": "default"}
        self.client.create(Pod, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body})

    def pod(self, name: str) -> Any:
        return self.client.get(Pod, name, "default")

    def status(self, name: str, container: int = 0) -> Any:
        statuses = self.pod(name).status.containerStatuses
        return statuses[container] if statuses else None

    def ready(self, name: str) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.pod(name).status.conditions or ())

    def reasons(self, name: str) -> list[str]:
        return [e.reason for e in self.client.list(Event, "default") if e.involvedObject.name == name]

    async def run(self, name: str, *command: str, container: int = 0) -> tuple[int, str]:
        container_id = self.status(name, container).containerID.partition("://")[2]
        code, out, err = await self.runtime.exec_sync(container_id, list(command), 5.0)
        return code, (out + err).decode()

    async def until(self, true: Callable[[], bool], seconds: float = 10.0) -> float:
        """Wait for it; the seconds it took."""
        began = time.monotonic()
        while not true():
            if self.task.done():
                self.task.result()
            assert time.monotonic() - began < seconds, "waited in vain"
            await asyncio.sleep(0.002)
        return time.monotonic() - began


Script = Callable[[Node], Awaitable[None]]


@pytest.fixture
def on_node(runtime: Runtime, tmp_path: Path) -> Callable[[Script], None]:  # noqa: F811
    """Run an `async def script(node)` against a node of its own."""
    config = ClusterConfig(name=runtime.cluster, nodes=1)  # so that what it names on the host goes with it

    def run(script: Script) -> None:
        async def inside(client: RuntimeClient, _: Path) -> None:
            async with Node(client, State(tmp_path / "state"), config) as node:
                await script(node)

        runtime.run(inside)

    return run
