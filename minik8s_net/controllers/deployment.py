"""Deployments: a ReplicaSet for each version of the template, and the walk from one to the next.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
"""

from __future__ import annotations

from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from ..api.errors import StatusError
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder
from .children import Key
from .claims import Claims
from .common import ref
from .deployment_facts import (
    DESIRED,
    HASH,
    MAXIMUM,
    NOT_COPIED,
    REVISION,
    available,
    limits,
    note,
    revision,
    size,
    size_notes,
    template,
)
from .deployment_status import deployment_status
from .rollout import new_size, old_sizes, proportional, template_hash


class DeploymentController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "deployment-controller")
        self._loop: Reconciler[Key] = Reconciler("deployment", self._reconcile)
        self._sets = Claims(client, ReplicaSet, Deployment, self._loop.mark)

    async def run(self) -> None:
        """Until cancelled."""
        ends = [self._sets.watch(), self.client.watch(Deployment, self._on_deployment)]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _on_deployment(self, change: Change[Deployment]) -> None:
        if change.type != "DELETED" and change.new.metadata:
            self._loop.mark((change.new.metadata.namespace or "", change.new.metadata.name or ""))

    async def _reconcile(self, key: Key) -> None:
        found: Any = self.client.find(Deployment, key[1], key[0])
        if found is None:
            return
        if found.metadata.deletionTimestamp is None:
            self._sets.claim(found)
            new = self._current(found)
            if new is None and not found.spec.paused:
                new = self._create(found)
            if new is not None:
                self._revise(found, new)
            self._scale(found, new)
        self._write_status(key)

    # -- the ReplicaSet of the present template ----------------------------------------------------------------------
    def _current(self, found: Any) -> Any:
        wanted = template(found)
        return next((s for s in self._sets.of(found) if template(s) == wanted), None)

    def _create(self, found: Any) -> Any:
        pods = found.spec.template.to_dict()
        collisions = (found.status and found.status.collisionCount) or 0
        name_hash = template_hash({"template": pods, "collisions": collisions})
        meta = pods.get("metadata") or {}
        labels = {**(meta.get("labels") or {}), HASH: name_hash}
        pods["metadata"] = {**meta, "labels": labels}
        selector = found.spec.selector.to_dict()
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: name_hash}
        tree = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{found.metadata.name}-{name_hash}",
                "namespace": found.metadata.namespace,
                "labels": labels,
                "annotations": size_notes(found),
                "ownerReferences": [ref(found)],
            },
            "spec": {
                "replicas": 0,
                "minReadySeconds": found.spec.minReadySeconds or 0,
                "selector": selector,
                "template": pods,
            },
        }
        try:
            return self.client.create(ReplicaSet, tree)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            patch = {"status": {"collisionCount": collisions + 1}}
            self.client.patch(Deployment, found.metadata.name, patch, found.metadata.namespace, subresource="status")
            raise

    def _revise(self, found: Any, new: Any) -> None:
        """The newest template has the highest revision, also when it is an old one come back (rollout undo).

        What says when its pods are available is no part of the template: a change of it reaches the ReplicaSet here.
        """
        others = [revision(s) for s in self._sets.of(found) if s.metadata.uid != new.metadata.uid]
        number = max([revision(new), *(r + 1 for r in others), 1])
        copied = {k: v for k, v in (found.metadata.annotations or {}).items() if k not in NOT_COPIED}
        annotations = {**copied, REVISION: str(number)}
        namespace = found.metadata.namespace
        patch: Json = {"metadata": {"annotations": annotations}}
        if (new.spec.minReadySeconds or 0) != (found.spec.minReadySeconds or 0):
            patch["spec"] = {"minReadySeconds": found.spec.minReadySeconds or 0}
        self.client.patch(ReplicaSet, new.metadata.name, patch, namespace)
        own = {"metadata": {"annotations": {REVISION: str(number)}}}
        self.client.patch(Deployment, found.metadata.name, own, namespace)

    # -- sizes ---------------------------------------------------------------------------------------------------
    def _scale(self, found: Any, new: Any) -> None:
        sets = self._sets.of(found)
        active = [s for s in sets if size(s)]
        if found.spec.paused or new is None or any(note(s, DESIRED) != limits(found)[0] for s in active):
            self._resize_all(found, sets, active, new)
            return
        olds = [s for s in sets if s.metadata.uid != new.metadata.uid]
        new = self.client.get(ReplicaSet, new.metadata.name, new.metadata.namespace)
        if found.spec.strategy and found.spec.strategy.type == "Recreate":
            self._recreate(found, new, olds)
        else:
            self._roll(found, new, olds)
        self._clean_up(found, new)

    def _resize_all(self, found: Any, sets: list[Any], active: list[Any], new: Any) -> None:
        """The Deployment was scaled (or is paused): no step of the rollout, only sizes."""
        wanted, surge, _ = limits(found)
        if len(active) <= 1:
            target = active[0] if active else new or max(sets, key=revision, default=None)
            if target is not None:
                self._resize(found, target, wanted)
        elif new is not None and size(new) == wanted == available(new):
            for old in active:
                self._resize(found, old, wanted if old.metadata.uid == new.metadata.uid else 0)
        elif found.spec.strategy is None or found.spec.strategy.type != "Recreate":
            newest_first = sorted(active, key=revision, reverse=True)
            sizes = proportional(wanted, surge, [(size(s), note(s, MAXIMUM)) for s in newest_first])
            for target, replicas in zip(newest_first, sizes, strict=True):
                self._resize(found, target, replicas)

    def _recreate(self, found: Any, new: Any, olds: list[Any]) -> None:
        for old in olds:
            self._resize(found, old, 0)
        others = [s for s in self._sets.of(found) if s.metadata.uid != new.metadata.uid]
        if not any((s.status and s.status.replicas) or size(s) for s in others):
            self._resize(found, new, limits(found)[0])

    def _roll(self, found: Any, new: Any, olds: list[Any]) -> None:
        wanted, surge, unavailable = limits(found)
        everyone = sum(size(s) for s in olds) + size(new)
        self._resize(found, new, new_size(wanted, surge, size(new), everyone))
        now = self.client.get(ReplicaSet, new.metadata.name, new.metadata.namespace)
        measured = [(size(s), min(size(s), available(s))) for s in olds]
        sizes = old_sizes(wanted, unavailable, (size(now), min(size(now), available(now))), measured)
        for old, replicas in zip(olds, sizes, strict=True):
            self._resize(found, old, replicas)

    def _resize(self, found: Any, target: Any, replicas: int) -> None:
        before, notes = size(target), size_notes(found)
        if before == replicas and notes.items() <= (target.metadata.annotations or {}).items():
            return
        patch = {"metadata": {"annotations": notes}, "spec": {"replicas": replicas}}
        self.client.patch(ReplicaSet, target.metadata.name, patch, target.metadata.namespace)
        if before != replicas:
            way = "up" if replicas > before else "down"
            text = f"Scaled {way} replica set {target.metadata.name} from {before} to {replicas}"
            self.events.normal(found, "ScalingReplicaSet", text)

    def _clean_up(self, found: Any, new: Any) -> None:
        """Old, empty ReplicaSets beyond the history limit go."""
        limit = 10 if found.spec.revisionHistoryLimit is None else found.spec.revisionHistoryLimit
        others = [s for s in self._sets.of(found) if s.metadata.uid != new.metadata.uid]
        empty = [s for s in others if not size(s) and not (s.status and s.status.replicas)]
        for old in sorted(empty, key=revision)[: max(0, len(empty) - limit)]:
            self.client.delete(ReplicaSet, old.metadata.name, old.metadata.namespace)

    def _write_status(self, key: Key) -> None:
        found = self.client.find(Deployment, key[1], key[0])
        if found is None:
            return
        status, look_again = deployment_status(found, self._sets.of(found), self._current(found))
        self.client.patch(Deployment, key[1], {"status": status}, key[0], subresource="status")
        if look_again is not None:
            self._loop.mark_after(key, look_again)
