"""ReplicaSets and ReplicationControllers: so many pods of one kind, no more and no fewer.

https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/
"""

from __future__ import annotations

from typing import Any

from lightkube.resources.apps_v1 import ReplicaSet
from lightkube.resources.core_v1 import Pod, ReplicationController

from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder
from .children import Key, create_pod, delete_pod, pod_from
from .claims import Claims
from .common import epoch, is_active, is_available, is_ready, phase

BURST = 500  # pods created or deleted in one round


class ReplicaSetController:
    """`run` until cancelled. `kind` is ReplicaSet or ReplicationController."""

    def __init__(self, client: Client, kind: type[Any] = ReplicaSet) -> None:
        self.client, self.kind = client, kind
        name = "replicaset-controller" if kind is ReplicaSet else "replication-controller"
        self.events = EventRecorder(client, name)
        self._loop: Reconciler[Key] = Reconciler(name, self._reconcile)
        self._pods = Claims(client, Pod, kind, self._loop.mark)

    async def run(self) -> None:
        """Until cancelled."""
        ends = [self._pods.watch(), self.client.watch(self.kind, self._on_set)]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _on_set(self, change: Change[Any]) -> None:
        if change.type != "DELETED":
            self._loop.mark((change.new.metadata.namespace, change.new.metadata.name))

    async def _reconcile(self, key: Key) -> None:
        found = self.client.find(self.kind, key[1], key[0])
        if found is None:
            return
        if found.metadata.deletionTimestamp is None:
            self._pods.claim(found)
            self._scale(found, [p for p in self._pods.of(found) if is_active(p)])
        self._write_status(found, [p for p in self._pods.of(found) if is_active(p)])

    def _scale(self, found: Any, active: list[Pod]) -> None:
        wanted = _replicas(found)
        missing = wanted - len(active)
        template = found.spec.template.to_dict() if found.spec.template else None
        for _ in range(min(missing, BURST)):
            if create_pod(self.client, self.events, found, pod_from(template, found)) is None:
                return
        if missing < 0:
            for pod in sorted(active, key=rank)[: min(-missing, BURST)]:
                delete_pod(self.client, self.events, found, pod)

    def _write_status(self, found: Any, pods: list[Pod]) -> None:
        minimum = found.spec.minReadySeconds or 0
        template = (found.spec.template.metadata.labels if found.spec.template else None) or {}
        ready = [p for p in pods if is_ready(p)]
        available = [p for p in ready if is_available(p, minimum)]
        if len(available) < len(ready):
            self._loop.mark_after((found.metadata.namespace, found.metadata.name), 1.0)
        labelled = [p for p in pods if template.items() <= ((p.metadata.labels if p.metadata else None) or {}).items()]
        status: Json = {
            "replicas": len(pods),
            "fullyLabeledReplicas": len(labelled) or None,
            "readyReplicas": len(ready) or None,
            "availableReplicas": len(available) or None,
            "observedGeneration": found.metadata.generation,
        }
        name, namespace = found.metadata.name, found.metadata.namespace
        self.client.patch(self.kind, name, {"status": status}, namespace, subresource="status")


def rank(pod: Pod) -> tuple[Any, ...]:
    """Who goes first when there are too many: unassigned, pending, not ready, younger."""
    assert pod.spec and pod.metadata
    order = {"Pending": 0, "Unknown": 1, "Running": 2}
    return (
        bool(pod.spec.nodeName),
        order.get(phase(pod), 2),
        is_ready(pod),
        -epoch(pod.metadata.creationTimestamp),
    )


def _replicas(found: Any) -> int:
    return 1 if found.spec.replicas is None else int(found.spec.replicas)


def replication_controllers(client: Client) -> ReplicaSetController:
    """The same loop for the older kind."""
    return ReplicaSetController(client, ReplicationController)
