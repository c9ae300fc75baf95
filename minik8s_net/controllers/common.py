"""What several controllers need to know of objects: owners, selectors, a pod's condition.

https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lightkube.models.core_v1 import Taint, Toleration
from lightkube.models.meta_v1 import LabelSelector, OwnerReference
from lightkube.resources.core_v1 import Node, Pod

from ..store.client import Json

Object = Any  # a lightkube resource instance: they share no base class that knows `metadata`
SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, no look-alikes: apimachinery's util/rand


def random_suffix(length: int = 5) -> str:
    """`length` letters and digits, as generateName appends them."""
    return "".join(secrets.choice(SUFFIX) for _ in range(length))


def ref(obj: Object) -> Json:
    """The controller owner reference that `obj`'s children carry."""
    info = type(obj)._api_info.resource
    return {
        "apiVersion": info.api_version,
        "kind": info.kind,
        "name": obj.metadata.name,
        "uid": obj.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(obj: Object) -> OwnerReference | None:
    """The owner reference that controls an object, None if nobody does."""
    for owner in obj.metadata.ownerReferences or ():
        if owner.controller:
            return owner  # type: ignore[no-any-return]
    return None


def matches(selector: LabelSelector | None, labels: Mapping[str, str] | None) -> bool:
    """metav1.LabelSelector: None selects nothing, {} everything."""
    if selector is None:
        return False
    have = labels or {}
    if any(have.get(key) != value for key, value in (selector.matchLabels or {}).items()):
        return False
    return all(expression(have, e.key, e.operator, e.values or []) for e in selector.matchExpressions or ())


def expression(have: Mapping[str, str], key: str, operator: str, values: list[str]) -> bool:
    """One requirement of a label selector or a node selector (which knows Gt and Lt too)."""
    value = have.get(key)
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    try:
        left, right = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else left < right


def condition(obj: Object, kind: str) -> Any:
    """The condition of that type, None if there is none."""
    for entry in (obj.status.conditions if obj.status else None) or ():
        if entry.type == kind:
            return entry
    return None


def is_ready(pod: Pod) -> bool:
    """Whether a pod's condition Ready is True."""
    ready = condition(pod, "Ready")
    return ready is not None and ready.status == "True"


def is_available(pod: Pod, min_ready_seconds: int, now: float | None = None) -> bool:
    """Ready for at least `min_ready_seconds`."""
    ready = condition(pod, "Ready")
    if ready is None or ready.status != "True":
        return False
    since = epoch(ready.lastTransitionTime)
    return not min_ready_seconds or since + min_ready_seconds <= (time.time() if now is None else now)


def phase(pod: Pod) -> str:
    """A pod's phase; Pending where there is no status yet."""
    return (pod.status.phase if pod.status else None) or "Pending"


def is_finished(pod: Pod) -> bool:
    """Whether a pod has Succeeded or Failed."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Pod) -> bool:
    """Counts towards replicas: neither finished nor being deleted."""
    return not is_finished(pod) and pod.metadata.deletionTimestamp is None  # type: ignore[union-attr]


def epoch(moment: datetime | str | None) -> float:
    """A typed Time as seconds since the epoch (0.0 for none)."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.timestamp() if moment else 0.0


def node_is_ready(node: Node) -> bool:
    """Whether a node's condition Ready is True."""
    ready = condition(node, "Ready")
    return ready is not None and ready.status == "True"


def tolerates(tolerations: list[Toleration] | None, taint: Taint) -> bool:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"""
    for toleration in tolerations or ():
        if toleration.effect and toleration.effect != taint.effect:
            continue
        if toleration.key and toleration.key != taint.key:
            continue
        if toleration.operator == "Exists" or (toleration.key and (toleration.value or "") == (taint.value or "")):
            return True
    return False
