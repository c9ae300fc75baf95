"""DaemonSets: one pod on every node that fits.

https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Node, Pod

from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder
from .children import Key, create_pod, delete_pod, pod_from
from .claims import Claims
from .common import Object, is_available, is_ready
from .daemonset_plan import HASH, TOLERATED, counts, places, plan, version_of
from .revisions import Revisions


class DaemonSetController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "daemonset-controller")
        self._loop: Reconciler[Key] = Reconciler("daemonset", self._reconcile)
        self._pods = Claims(client, Pod, DaemonSet, self._loop.mark)
        self._revisions = Revisions(client, DaemonSet, HASH, lambda key: None)

    async def run(self) -> None:
        """Until cancelled."""
        ends: list[Callable[[], None]] = [
            self._revisions.watch(),
            self._pods.watch(),
            self.client.watch(DaemonSet, self._on_set),
            self.client.watch(Node, self._on_node),
        ]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _on_set(self, change: Change[DaemonSet]) -> None:
        if change.type != "DELETED" and change.new.metadata:
            self._loop.mark((change.new.metadata.namespace or "", change.new.metadata.name or ""))

    def _on_node(self, change: Change[Node]) -> None:
        old, new = change.old, change.new
        heartbeat = old is not None and (old.spec, _labels(old)) == (new.spec, _labels(new))
        if heartbeat and change.type == "MODIFIED":
            return
        for found in self.client.list(DaemonSet):
            if found.metadata:
                self._loop.mark((found.metadata.namespace or "", found.metadata.name or ""))

    async def _reconcile(self, key: Key) -> None:
        found: Any = self.client.find(DaemonSet, key[1], key[0])
        if found is None:
            return
        if found.metadata.deletionTimestamp is not None:
            return
        self._pods.claim(found)
        revision = self._revisions.present(found)
        version = revision.metadata.labels[HASH]
        self._step(found, version)
        self._write_status(found, version)
        used = {revision.metadata.name, *(f"{key[1]}-{version_of(p)}" for p in self._pods.of(found))}
        self._revisions.forget(found, used)

    def _step(self, found: Any, version: str) -> None:
        where, homeless = places(found, self.client.list(Node), self._pods.of(found))
        todo = plan(found, where, version)
        for name in todo.create:
            create_pod(self.client, self.events, found, daemon_pod(found, name, version))
        for pod in (*todo.delete, *homeless):
            if pod.metadata and pod.metadata.deletionTimestamp is None:
                delete_pod(self.client, self.events, found, pod)

    def _write_status(self, found: Any, version: str) -> None:
        pods, minimum = self._pods.of(found), found.spec.minReadySeconds or 0
        if any(is_ready(p) and not is_available(p, minimum) for p in pods):
            self._loop.mark_after((found.metadata.namespace, found.metadata.name), 1.0)
        where, _ = places(found, self.client.list(Node), pods)
        status: Json = {"observedGeneration": found.metadata.generation, **counts(found, where, version)}
        name, namespace = found.metadata.name, found.metadata.namespace
        self.client.patch(DaemonSet, name, {"status": status}, namespace, subresource="status")


def daemon_pod(found: Object, node: str, version: str) -> Json:
    """Bound to its node by affinity, so that the scheduler places it: what the real controller writes."""
    tree = pod_from(found.spec.template.to_dict(), found, labels={HASH: version})
    spec = {**tree["spec"]}
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    affinity = {**(spec.get("affinity") or {})}
    own = {**(affinity.get("nodeAffinity") or {}), "requiredDuringSchedulingIgnoredDuringExecution": required}
    spec["affinity"] = {**affinity, "nodeAffinity": own}
    extra = [{"key": f"node.kubernetes.io/{k}", "operator": "Exists", "effect": e} for k, e in TOLERATED]
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *extra]
    return {**tree, "spec": spec}


def _labels(node: Node) -> dict[str, str]:
    return (node.metadata.labels if node.metadata else None) or {}
