"""The scheduler: a node for every pod that has none, or an event that says why not.

In Kubernetes: kube-scheduler. Spreads by the number of pods. What fits is decided in `predicates.py`.
https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from lightkube.resources.core_v1 import Node, Pod

from ..api.errors import StatusError, is_not_found
from ..reconcile import Reconciler
from ..store.client import Change, Client
from ..store.events import EventRecorder, timestamp
from .common import condition, controller_of, is_finished
from .predicates import NodePods, prefers, why_not

Key = tuple[str, str]  # namespace, name


class Scheduler:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "default-scheduler")
        self._placed: dict[str, dict[str, Pod]] = {}  # node -> its unfinished pods by uid
        self._waiting: set[Key] = set()
        self._loop: Reconciler[Key] = Reconciler("scheduler", self._reconcile)

    async def run(self) -> None:
        ends = [self.client.watch(Pod, self._on_pod), self.client.watch(Node, self._on_node)]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

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
        reasons = {_name(n): why_not(pod, n, nodes, around) for n in nodes}
        fitting = [n for n in nodes if reasons[_name(n)] is None]
        if fitting:
            best = min(fitting, key=lambda n: (-prefers(pod, n, nodes, around), *_crowd(pod, around[_name(n)])))
            self._bind(pod, _name(best))
            return
        counted = Counter(r for r in reasons.values() if r)
        told = sorted(f"{count} {reason}" for reason, count in counted.items())
        message = (
            f"0/{len(nodes)} nodes are available: {', '.join(told)}."
            if nodes
            else "no nodes available to schedule pods"
        )
        if nodes:
            message += " preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling.".format(
                len(nodes)
            )
        self._waiting.add(key)
        self._unschedulable(pod, "Unschedulable", message)

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


def _name(node: Node) -> str:
    return (node.metadata.name if node.metadata else "") or ""


def _crowd(pod: Pod, there: Collection[Pod]) -> tuple[int, int]:
    """How many siblings (of the same controller), then how many pods a node has; those that leave don't count."""
    staying = [p for p in there if p.metadata and p.metadata.deletionTimestamp is None]
    owner = controller_of(pod)
    siblings = [p for p in staying if owner is not None and (o := controller_of(p)) and o.uid == owner.uid]
    return len(siblings), len(staying)
