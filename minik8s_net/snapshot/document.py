"""What of a cluster a snapshot keeps, and what a readable export leaves out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..store.version import Version

Json = dict[str, Any]
Key = tuple[str, str, str]  # resource ("deployments.apps"), namespace, name

PASSING = ("events", "events.events.k8s.io", "leases.coordination.k8s.io")
"""What tells of the past or of this very moment is not rewound."""
SYSTEM = ("kube-system", "kube-public", "kube-node-lease")
CHANGEABLE = (("configmaps", "coredns"), ("deployments.apps", "coredns"))
"""What of kube-system people change: taken along, the rest is the new cluster's own."""
MADE_BY_OTHERS = ("endpoints", "endpointslices.discovery.k8s.io")
"""Follow from Services and pods, unless somebody wrote them by hand."""


def kept(versions: Iterable[Version]) -> Iterator[Version]:
    """What a snapshot holds."""
    return (version for version in versions if version.resource not in PASSING)


def readable(versions: Iterable[Version]) -> Iterator[Version]:
    """What an export holds: what people made, and the pods that have come of it."""
    for version in kept(versions):
        meta, system = version.tree["metadata"], version.namespace in SYSTEM
        if version.resource == "namespaces" and version.name in (*SYSTEM, "default"):
            continue
        if system and (version.resource, version.name) not in CHANGEABLE:
            continue
        if version.resource in MADE_BY_OTHERS and _is_made(version.resource, meta):
            continue
        if (version.resource, version.name) in (("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")):
            continue
        if (version.namespace, version.name) == ("default", "kubernetes"):
            continue
        yield version


def _is_made(resource: str, meta: Json) -> bool:
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    if resource == "endpoints":
        return "endpoints.kubernetes.io/last-change-trigger-time" in annotations or not annotations
    return "endpointslice.kubernetes.io/managed-by" in labels


def plain(tree: Json) -> Json:
    """An object as a person would read it: without what the cluster says of it, but a pod's address."""
    drop = ("resourceVersion", "managedFields", "creationTimestamp", "selfLink")
    found = {key: value for key, value in tree.items() if key != "status"}
    found["metadata"] = {key: value for key, value in tree["metadata"].items() if key not in drop}
    if address := (tree.get("status") or {}).get("podIP"):
        found["status"] = {"podIP": address}
    return found


def pending(tree: Json) -> Json:
    """A pod that has still to be started: its status begins anew."""
    since = {"lastTransitionTime": tree["metadata"].get("creationTimestamp")}
    scheduled = {"type": "PodScheduled", "status": "True", **{k: v for k, v in since.items() if v}}
    found = {**tree, "status": {"phase": "Pending"}}
    if tree["spec"].get("nodeName"):
        found["status"]["conditions"] = [scheduled]
    return found


def same(one: Json, other: Json) -> bool:
    """Whether two versions of an object differ in anything but their revision."""

    def without(tree: Json) -> Json:
        return {**tree, "metadata": {k: v for k, v in tree["metadata"].items() if k != "resourceVersion"}}

    return without(one) == without(other)
