"""Which pods of a StatefulSet to create and which to delete next. Pure.

OrderedReady takes one step at a time: each pod waits until those before it are available, so that a broken image is
left only when somebody deletes the broken pod. Parallel creates and deletes all at once, and leaves a broken image by
itself; an update replaces one pod after the other under both policies.
https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#deployment-and-scaling-guarantees
https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from lightkube.resources.core_v1 import Pod

from .common import Object, is_available, is_finished, is_ready, phase

HASH = "controller-revision-hash"


@dataclass(frozen=True)
class Plan:
    """Ordinals of pods to create, pods to delete."""

    create: list[int] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)


def plan(found: Any, pods: list[Pod], version: str) -> Plan:
    """The next step towards the wanted pods, of which `version` is the newest revision."""
    todo = Plan()
    begin = first(found)
    wanted = range(begin, begin + replicas(found))
    known = {ordinal(p): p for p in pods if ordinal(p) >= 0}
    condemned = [known[i] for i in sorted(known, reverse=True) if i not in wanted]
    if found.spec.podManagementPolicy == "Parallel":
        for index in wanted:
            if index not in known:
                todo.create.append(index)
            elif is_finished(known[index]):
                todo.delete.append(known[index])
        todo.delete.extend(condemned)
    else:
        for index in wanted:
            pod = known.get(index)
            if pod is None:
                return Plan(create=[index])
            if is_finished(pod):
                return Plan(delete=[pod])
            if not is_steady(found, pod):
                return todo  # not even one of another revision is replaced before it is available
        if condemned:
            return Plan(delete=_last_of(found, condemned))
    outdated = _outdated(found, known, wanted, version)
    if outdated is not None and outdated not in todo.delete:
        todo.delete.append(outdated)
    return todo


def _last_of(found: Any, condemned: list[Pod]) -> list[Pod]:
    """The pod with the highest ordinal, if it may go: it is available, or no pod before it is at fault."""
    last = condemned[0]
    faulty = [p for p in reversed(condemned) if not is_steady(found, p)]
    if last.metadata and last.metadata.deletionTimestamp:
        return []
    return [last] if is_steady(found, last) or faulty[0] is last else []


def _outdated(found: Any, known: dict[int, Pod], wanted: range, version: str) -> Pod | None:
    """The pod that the update replaces next: from the last, and none while the one after it is not available yet."""
    strategy = found.spec.updateStrategy
    if strategy and strategy.type == "OnDelete":
        return None
    lowest = wanted.start + partition(found)
    for index in reversed([i for i in wanted if i >= lowest]):
        pod = known.get(index)
        if pod is None:
            return None
        assert pod.metadata
        if revision_of(pod) != version and not pod.metadata.deletionTimestamp:
            return pod
        if not is_steady(found, pod):
            return None
    return None


def is_steady(found: Any, pod: Pod) -> bool:
    """Running, available, and there to stay."""
    assert pod.metadata
    running = phase(pod) == "Running" and is_available(pod, found.spec.minReadySeconds or 0)
    return running and pod.metadata.deletionTimestamp is None


def keeps_revision(found: Any, index: int) -> bool:
    """Pods below the partition stay at the revision before the update, also when they are made anew."""
    return index < first(found) + partition(found)


def counts(found: Any, pods: list[Pod], old: str, version: str) -> dict[str, Any]:
    """The status' numbers. The update is complete, and `version` current, when every wanted pod is new and ready."""
    staying = [p for p in pods if p.metadata and p.metadata.deletionTimestamp is None]
    running = [p for p in pods if phase(p) == "Running" and is_ready(p)]
    updated = sum(revision_of(p) == version for p in staying)
    strategy, wanted = found.spec.updateStrategy, replicas(found)
    rolling = not strategy or strategy.type != "OnDelete"
    current = version if rolling and updated == len(running) == len(pods) == wanted else old
    return {
        "replicas": len(pods),
        "readyReplicas": len(running) or None,
        "availableReplicas": sum(is_available(p, found.spec.minReadySeconds or 0) for p in running),
        "updatedReplicas": updated or None,
        "currentReplicas": sum(revision_of(p) == current for p in staying) or None,
        "currentRevision": current,
        "updateRevision": version,
    }


def ordinal(pod: Pod) -> int:
    """2 for the pod `db-2`, -1 for one that has none."""
    match = re.search(r"-([0-9]+)$", (pod.metadata.name if pod.metadata else "") or "")
    return int(match[1]) if match else -1


def has_its_name(found: Object, pod: Object) -> bool:
    """`db-2` may be a pod of `db`, `db-replica-2` may not."""
    return ordinal(pod) >= 0 and str(pod.metadata.name).rpartition("-")[0] == found.metadata.name


def replicas(found: Any) -> int:
    """How many pods are wanted."""
    return 1 if found.spec.replicas is None else int(found.spec.replicas)


def first(found: Any) -> int:
    """The ordinal that its pods are numbered from."""
    return int((found.spec.ordinals.start if found.spec.ordinals else 0) or 0)


def partition(found: Any) -> int:
    """How many of the first pods an update leaves out."""
    strategy = found.spec.updateStrategy
    return int((strategy.rollingUpdate.partition if strategy and strategy.rollingUpdate else 0) or 0)


def revision_of(pod: Pod) -> str:
    """The name of the revision that a pod was made of."""
    labels: dict[str, str] = (pod.metadata.labels if pod.metadata else None) or {}
    return labels.get(HASH, "")
