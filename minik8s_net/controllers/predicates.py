"""Does this pod fit on that node, and if not, why, in the scheduler's own words. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from lightkube.models.core_v1 import NodeSelectorTerm, PodAffinityTerm, Taint
from lightkube.resources.core_v1 import Node, Pod

from .common import expression, matches, tolerates

NodePods = Mapping[str, Collection[Pod]]
MAX_PODS = 250


def why_not(pod: Pod, node: Node, nodes: Iterable[Node], around: NodePods) -> str | None:
    """None where the pod fits; `node(s) …` as it appears in FailedScheduling otherwise."""
    assert pod.spec and node.spec and node.metadata
    if node.spec.unschedulable and not _tolerates_cordon(pod):
        return "node(s) were unschedulable"
    if taint := _untolerated(pod, node):
        return f"node(s) had untolerated taint {{{taint.key}: {taint.value or ''}}}"
    if not fits_selector(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    if len(around.get(node.metadata.name or "", ())) >= MAX_PODS:
        return "Too many pods"
    if not _ports_free(pod, around.get(node.metadata.name or "", ())):
        return "node(s) didn't have free ports for the requested pod ports"
    return _pod_affinity(pod, node, nodes, around)


def tolerates_taints(pod: Pod, node: Node) -> bool:
    """Whether a pod may be placed in spite of these taints."""
    return _untolerated(pod, node) is None


def _untolerated(pod: Pod, node: Node) -> Taint | None:
    assert pod.spec
    for taint in (node.spec.taints if node.spec else None) or ():
        if taint.key == "node.kubernetes.io/unschedulable":
            continue  # spec.unschedulable speaks for it
        if taint.effect in ("NoSchedule", "NoExecute") and not tolerates(pod.spec.tolerations, taint):
            return taint
    return None


def _tolerates_cordon(pod: Pod) -> bool:
    taint = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
    return tolerates(pod.spec.tolerations if pod.spec else None, taint)


def fits_selector(pod: Pod, node: Node) -> bool:
    """nodeSelector and required node affinity."""
    assert pod.spec and node.metadata
    labels = node.metadata.labels or {}
    if any(labels.get(k) != v for k, v in (pod.spec.nodeSelector or {}).items()):
        return False
    affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    return required is None or any(_term(term, node) for term in required.nodeSelectorTerms)


def _term(term: NodeSelectorTerm, node: Node) -> bool:
    assert node.metadata
    if not term.matchExpressions and not term.matchFields:
        return False
    labels = node.metadata.labels or {}
    fields = {"metadata.name": node.metadata.name or ""}
    return all(expression(labels, e.key, e.operator, e.values or []) for e in term.matchExpressions or ()) and all(
        expression(fields, e.key, e.operator, e.values or []) for e in term.matchFields or ()
    )


def _ports_free(pod: Pod, neighbours: Iterable[Pod]) -> bool:
    wanted = _host_ports(pod)
    return not wanted or not any(wanted & _host_ports(other) for other in neighbours)


def _host_ports(pod: Pod) -> set[tuple[str, int]]:
    ports = [p for c in (pod.spec.containers if pod.spec else ()) for p in c.ports or ()]
    return {(p.protocol or "TCP", p.hostPort) for p in ports if p.hostPort}


def _pod_affinity(pod: Pod, node: Node, nodes: Iterable[Node], around: NodePods) -> str | None:
    affinity = pod.spec.affinity if pod.spec else None
    if affinity is None:
        return None
    everywhere = list(nodes)
    for term in _required(affinity.podAffinity):
        if not _neighbours(pod, term, node, everywhere, around) and not _first_of_its_kind(pod, term, around):
            return "node(s) didn't match pod affinity rules"
    for term in _required(affinity.podAntiAffinity):
        if _neighbours(pod, term, node, everywhere, around):
            return "node(s) didn't match pod anti-affinity rules"
    return None


def _required(rules: Any) -> list[PodAffinityTerm]:
    return (rules.requiredDuringSchedulingIgnoredDuringExecution if rules else None) or []


def _selected(pod: Pod, term: PodAffinityTerm, other: Pod) -> bool:
    assert pod.metadata and other.metadata
    allowed = term.namespaces or [pod.metadata.namespace or ""]
    if (term.namespaces or term.namespaceSelector is None) and other.metadata.namespace not in allowed:
        return False
    return matches(term.labelSelector, other.metadata.labels)


def _neighbours(pod: Pod, term: PodAffinityTerm, node: Node, nodes: list[Node], around: NodePods) -> bool:
    """Is a pod the term selects in the same topology domain as `node`?"""
    where = ((node.metadata.labels if node.metadata else None) or {}).get(term.topologyKey)
    if where is None:
        return False
    domain = [n for n in nodes if ((n.metadata.labels if n.metadata else None) or {}).get(term.topologyKey) == where]
    return any(
        _selected(pod, term, o) for n in domain for o in around.get((n.metadata.name if n.metadata else "") or "", ())
    )


def _first_of_its_kind(pod: Pod, term: PodAffinityTerm, around: NodePods) -> bool:
    """A pod that its own affinity selects may be the first."""
    return _selected(pod, term, pod) and not any(_selected(pod, term, o) for pods in around.values() for o in pods)


def prefers(pod: Pod, node: Node, nodes: Iterable[Node], around: NodePods) -> int:
    """The weights of all preferences that the node satisfies."""
    affinity = pod.spec.affinity if pod.spec else None
    if affinity is None:
        return 0
    score, everywhere = 0, list(nodes)
    for sign, rules in ((1, affinity.podAffinity), (-1, affinity.podAntiAffinity)):
        for entry in (rules.preferredDuringSchedulingIgnoredDuringExecution if rules else None) or ():
            if _neighbours(pod, entry.podAffinityTerm, node, everywhere, around):
                score += sign * entry.weight
    own = affinity.nodeAffinity
    for preference in (own.preferredDuringSchedulingIgnoredDuringExecution if own else None) or ():
        if _term(preference.preference, node):
            score += preference.weight
    return score
