"""What a manifest leaves open, filled in as Kubernetes' SetDefaults functions do. In place, idempotent, per kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minik8s_net.api.defaults import network, others, pod, workloads
from minik8s_net.api.kinds import Kind

Json = dict[str, Any]
Defaulter = Callable[[Json], None]

DEFAULTS: dict[tuple[str, str], Defaulter] = {
    **{("", kind): f for kind, f in pod.DEFAULTS.items()},
    **network.DEFAULTS,
    **workloads.DEFAULTS,
    **others.DEFAULTS,
}


def apply(kind: Kind, tree: Json) -> Json:
    """Fills in `tree`, in place, by its kind; returns it."""
    if defaulter := DEFAULTS.get((kind.group, kind.kind)):
        defaulter(tree)
    return tree
