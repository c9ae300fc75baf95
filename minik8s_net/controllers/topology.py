"""Spreading: topologySpreadConstraints, and the rule without them that the pods of one Service or owner go apart. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from lightkube.models.core_v1 import TopologySpreadConstraint
from lightkube.resources.core_v1 import Node, Pod, Service

from .common import controller_of, matches
from .predicates import NodePods, fits_selector, tolerates_taints

UNMET = "node(s) didn't match pod topology spread constraints"


def breaks_spread(pod: Pod, node: Node, nodes: Iterable[Node], around: NodePods) -> str | None:
    """None where every DoNotSchedule constraint would still hold with the pod on that node."""
    for constraint in _constraints(pod, "DoNotSchedule"):
        domain = _labels(node).get(constraint.topologyKey)
        if domain is None:
            return f"{UNMET} (missing required label)"
        counts = _counts(pod, constraint, nodes, around)
        least = min(counts.values(), default=0)
        if constraint.minDomains and len(counts) < constraint.minDomains:
            least = 0
        itself = matches(constraint.labelSelector, pod.metadata.labels if pod.metadata else None)
        if counts.get(domain, 0) + int(itself) - least > constraint.maxSkew:
            return UNMET
    return None


def crowding(pod: Pod, node: Node, nodes: Iterable[Node], around: NodePods) -> int:
    """How many pods the ScheduleAnyway constraints would rather not have in this node's domains."""
    total = 0
    for constraint in _constraints(pod, "ScheduleAnyway"):
        counts = _counts(pod, constraint, nodes, around)
        total += counts.get(_labels(node).get(constraint.topologyKey, ""), 0)
    return total


def siblings(pod: Pod, there: Collection[Pod], services: Iterable[Service]) -> int:
    """How many of the pods belong to the same owner or to a Service that selects this pod too; leavers don't count."""
    owner, meta = controller_of(pod), pod.metadata
    assert meta
    mine = meta.labels or {}
    selectors = [s.spec.selector for s in services if s.spec and s.spec.selector]
    shared = [wanted for wanted in selectors if wanted.items() <= mine.items()]
    count = 0
    for other in there:
        its = other.metadata
        if its is None or its.deletionTimestamp is not None or its.namespace != meta.namespace:
            continue
        other_owner = controller_of(other)
        same = owner is not None and other_owner is not None and other_owner.uid == owner.uid
        count += same or any(wanted.items() <= (its.labels or {}).items() for wanted in shared)
    return count


def _constraints(pod: Pod, when: str) -> list[TopologySpreadConstraint]:
    found = (pod.spec.topologySpreadConstraints if pod.spec else None) or ()
    return [c for c in found if c.whenUnsatisfiable == when]


def _counts(pod: Pod, constraint: TopologySpreadConstraint, nodes: Iterable[Node], around: NodePods) -> dict[str, int]:
    """Matching pods per topology domain, over the nodes that count for this pod."""
    counts: dict[str, int] = {}
    for node in nodes:
        domain = _labels(node).get(constraint.topologyKey)
        if domain is None or not _counts_for(pod, constraint, node):
            continue
        here = around.get((node.metadata.name if node.metadata else "") or "", ())
        counts[domain] = counts.get(domain, 0) + sum(_selected(pod, constraint, other) for other in here)
    return counts


def _counts_for(pod: Pod, constraint: TopologySpreadConstraint, node: Node) -> bool:
    if constraint.nodeAffinityPolicy != "Ignore" and not fits_selector(pod, node):
        return False
    return constraint.nodeTaintsPolicy != "Honor" or tolerates_taints(pod, node)


def _selected(pod: Pod, constraint: TopologySpreadConstraint, other: Pod) -> bool:
    mine, its = pod.metadata, other.metadata
    assert mine and its
    if its.namespace != mine.namespace or its.deletionTimestamp is not None:
        return False
    keys = constraint.matchLabelKeys or ()
    here: dict[str, Any] = mine.labels or {}
    if any((its.labels or {}).get(key) != here[key] for key in keys if key in here):
        return False
    return matches(constraint.labelSelector, its.labels)


def _labels(node: Node) -> dict[str, str]:
    return (node.metadata.labels if node.metadata else None) or {}
