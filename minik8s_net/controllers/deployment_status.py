"""A Deployment's status: how many pods there are, and how the rollout goes. Pure.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status
"""

from __future__ import annotations

import time
from typing import Any

from ..store.client import Json
from ..store.events import timestamp
from .common import condition, epoch
from .deployment_facts import available, limits

PROGRESS_DEADLINE = 600  # seconds


def deployment_status(found: Any, sets: list[Any], new: Any) -> tuple[Json, float | None]:
    """The status, and in how many seconds to look again whether the rollout still moves (None: no need)."""
    wanted, _, unavailable = limits(found)
    total = sum((s.status.replicas if s.status else 0) or 0 for s in sets)
    serving = sum(available(s) for s in sets)
    updated = ((new.status.replicas if new.status else 0) or 0) if new is not None else 0
    ready = sum((s.status.readyReplicas if s.status else 0) or 0 for s in sets)
    status: Json = {
        "observedGeneration": found.metadata.generation,
        "replicas": total or None,
        "updatedReplicas": updated or None,
        "readyReplicas": ready or None,
        "availableReplicas": serving or None,
        "unavailableReplicas": max(0, max(total, wanted) - serving) or None,
    }
    done = updated == wanted and total == wanted and serving == wanted
    progress, look_again = _progress(found, new, done, status)
    entries = [_availability(serving >= wanted - unavailable), progress]
    status["conditions"] = _timed(found, [e for e in entries if e])
    return status, look_again


def _progress(found: Any, new: Any, done: bool, status: Json) -> tuple[Json | None, float | None]:
    old = condition(found, "Progressing")
    if found.spec.paused:
        return _condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused"), None
    if new is None:
        return (old.to_dict() if old is not None else None), None
    name = new.metadata.name
    if done:
        text = f'ReplicaSet "{name}" has successfully progressed.'
        return _condition("Progressing", "True", "NewReplicaSetAvailable", text), None
    limit = found.spec.progressDeadlineSeconds or PROGRESS_DEADLINE
    before = found.status.to_dict() if found.status else {}
    moved = any(before.get(k) != status[k] for k in ("updatedReplicas", "availableReplicas", "replicas"))
    began = old is not None and old.reason in ("ReplicaSetUpdated", "ProgressDeadlineExceeded")
    if began and not moved:
        if old.reason == "ProgressDeadlineExceeded":
            return old.to_dict(), None
        left = epoch(old.lastUpdateTime) + limit - time.time()
        if left < 0:
            text = f'ReplicaSet "{name}" has timed out progressing.'
            return _condition("Progressing", "False", "ProgressDeadlineExceeded", text), None
    else:
        left = float(limit)
    entry = _condition("Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
    return {**entry, "moved": moved}, left + 1


def _condition(kind: str, status: str, reason: str, message: str) -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _availability(enough: bool) -> Json:
    if enough:
        text = "Deployment has minimum availability."
        return _condition("Available", "True", "MinimumReplicasAvailable", text)
    return _condition(
        "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
    )


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
