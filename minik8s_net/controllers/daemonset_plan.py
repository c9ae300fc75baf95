"""Which nodes get a pod of a DaemonSet next, and which pods go. Pure.

First every node is brought to what it should have (`upkeep`); only when nothing is left to do there, the update of the
template takes its next step (`update`).
https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.resources.core_v1 import Node, Pod

from .common import is_available, is_finished, is_ready, tolerates
from .predicates import fits_selector
from .rollout import share

HASH = "controller-revision-hash"
TOLERATED = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)


@dataclass
class Plan:
    """Names of nodes to create a pod for, pods to delete."""

    create: list[str] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """A node, whether it should get a pod, and whether one that is there may stay."""

    runs: bool
    stays: bool
    pods: list[Pod]

    def staying(self) -> list[Pod]:
        """Those that are not being deleted, the oldest bound one first."""
        here = [p for p in self.pods if p.metadata and p.metadata.deletionTimestamp is None]
        return sorted(here, key=lambda p: not (p.spec and p.spec.nodeName))  # `pods` are sorted by age


def places(found: Any, nodes: Iterable[Node], pods: Iterable[Pod]) -> tuple[dict[str, Place], list[Pod]]:
    """Every node with its pods, and the pods whose node is gone."""
    by_node: dict[str, list[Pod]] = {}
    for pod in pods:
        if not (is_finished(pod) and pod.metadata and pod.metadata.deletionTimestamp):  # only a finalizer holds it
            by_node.setdefault(node_of(pod), []).append(pod)
    result = {}
    for node in nodes:
        name = (node.metadata.name if node.metadata else "") or ""
        result[name] = Place(*belongs(found, node), by_node.pop(name, []))
    return result, [p for left in by_node.values() for p in left]


def plan(found: Any, where: Mapping[str, Place], version: str) -> Plan:
    """The next step. `version` is the hash of the newest template."""
    todo = upkeep(found, where, version)
    if todo.create or todo.delete or not _rolls(found):
        return todo
    surge, _ = limits(found, where)
    return _surge(found, where, version, surge) if surge else _replace(found, where, version)


def upkeep(found: Any, where: Mapping[str, Place], version: str) -> Plan:
    """One pod on each node that should have one (two while an update surges), none where none may stay."""
    todo, surges = Plan(), bool(limits(found, where)[0])
    for name, place in where.items():
        if not place.stays:
            todo.delete += place.staying()
        elif not place.pods:
            todo.create += [name] if place.runs else []
        else:
            alive = [p for p in place.staying() if not is_finished(p)]
            todo.delete += [p for p in place.staying() if is_finished(p)]
            if not surges:
                todo.delete += alive[1:]
            elif alive:
                todo.delete += _beyond_two(found, alive, version)
            elif place.runs:
                todo.create.append(name)  # it surges: a pod on its way out need not be waited for
    return todo


def _beyond_two(found: Any, alive: list[Pod], version: str) -> list[Pod]:
    """Of several pods on a node: an old one stays beside the new one as long as it is ready and the new one is not."""
    new = [p for p in alive if version_of(p) == version]
    old = [p for p in alive if version_of(p) != version]
    extra = [*new[1:], *old[1:]]
    if new and old and (not is_ready(old[0]) or _available(found, new[0])):
        extra.append(old[0])
    return extra


def _replace(found: Any, where: Mapping[str, Place], version: str) -> Plan:
    """Delete old pods, which upkeep replaces: those that are not available, and others up to maxUnavailable."""
    _, most = limits(found, where)
    unavailable, at_fault, candidates = 0, [], []
    for place in where.values():
        here = place.staying()
        if not place.runs and not here:
            continue
        if len(here) != 1 or not _available(found, here[0]):
            unavailable += 1
            at_fault += [p for p in here if version_of(p) != version] if len(here) == 1 else []
        elif version_of(here[0]) != version:
            candidates.append(here[0])
    return Plan(delete=[*at_fault, *candidates[: max(0, most - unavailable)]])


def _surge(found: Any, where: Mapping[str, Place], version: str, most: int) -> Plan:
    """New pods beside old ones, at most maxSurge at a time; an old one goes when the new one is available.

    Where an old pod is not available, nothing is lost by starting the new one: that does not count. An old pod on a
    node that should have none any more stays until enough pods are available elsewhere.
    """
    todo, surging, available = Plan(), 0, 0
    candidates: list[tuple[str, Pod]] = []
    leaving: list[tuple[str, Pod]] = []
    for name, place in where.items():
        new = [p for p in place.staying() if version_of(p) == version]
        old = [p for p in place.staying() if version_of(p) != version]
        available += any(_available(found, p) for p in (old or new)[:1])
        if not old:
            continue
        if new:
            if _available(found, new[0]):
                todo.delete.append(old[0])
            else:
                surging += 1
        elif _available(found, old[0]):
            (candidates if place.runs else leaving).append((name, old[0]))
        elif place.runs:
            todo.create.append(name)
        else:
            todo.delete.append(old[0])
    wanted = sum(place.runs for place in where.values())
    todo.delete += [pod for _, pod in leaving[: max(0, available - wanted)]]
    todo.create += [name for name, _ in candidates[: max(0, most - surging)]]
    return todo


def limits(found: Any, where: Mapping[str, Place]) -> tuple[int, int]:
    """(maxSurge, maxUnavailable), of the nodes that should have a pod; percentages round up, and not both are zero."""
    rolling = found.spec.updateStrategy.rollingUpdate if found.spec.updateStrategy else None
    total = sum(place.runs for place in where.values())
    surge = share(rolling.maxSurge if rolling else 0, total, up=True)
    missing = rolling.maxUnavailable if rolling and rolling.maxUnavailable is not None else 1
    unavailable = share(missing, total, up=True)
    return (surge if _rolls(found) else 0), (unavailable if surge or unavailable else 1)


def counts(found: Any, where: Mapping[str, Place], version: str) -> dict[str, Any]:
    """The status' numbers: of each node's pods the oldest counts."""
    wanted = [place for place in where.values() if place.runs]
    pods = [p for place in wanted if (p := _shown(place))]
    available = sum(_available(found, p) for p in pods)
    updated = sum(version_of(p) == version for p in pods)
    return {
        "currentNumberScheduled": len(pods),
        "desiredNumberScheduled": len(wanted),
        "numberMisscheduled": sum(bool(place.pods) for place in where.values() if not place.runs),
        "numberReady": sum(map(is_ready, pods)),
        "updatedNumberScheduled": updated or None,
        "numberAvailable": available or None,
        "numberUnavailable": max(0, len(wanted) - available) or None,
    }


def _shown(place: Place) -> Pod | None:
    return next(iter([*place.staying(), *(p for p in place.pods if not is_finished(p))]), None)


def belongs(found: Any, node: Node) -> tuple[bool, bool]:
    """(should a pod of the template run there, may one that is there stay): NoSchedule alone drives nobody away.

    Cordons and a node's troubles don't count.
    """
    template: PodTemplateSpec = found.spec.template
    pod = Pod(metadata=template.metadata, spec=template.spec)
    if not fits_selector(pod, node):
        return False, False
    tolerations = list((template.spec.tolerations if template.spec else None) or ())
    ours = {f"node.kubernetes.io/{key}" for key, _ in TOLERATED}
    taints = [t for t in (node.spec.taints if node.spec else None) or () if t.key not in ours]
    effects = {t.effect for t in taints if not tolerates(tolerations, t)}
    return not effects & {"NoSchedule", "NoExecute"}, "NoExecute" not in effects


def node_of(pod: Pod) -> str:
    """The node a daemon pod is for, also before it is bound."""
    assert pod.spec
    if pod.spec.nodeName:
        return pod.spec.nodeName
    affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    for term in required.nodeSelectorTerms if required else ():
        for requirement in term.matchFields or ():
            if requirement.values:
                return requirement.values[0]
    return ""


def version_of(pod: Pod) -> str:
    """The hash of the template that a pod was made of."""
    labels: dict[str, str] = (pod.metadata.labels if pod.metadata else None) or {}
    return labels.get(HASH, "")


def _available(found: Any, pod: Pod) -> bool:
    return is_available(pod, found.spec.minReadySeconds or 0)


def _rolls(found: Any) -> bool:
    return not found.spec.updateStrategy or found.spec.updateStrategy.type != "OnDelete"
