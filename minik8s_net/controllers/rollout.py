"""The arithmetic of a rolling update. Pure.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-update-deployment
"""

from __future__ import annotations

import hashlib
import json
import math

from ..store.client import Json
from .common import SUFFIX

Share = int | str | None


def share(value: Share, total: int, *, up: bool) -> int:
    """`25%` of total, rounded up or down; a number as it is."""
    if isinstance(value, str):
        exact = int(value.rstrip("%")) * total / 100
        return math.ceil(exact) if up else math.floor(exact)
    return value or 0


def bounds(max_surge: Share, max_unavailable: Share, total: int) -> tuple[int, int]:
    """(surge, unavailable); not both zero, or nothing could ever move."""
    surge = share("25%" if max_surge is None else max_surge, total, up=True)
    unavailable = share("25%" if max_unavailable is None else max_unavailable, total, up=False)
    return (surge, 1) if surge == 0 and unavailable == 0 else (surge, unavailable)


def new_size(wanted: int, surge: int, new: int, everyone: int) -> int:
    """How large the new ReplicaSet may be, given all replicas there are."""
    if new >= wanted:
        return wanted
    room = wanted + surge - everyone
    return min(wanted, new + max(0, room))


def old_sizes(wanted: int, unavailable: int, new: tuple[int, int], olds: list[tuple[int, int]]) -> list[int]:
    """What is left of the old ReplicaSets. Each is (replicas, available): pods that don't serve go first."""
    sizes = [replicas for replicas, _ in olds]
    everyone = new[0] + sum(sizes)
    floor = wanted - unavailable
    spare = everyone - floor - (new[0] - new[1])
    for index, (replicas, available) in enumerate(olds):
        cut = min(replicas - available, max(0, spare))
        sizes[index] -= cut
        spare -= cut
    serving = new[1] + sum(available for _, available in olds)
    spare = serving - floor
    for index, (_, _available) in enumerate(olds):
        cut = min(sizes[index], max(0, spare))
        sizes[index] -= cut
        spare -= cut
    return sizes


def proportional(wanted: int, surge: int, sets: list[tuple[int, int]]) -> list[int]:
    """Sizes of ReplicaSets when a Deployment is scaled in the middle of a rollout: each keeps its share.

    `sets` are (replicas, the most pods the Deployment could have when it was sized last), newest first. What rounding
    leaves over goes to the largest.
    https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#proportional-scaling
    """
    sizes = [replicas for replicas, _ in sets]
    if not wanted:
        return [0] * len(sets)
    room = wanted + surge - sum(sizes)
    # growing, the newest of equals gets more; shrinking, the oldest of equals loses more
    order = sorted(range(len(sets)), key=lambda i: (-sets[i][0], i if room > 0 else -i))
    left = room
    for index in order:
        replicas, most = sets[index]
        change = math.floor(replicas * (wanted + surge) / (most or sum(sizes) or 1) + 0.5) - replicas
        change = min(change, left) if room > 0 else max(change, left)
        if (room > 0) == (change > 0):
            sizes[index], left = replicas + change, left - change
    if order:
        sizes[order[0]] = max(0, sizes[order[0]] + left)
    return sizes


def template_hash(template: Json) -> str:
    """The value of pod-template-hash: the same template, the same name."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(SUFFIX[byte % len(SUFFIX)] for byte in digest[:10])
