"""Does a pod's request still fit into what a node has left? Pure.

https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#how-pods-with-resource-requests-are-scheduled
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from decimal import Decimal

from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Node, Pod

from ..api.quantity import parse

Amounts = dict[str, Decimal]


def lacking(pod: Pod, node: Node, there: Collection[Pod]) -> list[str]:
    """Names of the resources of which too little is left. What a node doesn't speak of it has none of."""
    wanted = requests(pod)
    if not wanted:
        return []
    left: Amounts = defaultdict(Decimal)
    for name, text in ((node.status.allocatable if node.status else None) or {}).items():
        left[name] = parse(text)
    for other in there:
        for name, amount in requests(other).items():
            left[name] -= amount
    return sorted(name for name, amount in wanted.items() if amount > left[name])


def requests(pod: Pod) -> Amounts:
    """All containers together, or the largest init container with the sidecars before it, whichever is more."""
    spec = pod.spec
    running: Amounts = defaultdict(Decimal)
    peak: Amounts = defaultdict(Decimal)
    for container in (spec.initContainers if spec else None) or ():
        own = _of(container)
        if container.restartPolicy == "Always":
            for name, amount in own.items():
                running[name] += amount
            own = {}
        for name in {*own, *running}:
            peak[name] = max(peak[name], running[name] + own.get(name, Decimal()))
    for container in spec.containers if spec else ():
        for name, amount in _of(container).items():
            running[name] += amount
    return {name: most for name in {*running, *peak} if (most := max(running[name], peak[name]))}


def _of(container: Container) -> Amounts:
    found = (container.resources.requests if container.resources else None) or {}
    return {name: parse(text) for name, text in found.items()}
