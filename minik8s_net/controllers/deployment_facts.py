"""What a Deployment and its ReplicaSets say of sizes and revisions. Pure."""

from __future__ import annotations

from typing import Any

from ..store.client import Json
from .rollout import bounds

REVISION = "deployment.kubernetes.io/revision"
DESIRED, MAXIMUM = "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas"
HASH = "pod-template-hash"
NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, DESIRED, MAXIMUM}


def limits(found: Any) -> tuple[int, int, int]:
    """(wanted, surge, unavailable); Recreate has neither of the two."""
    wanted = 1 if found.spec.replicas is None else int(found.spec.replicas)
    strategy = found.spec.strategy
    if strategy and strategy.type == "Recreate":
        return wanted, 0, 0
    rolling = strategy.rollingUpdate if strategy else None
    most, least = (rolling.maxSurge, rolling.maxUnavailable) if rolling else (None, None)
    return wanted, *bounds(most, least, wanted)


def template(obj: Any) -> Json:
    """The template without its hash: what makes two versions the same."""
    template: Json = obj.spec.template.to_dict()
    meta = template.get("metadata") or {}
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH}
    return {"labels": labels, "annotations": meta.get("annotations") or {}, "spec": template.get("spec")}


def revision(obj: Any) -> int:
    """The number in the annotation deployment.kubernetes.io/revision, 0 without one."""
    return note(obj, REVISION)


def size(obj: Any) -> int:
    """Wanted replicas of a ReplicaSet."""
    return 1 if obj.spec.replicas is None else int(obj.spec.replicas)


def available(obj: Any) -> int:
    """Available replicas of a ReplicaSet."""
    return (obj.status.availableReplicas if obj.status else 0) or 0


def note(obj: Any, name: str) -> int:
    """A number among the annotations, 0 for none."""
    text = (obj.metadata.annotations or {}).get(name, "0")
    return int(text) if text.isdigit() else 0


def size_notes(found: Any) -> dict[str, str]:
    """What a ReplicaSet remembers of the Deployment that sized it: how else to know that it was scaled since?"""
    wanted, surge, _ = limits(found)
    return {DESIRED: str(wanted), MAXIMUM: str(wanted + surge)}
