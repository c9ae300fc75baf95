"""Pods: the ServiceAccount's token volume and default tolerations on the way in, grace on the way out.

https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

from __future__ import annotations

from typing import Any

from ...api.errors import bad_request, conflict, forbidden
from ...store.events import timestamp
from .metadata import random_suffix
from .strategy import Json, Strategy

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607
DEFAULT_GRACE = 30  # seconds
PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


class PodStrategy(Strategy):
    """What admission adds to a pod, and how long its end may take."""

    returns_object = True
    status_keeps = ("ownerReferences",)

    def admit_create(self, new: Json) -> None:
        """Priority, ServiceAccount and default tolerations. Raises StatusError 403."""
        spec = new.get("spec")
        if spec and spec.get("containers"):  # otherwise validation speaks
            self._admit_priority(new, spec)
            self._admit_account(new, spec)
            _admit_tolerations(spec)

    def prepare_create(self, new: Json) -> None:
        """The first status: Pending, and its QoS class."""
        new["status"] = {"phase": "Pending", "qosClass": qos_class(new.get("spec", {}))}

    def prepare_update(self, new: Json, old: Json) -> None:
        """Keeps what the system chose and a client may leave out."""
        for field in ("nodeName", "serviceAccountName", "serviceAccount", "hostNetwork", "tolerations", "priority"):
            if field in old["spec"] and field not in new["spec"]:
                new["spec"][field] = old["spec"][field]
        _admit_tolerations(new["spec"])

    def grace(self, obj: Json, asked: int | None) -> int:
        """Seconds a pod gets to end; 0 where nobody runs it."""
        spec, phase = obj["spec"], obj.get("status", {}).get("phase")
        if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0  # nobody runs it
        grace = asked if asked is not None else spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE)
        return int(grace) if grace >= 0 else 1

    def _admit_priority(self, new: Json, spec: Json) -> None:
        name = spec.get("priorityClassName")
        if name and name not in PRIORITIES:
            found = self.registry.peek("priorityclasses", "", name, "scheduling.k8s.io")
            if found is None:
                raise forbidden("pods", new["metadata"]["name"], f"no PriorityClass with name {name} was found")
            spec["priority"] = found["value"]
            spec["preemptionPolicy"] = found.get("preemptionPolicy", "PreemptLowerPriority")
        spec.setdefault("priority", PRIORITIES.get(name or "", 0))
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")

    def _admit_account(self, new: Json, spec: Json) -> None:
        """The account must exist (`default` always may: its controller is only a moment behind), and is mounted."""
        meta = new["metadata"]
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = self.registry.peek("serviceaccounts", meta["namespace"], name)
        if account is None and name != "default":
            why = f'error looking up service account {meta["namespace"]}/{name}: serviceaccount "{name}" not found'
            raise forbidden("pods", meta["name"], why)
        mounts = (account or {}).get("automountServiceAccountToken", True)
        if spec.get("automountServiceAccountToken", mounts):
            _mount_token(spec)


def _mount_token(spec: Json) -> None:
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    if not all(isinstance(container.get("volumeMounts", []), list) for container in containers):
        return
    bare = [c for c in containers if all(m.get("mountPath") != TOKEN_PATH for m in c.get("volumeMounts", []))]
    if not bare:
        return
    name = f"kube-api-access-{random_suffix()}"
    for container in bare:
        mount = {"name": name, "readOnly": True, "mountPath": TOKEN_PATH}
        container.setdefault("volumeMounts", []).append(mount)
    namespace = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"}
    certificate = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    sources: list[dict[str, Any]] = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": certificate},
        {"downwardAPI": {"items": [namespace]}},
    ]
    spec.setdefault("volumes", []).append({"name": name, "projected": {"sources": sources, "defaultMode": 420}})


def _admit_tolerations(spec: Json) -> None:
    """A pod stays five minutes on a node that is not ready or not reachable."""
    tolerations = spec.setdefault("tolerations", [])
    for condition in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{condition}"
        if not any(t.get("key", key) == key and t.get("effect", "NoExecute") == "NoExecute" for t in tolerations):
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            tolerations.append(toleration)


def bound(old: Json, node: str) -> Json:
    """The pod given to a node, once and for all. Raises StatusError 409, 400."""
    name, present = old["metadata"]["name"], old["spec"].get("nodeName")
    if not node:
        raise bad_request("Binding: target.name: Required value")
    if old["metadata"].get("deletionTimestamp"):
        raise conflict("pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if present:
        raise conflict("pods/binding", name, f'pod {name} is already assigned to node "{present}"')
    conditions = [c for c in old.get("status", {}).get("conditions", []) if c.get("type") != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp()}
    status = {**old.get("status", {}), "conditions": [*conditions, scheduled]}
    return {**old, "metadata": dict(old["metadata"]), "spec": {**old["spec"], "nodeName": node}, "status": status}


def part_of_pod(new: Json, old: Json, subresource: str) -> Json:
    """The pod with what the subresource "ephemeralcontainers" or "resize" may change, and nothing else."""
    spec, wanted = dict(old["spec"]), new.get("spec", {})
    if subresource == "ephemeralcontainers":
        spec["ephemeralContainers"] = wanted.get("ephemeralContainers", [])
    if subresource == "resize":
        sizes = {c.get("name"): c.get("resources", {}) for c in wanted.get("containers", [])}
        present = spec["containers"]
        spec["containers"] = [{**c, "resources": sizes.get(c["name"], c.get("resources", {}))} for c in present]
    return {**old, "metadata": {**old["metadata"], **_asked(new["metadata"])}, "spec": spec}


def _asked(meta: Json) -> Json:
    return {"resourceVersion": meta["resourceVersion"]} if meta.get("resourceVersion") else {}


def qos_class(spec: Json) -> str:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/"""
    resources = [c.get("resources", {}) for c in (*spec.get("containers", []), *spec.get("initContainers", []))]
    limits = [{k: v for k, v in r.get("limits", {}).items() if k in ("cpu", "memory")} for r in resources]
    requests = [{k: v for k, v in r.get("requests", {}).items() if k in ("cpu", "memory")} for r in resources]
    if not any(limits) and not any(requests):
        return "BestEffort"
    complete = all(len(given) == 2 for given in limits)
    return "Guaranteed" if complete and limits == requests else "Burstable"
