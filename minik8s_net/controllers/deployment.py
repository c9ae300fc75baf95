"""Deployments: a ReplicaSet for each version of the template, and the walk from one to the next.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/
"""

from __future__ import annotations

import time
from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from ..api.errors import StatusError
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder, timestamp
from .children import Children, Key, adopt
from .common import condition, epoch, ref
from .rollout import bounds, new_size, old_sizes, template_hash

REVISION = "deployment.kubernetes.io/revision"
DESIRED, MAXIMUM = "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas"
HASH = "pod-template-hash"
NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, DESIRED, MAXIMUM}


class DeploymentController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "deployment-controller")
        self._loop: Reconciler[Key] = Reconciler("deployment", self._reconcile)
        self._sets = Children(client, ReplicaSet, "Deployment", self._loop.mark)

    async def run(self) -> None:
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
            labels = found.spec.selector.matchLabels or {}
            adopt(
                self.client,
                ReplicaSet,
                found,
                found.spec.selector,
                self.client.list(ReplicaSet, key[0], labels),
            )
            new = self._current(found)
            if new is None and not found.spec.paused:
                new = self._create(found)
            if new is not None:
                self._revise(found, new)
            self._scale(found, new)
        self._write_status(found)

    # -- the ReplicaSet of the present template ----------------------------------------------------------------------
    def _current(self, found: Any) -> Any:
        wanted = _template(found)
        return next((s for s in self._sets.of(found) if _template(s) == wanted), None)

    def _create(self, found: Any) -> Any:
        template = found.spec.template.to_dict()
        name_hash = template_hash(
            {"template": template, "collisions": (found.status and found.status.collisionCount) or 0}
        )
        template["metadata"] = {**(template.get("metadata") or {})}
        template["metadata"]["labels"] = {**(template["metadata"].get("labels") or {}), HASH: name_hash}
        selector = found.spec.selector.to_dict()
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: name_hash}
        tree = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{found.metadata.name}-{name_hash}",
                "namespace": found.metadata.namespace,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [ref(found)],
            },
            "spec": {
                "replicas": 0,
                "minReadySeconds": found.spec.minReadySeconds or 0,
                "selector": selector,
                "template": template,
            },
        }
        try:
            return self.client.create(ReplicaSet, tree)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            patch = {"status": {"collisionCount": ((found.status and found.status.collisionCount) or 0) + 1}}
            self.client.patch(Deployment, found.metadata.name, patch, found.metadata.namespace, subresource="status")
            raise

    def _revise(self, found: Any, new: Any) -> None:
        """The newest template has the highest revision, also when it is an old one come back (rollout undo)."""
        others = [_revision(s) for s in self._sets.of(found) if s.metadata.uid != new.metadata.uid]
        number = max([_revision(new), *(r + 1 for r in others), 1])
        copied = {k: v for k, v in (found.metadata.annotations or {}).items() if k not in NOT_COPIED}
        annotations = {**copied, REVISION: str(number), **self._size_notes(found)}
        namespace = found.metadata.namespace
        self.client.patch(ReplicaSet, new.metadata.name, {"metadata": {"annotations": annotations}}, namespace)
        own = {"metadata": {"annotations": {REVISION: str(number)}}}
        self.client.patch(Deployment, found.metadata.name, own, namespace)

    def _size_notes(self, found: Any) -> dict[str, str]:
        wanted, surge, _ = _limits(found)
        return {DESIRED: str(wanted), MAXIMUM: str(wanted + surge)}

    # -- sizes ---------------------------------------------------------------------------------------------------
    def _scale(self, found: Any, new: Any) -> None:
        sets = self._sets.of(found)
        wanted, surge, unavailable = _limits(found)
        olds = [s for s in sets if new is None or s.metadata.uid != new.metadata.uid]
        if found.spec.paused or new is None:
            target = new or max(sets, key=_revision, default=None)
            if target is not None and not [s for s in sets if s is not target and _size(s)]:
                self._resize(found, target, wanted)
            return
        new = self.client.get(ReplicaSet, new.metadata.name, new.metadata.namespace)
        if found.spec.strategy and found.spec.strategy.type == "Recreate":
            for old in olds:
                self._resize(found, old, 0)
            if not any(
                (s.status and s.status.replicas) or _size(s)
                for s in self._sets.of(found)
                if s.metadata.uid != new.metadata.uid
            ):
                self._resize(found, new, wanted)
        else:
            everyone = sum(_size(s) for s in olds) + _size(new)
            self._resize(found, new, new_size(wanted, surge, _size(new), everyone))
            now = self.client.get(ReplicaSet, new.metadata.name, new.metadata.namespace)
            measured = [(_size(s), min(_size(s), _available(s))) for s in olds]
            sizes = old_sizes(wanted, unavailable, (_size(now), min(_size(now), _available(now))), measured)
            for old, size in zip(olds, sizes, strict=True):
                self._resize(found, old, size)
        self._clean_up(found, new)

    def _resize(self, found: Any, target: Any, size: int) -> None:
        before = _size(target)
        if before == size:
            return
        patch = {"metadata": {"annotations": self._size_notes(found)}, "spec": {"replicas": size}}
        self.client.patch(ReplicaSet, target.metadata.name, patch, target.metadata.namespace)
        way = "up" if size > before else "down"
        text = f"Scaled {way} replica set {target.metadata.name} from {before} to {size}"
        self.events.normal(found, "ScalingReplicaSet", text)

    def _clean_up(self, found: Any, new: Any) -> None:
        """Old, empty ReplicaSets beyond the history limit go."""
        limit = 10 if found.spec.revisionHistoryLimit is None else found.spec.revisionHistoryLimit
        empty = [
            s
            for s in self._sets.of(found)
            if s.metadata.uid != new.metadata.uid and not _size(s) and not (s.status and s.status.replicas)
        ]
        for old in sorted(empty, key=_revision)[: max(0, len(empty) - limit)]:
            self.client.delete(ReplicaSet, old.metadata.name, old.metadata.namespace)

    # -- status --------------------------------------------------------------------------------------------------
    def _write_status(self, found: Any) -> None:
        found = self.client.find(Deployment, found.metadata.name, found.metadata.namespace)
        if found is None:
            return
        sets, new = self._sets.of(found), self._current(found)
        wanted, _, unavailable = _limits(found)
        total = sum((s.status.replicas if s.status else 0) or 0 for s in sets)
        available = sum(_available(s) for s in sets)
        updated = ((new.status.replicas if new.status else 0) or 0) if new is not None else 0
        ready = sum((s.status.readyReplicas if s.status else 0) or 0 for s in sets)
        status: Json = {
            "observedGeneration": found.metadata.generation,
            "replicas": total or None,
            "updatedReplicas": updated or None,
            "readyReplicas": ready or None,
            "availableReplicas": available or None,
            "unavailableReplicas": max(0, max(total, wanted) - available) or None,
        }
        done = updated == wanted and total == wanted and available == wanted
        entries = [_availability(available >= wanted - unavailable), self._progress(found, new, done, status)]
        status["conditions"] = _timed(found, [e for e in entries if e])
        self.client.patch(
            Deployment,
            found.metadata.name,
            {"status": status},
            found.metadata.namespace,
            subresource="status",
        )

    def _progress(self, found: Any, new: Any, done: bool, status: Json) -> Json | None:
        old = condition(found, "Progressing")
        if found.spec.paused:
            return {
                "type": "Progressing",
                "status": "Unknown",
                "reason": "DeploymentPaused",
                "message": "Deployment is paused",
            }
        if new is None:
            return old.to_dict() if old is not None else None
        name = new.metadata.name
        if done:
            text = f'ReplicaSet "{name}" has successfully progressed.'
            return {
                "type": "Progressing",
                "status": "True",
                "reason": "NewReplicaSetAvailable",
                "message": text,
            }
        limit = found.spec.progressDeadlineSeconds or 600
        before = found.status.to_dict() if found.status else {}
        moved = any(before.get(k) != status[k] for k in ("updatedReplicas", "availableReplicas", "replicas"))
        since = epoch(old.lastUpdateTime) if old is not None else time.time()
        expired = old is not None and old.reason in ("ReplicaSetUpdated", "ProgressDeadlineExceeded")
        key = (found.metadata.namespace, found.metadata.name)
        if not moved and expired and old.reason == "ProgressDeadlineExceeded":
            return old.to_dict()  # type: ignore[no-any-return]
        if not moved and expired and time.time() - since > limit:
            text = f'ReplicaSet "{name}" has timed out progressing.'
            return {
                "type": "Progressing",
                "status": "False",
                "reason": "ProgressDeadlineExceeded",
                "message": text,
            }
        if moved or not expired:
            self._loop.mark_after(key, limit + 1)
        entry: Json = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
        return {**entry, "message": f'ReplicaSet "{name}" is progressing.', "moved": moved}


def _availability(enough: bool) -> Json:
    if enough:
        text = "Deployment has minimum availability."
        return {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": text}
    text = "Deployment does not have minimum availability."
    return {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": text}


def _timed(found: Any, entries: list[Json]) -> list[Json]:
    now, result = timestamp(), []
    for entry in entries:
        was = condition(found, entry["type"])
        old = was.to_dict() if was is not None else {}
        moved = entry.pop("moved", False)
        said = all(old.get(k) == entry.get(k) for k in ("status", "reason", "message"))
        entry["lastUpdateTime"] = old["lastUpdateTime"] if said and not moved and "lastUpdateTime" in old else now
        same = old.get("status") == entry["status"] and "lastTransitionTime" in old
        entry["lastTransitionTime"] = old["lastTransitionTime"] if same else now
        result.append(entry)
    return result


def _limits(found: Any) -> tuple[int, int, int]:
    """(wanted, surge, unavailable); Recreate has neither of the two."""
    wanted = 1 if found.spec.replicas is None else int(found.spec.replicas)
    strategy = found.spec.strategy
    if strategy and strategy.type == "Recreate":
        return wanted, 0, 0
    rolling = strategy.rollingUpdate if strategy else None
    return (
        wanted,
        *bounds(rolling.maxSurge if rolling else None, rolling.maxUnavailable if rolling else None, wanted),
    )


def _template(obj: Any) -> Json:
    """The template without its hash: what makes two versions the same."""
    template: Json = obj.spec.template.to_dict()
    meta = template.get("metadata") or {}
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH}
    return {"labels": labels, "annotations": meta.get("annotations") or {}, "spec": template.get("spec")}


def _revision(obj: Any) -> int:
    text = (obj.metadata.annotations or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _size(obj: Any) -> int:
    return 1 if obj.spec.replicas is None else int(obj.spec.replicas)


def _available(obj: Any) -> int:
    return (obj.status.availableReplicas if obj.status else 0) or 0
