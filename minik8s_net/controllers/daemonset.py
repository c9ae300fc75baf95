"""DaemonSets: one pod on every node that fits.

https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Node, Pod

from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder
from .children import Children, Key, create_pod, delete_pod, pod_from
from .common import Object, is_available, is_finished, is_ready, tolerates
from .predicates import fits_selector
from .revisions import Revisions
from .rollout import bounds

HASH = "controller-revision-hash"
_TOLERATED = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)


class DaemonSetController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "daemonset-controller")
        self._loop: Reconciler[Key] = Reconciler("daemonset", self._reconcile)
        self._pods = Children(client, Pod, "DaemonSet", self._loop.mark)
        self._revisions = Revisions(client, "DaemonSet", HASH, lambda key: None)

    async def run(self) -> None:
        """Until cancelled."""
        ends: list[Callable[[], None]] = [
            self._revisions.watch(),
            self._pods.watch(),
            self.client.watch(DaemonSet, self._on_set),
            self.client.watch(Node, self._on_node),
        ]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _on_set(self, change: Change[DaemonSet]) -> None:
        if change.type != "DELETED" and change.new.metadata:
            self._loop.mark((change.new.metadata.namespace or "", change.new.metadata.name or ""))

    def _on_node(self, change: Change[Node]) -> None:
        old, new = change.old, change.new
        heartbeat = old is not None and (old.spec, _labels(old)) == (new.spec, _labels(new))
        if heartbeat and change.type == "MODIFIED":
            return
        for found in self.client.list(DaemonSet):
            if found.metadata:
                self._loop.mark((found.metadata.namespace or "", found.metadata.name or ""))

    async def _reconcile(self, key: Key) -> None:
        found: Any = self.client.find(DaemonSet, key[1], key[0])
        if found is None:
            return
        if found.metadata.deletionTimestamp is not None:
            return
        revision = self._revisions.present(found)
        version = revision.metadata.labels[HASH]
        self._place(found, version)
        self._write_status(found, version)
        used = {revision.metadata.name, *(f"{key[1]}-{_version(p)}" for p in self._pods.of(found))}
        self._revisions.forget(found, used)

    def _place(self, found: Any, version: str) -> None:
        nodes = self.client.list(Node)
        by_node: dict[str, list[Pod]] = {}
        for pod in self._pods.of(found):
            by_node.setdefault(_node_of(pod), []).append(pod)
        for node in nodes:
            name = (node.metadata.name if node.metadata else "") or ""
            here = by_node.pop(name, [])
            stays = belongs(found, node)
            for pod in here if not stays else [*here[1:], *(p for p in here[:1] if is_finished(p))]:
                self._delete(found, pod)
            if stays and not here:
                create_pod(self.client, self.events, found, daemon_pod(found, name, version))
        for pod in (p for pods in by_node.values() for p in pods):
            self._delete(found, pod)  # its node is gone
        if not found.spec.updateStrategy or found.spec.updateStrategy.type != "OnDelete":
            self._update(found, version, len(nodes))

    def _update(self, found: Any, version: str, total: int) -> None:
        """Replace pods of older templates, at most maxUnavailable (1) missing at a time."""
        pods = self._pods.of(found)
        old = [p for p in pods if _version(p) != version]
        rolling = found.spec.updateStrategy.rollingUpdate if found.spec.updateStrategy else None
        _, most = bounds(0, rolling.maxUnavailable if rolling and rolling.maxUnavailable is not None else 1, total)
        missing = sum(1 for p in pods if not is_ready(p) or (p.metadata and p.metadata.deletionTimestamp))
        for pod in sorted(old, key=is_ready):
            if not is_ready(pod):
                self._delete(found, pod)
            elif missing < most:
                self._delete(found, pod)
                missing += 1

    def _delete(self, found: Any, pod: Pod) -> None:
        if pod.metadata and pod.metadata.deletionTimestamp is None:
            delete_pod(self.client, self.events, found, pod)

    def _write_status(self, found: Any, version: str) -> None:
        nodes = {(n.metadata.name if n.metadata else ""): belongs(found, n) for n in self.client.list(Node)}
        pods = [p for p in self._pods.of(found) if nodes.get(_node_of(p))]
        wanted = sum(nodes.values())
        available = sum(is_available(p, found.spec.minReadySeconds or 0) for p in pods)
        current = sum(_version(p) == version for p in pods)
        status: Json = {
            "currentNumberScheduled": len(pods),
            "desiredNumberScheduled": wanted,
            "numberMisscheduled": len(self._pods.of(found)) - len(pods),
            "numberReady": sum(is_ready(p) for p in pods),
            "updatedNumberScheduled": current or None,
            "numberAvailable": available or None,
            "numberUnavailable": max(0, wanted - available) or None,
            "observedGeneration": found.metadata.generation,
        }
        name, namespace = found.metadata.name, found.metadata.namespace
        self.client.patch(DaemonSet, name, {"status": status}, namespace, subresource="status")


def belongs(found: Any, node: Node) -> bool:
    """Would a pod of the template run there? Cordons don't count, other taints must be tolerated."""
    template: PodTemplateSpec = found.spec.template
    pod = Pod(metadata=template.metadata, spec=template.spec)
    tolerations = list((template.spec.tolerations if template.spec else None) or ())
    for taint in (node.spec.taints if node.spec else None) or ():
        ours = any(taint.key == f"node.kubernetes.io/{key}" for key, _ in _TOLERATED)
        if taint.effect in ("NoSchedule", "NoExecute") and not ours and not tolerates(tolerations, taint):
            return False
    return fits_selector(pod, node)


def daemon_pod(found: Object, node: str, version: str) -> Json:
    """Bound to its node by affinity, so that the scheduler places it: what the real controller writes."""
    tree = pod_from(found.spec.template.to_dict(), found, labels={HASH: version})
    spec = {**tree["spec"]}
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    affinity = {**(spec.get("affinity") or {})}
    own = {**(affinity.get("nodeAffinity") or {}), "requiredDuringSchedulingIgnoredDuringExecution": required}
    spec["affinity"] = {**affinity, "nodeAffinity": own}
    extra = [{"key": f"node.kubernetes.io/{k}", "operator": "Exists", "effect": e} for k, e in _TOLERATED]
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *extra]
    return {**tree, "spec": spec}


def _node_of(pod: Pod) -> str:
    """The node a daemon pod is for, also before it is bound."""
    assert pod.spec
    if pod.spec.nodeName:
        return pod.spec.nodeName
    affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    for term in required.nodeSelectorTerms if required else ():
        for field in term.matchFields or ():
            if field.values:
                return field.values[0]
    return ""


def _version(pod: Pod) -> str:
    labels: dict[str, str] = (pod.metadata.labels if pod.metadata else None) or {}
    return labels.get(HASH, "")


def _labels(node: Node) -> dict[str, str]:
    return (node.metadata.labels if node.metadata else None) or {}
