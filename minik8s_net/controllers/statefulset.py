"""StatefulSets: pods with a name and an order of their own.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/
"""

from __future__ import annotations

from typing import Any

from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import Pod

from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder
from .children import Key, create_pod, delete_pod, pod_from
from .claims import Claims
from .common import is_available, is_ready
from .revisions import Revisions, template_of
from .statefulset_plan import HASH, counts, has_its_name, keeps_revision, plan, revision_of

POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


class StatefulSetController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "statefulset-controller")
        self._loop: Reconciler[Key] = Reconciler("statefulset", self._reconcile)
        self._pods = Claims(client, Pod, StatefulSet, self._loop.mark, has_its_name)
        self._revisions = Revisions(client, StatefulSet, "controller.kubernetes.io/hash", lambda key: None)

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
        self._pods.claim(found)
        revision = self._revisions.present(found)
        version = revision.metadata.name
        self._step(found, revision)
        self._write_status(found, version)
        current = (found.status.currentRevision if found.status else None) or version
        self._revisions.forget(found, {version, current, *(revision_of(p) for p in self._pods.of(found))})

    def _step(self, found: Any, revision: Any) -> None:
        todo = plan(found, self._pods.of(found), revision.metadata.name)
        for index in todo.create:
            tree = ordered_pod(found, index, self._revision_for(found, index, revision))
            words = f"create Pod {{0}} in StatefulSet {found.metadata.name} successful"
            if create_pod(self.client, self.events, found, tree, words) is None:
                # somebody else's pod may have that name: its end is nothing we are told of
                self._loop.mark_after((found.metadata.namespace, found.metadata.name), 1.0)
        for pod in todo.delete:
            if pod.metadata and pod.metadata.deletionTimestamp is None:
                words = f"delete Pod {{0}} in StatefulSet {found.metadata.name} successful"
                delete_pod(self.client, self.events, found, pod, words)

    def _revision_for(self, found: Any, index: int, newest: Any) -> Any:
        current = found.status.currentRevision if found.status else None
        if keeps_revision(found, index) and current:
            return self._revisions.named(found, current) or newest
        return newest

    def _write_status(self, found: Any, version: str) -> None:
        pods, minimum = self._pods.of(found), found.spec.minReadySeconds or 0
        if any(is_ready(p) and not is_available(p, minimum) for p in pods):
            self._loop.mark_after((found.metadata.namespace, found.metadata.name), 1.0)
        old = (found.status.currentRevision if found.status else None) or version
        status: Json = {"observedGeneration": found.metadata.generation, **counts(found, pods, old, version)}
        name, namespace = found.metadata.name, found.metadata.namespace
        now: Any = self.client.find(StatefulSet, name, namespace)  # a collision may have been counted meanwhile
        status["collisionCount"] = (now and now.status and now.status.collisionCount) or 0
        self.client.patch(StatefulSet, name, {"status": status}, namespace, subresource="status")


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
