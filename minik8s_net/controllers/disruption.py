"""PodDisruptionBudgets: how many pods of a kind may be evicted just now. `kubectl drain` asks before each one.

https://kubernetes.io/docs/tasks/run-application/configure-pdb/
"""

from __future__ import annotations

import math
from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Pod, ReplicationController
from lightkube.resources.policy_v1 import PodDisruptionBudget

from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import timestamp
from .children import Key
from .common import condition, controller_of, is_active, is_finished, is_ready, matches

_SCALED = {"ReplicaSet": ReplicaSet, "StatefulSet": StatefulSet, "ReplicationController": ReplicationController}


class DisruptionController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._loop: Reconciler[Key] = Reconciler("disruption", self._reconcile)

    async def run(self) -> None:
        """Until cancelled."""
        ends = [
            self.client.watch(PodDisruptionBudget, self._on_budget),
            self.client.watch(Pod, self._on_pod),
            self.client.watch(Deployment, self._on_workload),
            *(self.client.watch(kind, self._on_workload) for kind in _SCALED.values()),
        ]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _on_budget(self, change: Change[Any]) -> None:
        if change.type != "DELETED":
            self._loop.mark((change.new.metadata.namespace, change.new.metadata.name))

    def _on_pod(self, change: Change[Pod]) -> None:
        meta = change.new.metadata
        assert meta
        for budget in self.client.list(PodDisruptionBudget, meta.namespace):
            if budget.metadata and budget.spec and matches(budget.spec.selector, meta.labels):
                self._loop.mark((meta.namespace or "", budget.metadata.name or ""))

    def _on_workload(self, change: Change[Any]) -> None:
        if change.old is None or change.old.spec == change.new.spec:
            return
        for budget in self.client.list(PodDisruptionBudget, change.new.metadata.namespace):
            if budget.metadata:
                self._loop.mark((budget.metadata.namespace or "", budget.metadata.name or ""))

    async def _reconcile(self, key: Key) -> None:
        budget: Any = self.client.find(PodDisruptionBudget, key[1], key[0])
        if budget is None:
            return
        pods = [p for p in self.client.list(Pod, key[0]) if matches(budget.spec.selector, _labels(p))]
        pods = [p for p in pods if not is_finished(p)]
        healthy = sum(is_active(p) and is_ready(p) for p in pods)
        expected, desired = self._wanted(budget, pods)
        allowed = max(0, healthy - desired) if expected else 0
        status: Json = {
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "disruptionsAllowed": allowed,
            "expectedPods": expected,
            "observedGeneration": budget.metadata.generation,
            "conditions": [_allowed(budget, allowed)],
        }
        self.client.patch(PodDisruptionBudget, key[1], {"status": status}, key[0], subresource="status")

    def _wanted(self, budget: Any, pods: list[Pod]) -> tuple[int, int]:
        """(pods there should be, pods that must stay healthy)."""
        least, most = budget.spec.minAvailable, budget.spec.maxUnavailable
        if isinstance(least, int) and most is None:
            return len(pods), least
        expected = self._expected(pods)
        if most is not None:
            return expected, max(0, expected - _share(most, expected))
        return expected, _share(least or 0, expected)

    def _expected(self, pods: list[Pod]) -> int:
        """What the pods' owners want: a pod that is missing counts too."""
        owners: dict[str, int] = {}
        for pod in pods:
            owner, meta = controller_of(pod), pod.metadata
            kind: Any = _SCALED.get(owner.kind) if owner else None
            found: Any = self.client.find(kind, owner.name, meta.namespace) if kind and owner and meta else None
            above = controller_of(found) if found is not None else None
            if found is not None and above is not None and above.kind == "Deployment":
                # in a rollout its ReplicaSets want more together than the Deployment does
                found = self.client.find(Deployment, above.name, found.metadata.namespace) or found
            if found is not None:
                owners[found.metadata.uid] = 1 if found.spec.replicas is None else int(found.spec.replicas)
        return sum(owners.values())


def _share(value: int | str, total: int) -> int:
    """Percentages round up, for both of the budget's limits."""
    return math.ceil(int(value.rstrip("%")) * total / 100) if isinstance(value, str) else int(value)


def _allowed(budget: Any, allowed: int) -> Json:
    status, reason = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    old = condition(budget, "DisruptionAllowed")
    kept = old.to_dict()["lastTransitionTime"] if old is not None and old.status == status else timestamp()
    entry = {"type": "DisruptionAllowed", "status": status, "reason": reason, "message": "", "lastTransitionTime": kept}
    return {**entry, "observedGeneration": budget.metadata.generation}


def _labels(pod: Pod) -> dict[str, str]:
    return (pod.metadata.labels if pod.metadata else None) or {}
