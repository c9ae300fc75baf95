"""Node lifecycle: a node whose Lease is not renewed is tainted, and its pods leave; a deleted node's pods go.

In Kubernetes: the node lifecycle, taint eviction and pod garbage collection controllers.
https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from lightkube.models.core_v1 import Taint
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod

from ..api.errors import StatusError, is_not_found
from ..store.client import Client, Json
from ..store.events import EventRecorder, timestamp
from .common import condition, epoch, is_active, is_finished, node_is_ready, tolerates

PERIOD = 5.0  # seconds between rounds
GRACE = 40.0  # seconds without a renewed Lease
LEASES = "kube-node-lease"
UNREACHABLE, NOT_READY, CORDONED = (
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unschedulable",
)


class NodeLifecycleController:
    """One look at all nodes every five seconds, as the real one. `run` until cancelled."""

    def __init__(self, client: Client, *, grace: float = GRACE, period: float = PERIOD) -> None:
        self.client, self.grace, self.period = client, grace, period
        self.events = EventRecorder(client, "node-controller")
        self._began = time.time()

    async def run(self) -> None:
        """Until cancelled."""
        wake = asyncio.Event()
        end = self.client.watch(Node, lambda _: wake.set())
        try:
            while True:
                self.round()
                try:
                    async with asyncio.timeout(self.period):
                        await wake.wait()
                        wake.clear()
                        await asyncio.sleep(0.05)
                except TimeoutError:
                    continue
        finally:
            end()

    def round(self) -> None:
        """Look at every node's Lease once."""
        nodes = self.client.list(Node)
        for node in nodes:
            try:
                self._judge(node)
            except StatusError as error:
                if not is_not_found(error) and error.code != 409:
                    raise
        self._evict({(n.metadata.name if n.metadata else "") or "": n for n in nodes})

    def _judge(self, node: Node) -> None:
        assert node.metadata and node.metadata.name
        name = node.metadata.name
        lease = self.client.find(Lease, name, LEASES)
        renewed = epoch(lease.spec.renewTime) if lease and lease.spec else 0.0
        born = epoch(node.metadata.creationTimestamp)
        lost = time.time() - max(renewed, born, self._began) > self.grace
        ready = condition(node, "Ready")
        if lost and ready is not None and ready.status != "Unknown":
            self._give_up(node, name)
            node = self.client.get(Node, name)
        wanted = self._taints(node)
        present = {(t.key, t.effect) for t in (node.spec.taints if node.spec else None) or ()}
        mine = {(t["key"], t["effect"]) for t in wanted}
        others = [t.to_dict() for t in (node.spec.taints if node.spec else None) or () if t.key not in _OURS]
        if mine != {p for p in present if p[0] in _OURS}:
            self.client.patch(Node, name, {"spec": {"taints": [*others, *wanted] or None}})

    def _taints(self, node: Node) -> list[Json]:
        ready = condition(node, "Ready")
        keys: list[tuple[str, str]] = []
        if node.spec and node.spec.unschedulable:
            keys.append((CORDONED, "NoSchedule"))
        if ready is not None and ready.status == "Unknown":
            keys += [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
        elif not node_is_ready(node):
            keys.append((NOT_READY, "NoSchedule"))
            if ready is not None:
                keys.append((NOT_READY, "NoExecute"))
        now = timestamp()
        added = {(t.key, t.effect): t.to_dict() for t in (node.spec.taints if node.spec else None) or ()}
        fresh = ({"key": k, "effect": e, **({"timeAdded": now} if e == "NoExecute" else {})} for k, e in keys)
        return [added.get((t["key"], t["effect"]), t) for t in fresh]

    def _give_up(self, node: Node, name: str) -> None:
        now, entries = timestamp(), []
        for entry in (node.status.conditions if node.status else None) or ():
            text = "Kubelet stopped posting node status."
            change = {
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": text,
                "lastTransitionTime": now,
            }
            entries.append({**entry.to_dict(), **change})
        self.client.patch(Node, name, {"status": {"conditions": entries}}, subresource="status")
        self.events.normal(node, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        for pod in self._pods_of(name):
            self._not_ready(pod)

    def _not_ready(self, pod: Pod) -> None:
        assert pod.metadata and pod.metadata.name and pod.status
        entries = [c.to_dict() for c in pod.status.conditions or ()]
        for entry in entries:
            if entry["type"] == "Ready" and entry["status"] == "True":
                entry |= {"status": "False", "lastTransitionTime": timestamp()}
                patch = {"status": {"conditions": entries}}
                self.client.patch(Pod, pod.metadata.name, patch, pod.metadata.namespace, subresource="status")

    def _pods_of(self, node: str) -> list[Pod]:
        return [p for p in self.client.list(Pod) if p.spec and p.spec.nodeName == node]

    # -- eviction ------------------------------------------------------------------------------------------------
    def _evict(self, nodes: dict[str, Node]) -> None:
        """Pods of nodes that are gone are removed at once; NoExecute taints are obeyed after the time tolerated."""
        tainted = {
            name: [t for t in (node.spec.taints if node.spec else None) or () if t.effect == "NoExecute"]
            for name, node in nodes.items()
        }
        if all(not taints for taints in tainted.values()) and not self._homeless(nodes):
            return
        for pod in self.client.list(Pod):
            node = pod.spec.nodeName if pod.spec else None
            assert pod.metadata and pod.metadata.name
            if _is_nobodys(pod, nodes):
                if not (pod.metadata.deletionTimestamp and is_finished(pod)):  # else only finalizers keep it
                    self._fail(pod)
                    self._delete(pod, 0)
            elif not node:
                continue
            elif is_active(pod) and any(self._must_leave(pod, taint) for taint in tainted[node]):
                text = f"Marking for deletion Pod {pod.metadata.namespace}/{pod.metadata.name}"
                self.events.normal(pod, "TaintManagerEviction", text)
                self._delete(pod, None)

    def _homeless(self, nodes: dict[str, Node]) -> bool:
        return any(_is_nobodys(p, nodes) for p in self.client.list(Pod))

    def _must_leave(self, pod: Pod, taint: Taint) -> bool:
        tolerations = [t for t in (pod.spec.tolerations if pod.spec else None) or () if tolerates([t], taint)]
        if not tolerations:
            return True
        limits = [t.tolerationSeconds for t in tolerations if t.tolerationSeconds is not None]
        since = epoch(taint.timeAdded) or time.time()
        return bool(limits) and time.time() - since > min(limits)

    def _fail(self, pod: Pod) -> None:
        """No kubelet will ever say that it is over, and whoever counts its end (a Job) waits for that."""
        assert pod.metadata and pod.metadata.name
        if is_finished(pod):
            return
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed"}}
        try:
            self.client.patch(Pod, pod.metadata.name, patch, pod.metadata.namespace, subresource="status")
        except StatusError as error:
            if not is_not_found(error) and error.code != 409:
                raise

    def _delete(self, pod: Pod, grace: int | None) -> None:
        assert pod.metadata and pod.metadata.name
        try:
            self.client.delete(
                Pod, pod.metadata.name, pod.metadata.namespace, grace_seconds=grace, uid=pod.metadata.uid
            )
        except StatusError as error:
            if not is_not_found(error) and error.code != 409:
                raise


_OURS = (UNREACHABLE, NOT_READY, CORDONED)


def _is_nobodys(pod: Pod, nodes: Mapping[str, Node]) -> bool:
    """No kubelet will end it: its node is gone, or it was deleted before it had one (Kubernetes' PodGC)."""
    node = pod.spec.nodeName if pod.spec else None
    return node not in nodes if node else bool(pod.metadata and pod.metadata.deletionTimestamp)
