"""All controllers over a real registry; a stand-in for the kubelets makes bound pods ready and ends deleted ones."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Event, Pod

from minik8s_net.apiserver.registry import Registry
from minik8s_net.boot import bootstrap
from minik8s_net.config import ClusterConfig
from minik8s_net.controllers import all_controllers
from minik8s_net.kubelet import node
from minik8s_net.store.client import Change
from minik8s_net.store.store import Store


class Cluster:
    """A control plane without nodes' agents. `ready` False: pods stay Pending."""

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        self.config = ClusterConfig(nodes=nodes)
        self.client = Registry(Store(folder / "store.db"), self.config)
        bootstrap.ensure_namespaces_and_api(self.client, self.config)
        bootstrap.ensure_nodes(self.client, self.config)
        for index in range(1, nodes + 1):
            node.renew_lease(self.client, f"node-{index}")
            node.post_status(self.client, f"node-{index}", str(self.config.node_ip(index)))
        self.ready = True
        self._numbers = itertools.count(2)
        self._changed = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Cluster:
        self.client.watch(Pod, self._on_pod)
        self.tasks = [asyncio.create_task(c.run()) for c in all_controllers(self.client, self.config, "CA")]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        ends = await asyncio.gather(*self.tasks, return_exceptions=True)
        self.client.store.close()
        assert all(isinstance(e, asyncio.CancelledError) for e in ends), ends

    def _on_pod(self, change: Change[Pod]) -> None:
        pod: Any = change.new
        if change.type != "DELETED" and pod.spec.nodeName:
            asyncio.get_running_loop().call_soon(self._act, pod.metadata.name, pod.metadata.namespace, pod.metadata.uid)

    def _act(self, name: str, namespace: str, uid: str) -> None:
        pod: Any = self.client.find(Pod, name, namespace)
        if pod is None or pod.metadata.uid != uid:
            return
        if pod.metadata.deletionTimestamp:
            self.client.delete(Pod, name, namespace, grace_seconds=0)
        elif self.ready and not pod.status.podIP:
            self.report(pod, "Running", True)

    def report(self, pod: Any, phase: str, ready: bool) -> None:
        ip = pod.status.podIP or f"10.244.{1 + (number := next(self._numbers)) // 250}.{number % 250}"
        entry = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2024-01-01T00:00:00Z"}
        status = {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [entry]}
        meta = pod.metadata
        self.client.patch(Pod, meta.name, {"status": status}, meta.namespace, subresource="status")

    def create(self, kind: type[Any], name: str, spec: dict[str, Any], **meta: Any) -> Any:
        info = kind._api_info.resource
        metadata = {"name": name, "namespace": "default", **meta}
        tree = {"apiVersion": info.api_version, "kind": info.kind, "metadata": metadata, "spec": spec}
        return self.client.create(kind, tree)

    def pods(self, **labels: str) -> list[Any]:
        return self.client.list(Pod, "default", labels)

    def events(self, name: str) -> list[str]:
        return [f"{e.reason}: {e.message}" for e in self.client.list(Event, "default") if e.involvedObject.name == name]

    async def until(self, true: Callable[[], Any], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.002)


def template(image: str = "nginx", **labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}


Script = Callable[[Cluster], Awaitable[None]]


@pytest.fixture
def cluster(tmp_path: Path) -> Callable[[Script], None]:
    """Run an `async def script(cluster)`."""

    def run(script: Script) -> None:
        async def inside() -> None:
            async with Cluster(tmp_path) as one:
                await script(one)

        asyncio.run(inside())

    return run
