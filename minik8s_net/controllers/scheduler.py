"""The scheduler: a node for every pod that has none, or an event that says why not.

In Kubernetes: kube-scheduler. What fits is decided in `predicates.py`, `resources.py` and `topology.py`; of the
nodes that fit, the one that preferences favour, then the one with the fewest siblings of the pod, then the emptiest.
https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from lightkube.resources.core_v1 import Node, Pod, Service

from ..api.errors import StatusError, is_not_found
from ..reconcile import Reconciler
from ..store.client import Change, Client
from ..store.events import EventRecorder, timestamp
from .common import condition, is_finished
from .predicates import NodePods, prefers, why_not
from .resources import lacking
from .topology import breaks_spread, crowding, siblings

Key = tuple[str, str]  # namespace, name
PATIENCE = 5.0  # seconds that first pods wait for a node which never reports


class Scheduler:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "default-scheduler")
        self._placed: dict[str, dict[str, Pod]] = {}  # node -> its unfinished pods by uid
        self._waiting: set[Key] = set()
        self._loop: Reconciler[Key] = Reconciler("scheduler", self._reconcile)

    async def run(self) -> None:
        """Until cancelled."""
        await self._all_reported()
        ends = [self.client.watch(Pod, self._on_pod), self.client.watch(Node, self._on_node)]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    async def _all_reported(self) -> None:
        """In a cluster that is just born: wait until every node has spoken, or all first pods land on the quickest."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and any(map(_unheard, self.client.list(Node))):
            await asyncio.sleep(0.005)

    def _on_pod(self, change: Change[Pod]) -> None:
        pod = change.new
        assert pod.metadata and pod.spec
        key, uid, node = (
            (pod.metadata.namespace or "", pod.metadata.name or ""),
            pod.metadata.uid or "",
            pod.spec.nodeName,
        )
        if change.type == "DELETED" or is_finished(pod):
            self._waiting.discard(key)
            if node and self._placed.get(node, {}).pop(uid, None) is not None:
                self._retry()
        elif node:
            self._waiting.discard(key)
            placed = self._placed.setdefault(node, {})
            fresh = uid not in placed
            placed[uid] = pod
            if fresh and self._waiting:
                self._retry()  # somebody may wait for a neighbour
        elif pod.spec.schedulerName in (None, "default-scheduler"):
            self._loop.mark(key)

    def _on_node(self, change: Change[Node]) -> None:
        old, new = change.old, change.new
        if (
            old is None
            or old.spec != new.spec
            or old.metadata != new.metadata
            or change.type == "DELETED"
            or condition(old, "Ready") != condition(new, "Ready")
        ):
            self._retry()

    def _retry(self) -> None:
        for key in self._waiting:
            self._loop.mark(key)

    async def _reconcile(self, key: Key) -> None:
        namespace, name = key
        pod = self.client.find(Pod, name, namespace)
        if pod is None or pod.spec is None or pod.metadata is None or pod.spec.nodeName:
            self._waiting.discard(key)
            return
        if pod.metadata.deletionTimestamp or is_finished(pod):
            return
        if pod.spec.schedulingGates:
            self._unschedulable(pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
            return
        nodes = self.client.list(Node)
        around: NodePods = {_name(n): self._placed.get(_name(n), {}).values() for n in nodes}
        reasons = {_name(n): _reasons(pod, n, nodes, around) for n in nodes}
        fitting = [n for n in nodes if not reasons[_name(n)]]
        if fitting:
            self._bind(pod, self._best(pod, fitting, nodes, around))
            return
        self._waiting.add(key)
        self._unschedulable(pod, "Unschedulable", _told(reasons))

    def _best(self, pod: Pod, fitting: list[Node], nodes: list[Node], around: NodePods) -> str:
        services = self.client.list(Service, pod.metadata.namespace if pod.metadata else None)

        def rank(node: Node) -> tuple[int, ...]:
            there = around[_name(node)]
            staying = sum(1 for p in there if p.metadata and p.metadata.deletionTimestamp is None)
            crowd = crowding(pod, node, nodes, around)
            return -prefers(pod, node, nodes, around), crowd, siblings(pod, there, services), staying

        return _name(min(fitting, key=rank))

    def _bind(self, pod: Pod, node: str) -> None:
        meta = pod.metadata
        assert meta and meta.name
        patch = {"metadata": {"uid": meta.uid}, "spec": {"nodeName": node}}
        try:
            bound = self.client.patch(Pod, meta.name, patch, meta.namespace, subresource="binding")
        except StatusError as error:
            if is_not_found(error) or error.code == 409:
                return
            raise
        self.events.normal(bound, "Scheduled", f"Successfully assigned {meta.namespace}/{meta.name} to {node}")

    def _unschedulable(self, pod: Pod, reason: str, message: str) -> None:
        meta = pod.metadata
        assert meta and meta.name
        old = condition(pod, "PodScheduled")
        if old is not None and (old.reason, old.message) == (reason, message):
            return
        entry = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        entry["lastTransitionTime"] = timestamp()
        patch = {"status": {"phase": "Pending", "conditions": [entry]}}
        self.client.patch(Pod, meta.name, patch, meta.namespace, subresource="status")
        if reason == "Unschedulable":
            self.events.warning(pod, "FailedScheduling", message)


def _unheard(node: Node) -> bool:
    """It has not reported yet, or its report has not yet taken the taint of a newborn node away."""
    ready = condition(node, "Ready")
    taints = (node.spec.taints if node.spec else None) or ()
    return ready is None or (ready.status == "True" and any(t.key == "node.kubernetes.io/not-ready" for t in taints))


def _name(node: Node) -> str:
    return (node.metadata.name if node.metadata else "") or ""


def _reasons(pod: Pod, node: Node, nodes: list[Node], around: NodePods) -> list[str]:
    """Why the pod can't be there; nothing where it can."""
    if reason := why_not(pod, node, nodes, around) or breaks_spread(pod, node, nodes, around):
        return [reason]
    return [f"Insufficient {name}" for name in lacking(pod, node, around[_name(node)])]


def _told(reasons: dict[str, list[str]]) -> str:
    """FailedScheduling in the scheduler's words: each reason with the number of nodes it holds for."""
    total = len(reasons)
    if not total:
        return "no nodes available to schedule pods"
    counted = Counter(reason for found in reasons.values() for reason in found)
    told = ", ".join(sorted(f"{count} {reason}" for reason, count in counted.items()))
    short = sum(any(r.startswith("Insufficient") for r in found) for found in reasons.values())
    helpless = total - short
    why = [f"{short} No preemption victims found for incoming pod"] if short else []
    why += [f"{helpless} Preemption is not helpful for scheduling"] if helpless else []
    return f"0/{total} nodes are available: {told}. preemption: 0/{total} nodes are available: {', '.join(why)}."
