"""StatefulSets: pods with a name and an order of their own.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/
"""

from __future__ import annotations

import re
from typing import Any

from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import Pod

from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder
from .children import Children, Key, create_pod, delete_pod, pod_from
from .common import is_available, is_finished, is_ready
from .revisions import Revisions, template_of

HASH = "controller-revision-hash"
POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


class StatefulSetController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "statefulset-controller")
        self._loop: Reconciler[Key] = Reconciler("statefulset", self._reconcile)
        self._pods = Children(client, Pod, "StatefulSet", self._loop.mark)
        self._revisions = Revisions(client, "StatefulSet", "controller.kubernetes.io/hash", lambda key: None)

    async def run(self) -> None:
        """Until cancelled."""
        ends = [self._revisions.watch(), self._pods.watch(), self.client.watch(StatefulSet, self._on_set)]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _on_set(self, change: Change[StatefulSet]) -> None:
        if change.type != "DELETED" and change.new.metadata:
            self._loop.mark((change.new.metadata.namespace or "", change.new.metadata.name or ""))

    async def _reconcile(self, key: Key) -> None:
        found: Any = self.client.find(StatefulSet, key[1], key[0])
        if found is None:
            return
        if found.metadata.deletionTimestamp is not None:
            return
        revision = self._revisions.present(found)
        version = revision.metadata.name
        self._step(found, revision)
        self._write_status(found, version)
        current = (found.status.currentRevision if found.status else None) or version
        self._revisions.forget(found, {version, current, *(_version(p) for p in self._pods.of(found))})

    def _step(self, found: Any, revision: Any) -> None:
        """One step: create or delete what the order allows, else replace one pod of an older template."""
        wanted = 1 if found.spec.replicas is None else int(found.spec.replicas)
        first = _first(found)
        parallel = found.spec.podManagementPolicy == "Parallel"
        pods = {ordinal(p): p for p in self._pods.of(found)}
        healthy = True
        for index in range(first, first + wanted):
            pod = pods.pop(index, None)
            if pod is not None and is_finished(pod):
                self._delete(found, pod)
            if pod is None:
                tree = ordered_pod(found, index, self._revision_for(found, index, revision))
                words = f"create Pod {{0}} in StatefulSet {found.metadata.name} successful"
                create_pod(self.client, self.events, found, tree, words)
            if pod is None or not self._steady(found, pod):
                healthy = False
                if not parallel:
                    return
        for index in sorted(pods, reverse=True):  # too many: from the last
            self._delete(found, pods[index])
            if not parallel:
                return
        if healthy:
            self._update(found, revision.metadata.name)

    def _revision_for(self, found: Any, index: int, newest: Any) -> Any:
        """Pods below the partition stay at the revision before the update, also when they are made anew."""
        current = found.status.currentRevision if found.status else None
        if index < _first(found) + _partition(found) and current:
            return self._revisions.named(found, current) or newest
        return newest

    def _steady(self, found: Any, pod: Pod) -> bool:
        assert pod.metadata
        minimum = found.spec.minReadySeconds or 0
        if minimum and is_ready(pod) and not is_available(pod, minimum):
            self._loop.mark_after((found.metadata.namespace, found.metadata.name), 1.0)
        return is_available(pod, minimum) and pod.metadata.deletionTimestamp is None

    def _update(self, found: Any, version: str) -> None:
        strategy = found.spec.updateStrategy
        if strategy and strategy.type == "OnDelete":
            return
        lowest = _first(found) + _partition(found)
        for pod in sorted(self._pods.of(found), key=ordinal, reverse=True):
            if ordinal(pod) >= lowest and _version(pod) != version:
                self._delete(found, pod)
                return

    def _delete(self, found: Any, pod: Pod) -> None:
        if pod.metadata and pod.metadata.deletionTimestamp is None:
            words = f"delete Pod {{0}} in StatefulSet {found.metadata.name} successful"
            delete_pod(self.client, self.events, found, pod, words)

    def _write_status(self, found: Any, version: str) -> None:
        pods = self._pods.of(found)
        updated = sum(_version(p) == version for p in pods)
        wanted = 1 if found.spec.replicas is None else int(found.spec.replicas)
        old = (found.status.currentRevision if found.status else None) or version
        current = version if updated == len(pods) and updated >= wanted else old
        status: Json = {
            "observedGeneration": found.metadata.generation,
            "replicas": len(pods),
            "readyReplicas": sum(map(is_ready, pods)) or None,
            "availableReplicas": sum(is_available(p, found.spec.minReadySeconds or 0) for p in pods),
            "updatedReplicas": updated or None,
            "currentReplicas": sum(_version(p) == current for p in pods) or None,
            "currentRevision": current,
            "updateRevision": version,
            "collisionCount": 0,
        }
        name, namespace = found.metadata.name, found.metadata.namespace
        self.client.patch(StatefulSet, name, {"status": status}, namespace, subresource="status")


def ordinal(pod: Pod) -> int:
    """2 for the pod `db-2`."""
    match = re.search(r"-([0-9]+)$", (pod.metadata.name if pod.metadata else "") or "")
    return int(match[1]) if match else -1


def _first(found: Any) -> int:
    return int((found.spec.ordinals.start if found.spec.ordinals else 0) or 0)


def _partition(found: Any) -> int:
    strategy = found.spec.updateStrategy
    return int((strategy.rollingUpdate.partition if strategy and strategy.rollingUpdate else 0) or 0)


def ordered_pod(found: Any, index: int, revision: Any) -> Json:
    """`web-0`, with that hostname, under the set's headless Service."""
    name = f"{found.metadata.name}-{index}"
    labels = {HASH: revision.metadata.name, POD_NAME: name, POD_INDEX: str(index)}
    tree = pod_from(template_of(revision), found, name, labels=labels)
    spec = {**tree["spec"], "hostname": name, "subdomain": found.spec.serviceName or ""}
    claims = [c.metadata.name for c in found.spec.volumeClaimTemplates or () if c.metadata]
    if claims:  # no claim is ever bound here: the pod waits, and its events say so
        own = [v for v in spec.get("volumes") or () if v["name"] not in claims]
        mine = [{"name": c, "persistentVolumeClaim": {"claimName": f"{c}-{name}"}} for c in claims]
        spec["volumes"] = [*own, *mine]
    return {**tree, "spec": spec}


def _version(pod: Pod) -> str:
    labels: dict[str, str] = (pod.metadata.labels if pod.metadata else None) or {}
    return labels.get(HASH, "")
