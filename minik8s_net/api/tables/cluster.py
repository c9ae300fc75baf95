"""Nodes, namespaces, events, configuration and the small kinds as tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from minik8s_net.api import times
from minik8s_net.api.tables.columns import NONE, Column, age_of, columns, condition, name_of, wide

Json = dict[str, Any]
ROLE = "node-role.kubernetes.io/"
NODE_WIDE = ("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime")


def node_cells(node: Json, now: datetime) -> list[Any]:
    """`kubectl get nodes`."""
    info = node.get("status", {}).get("nodeInfo", {})
    ready = condition(node, "Ready").get("status")
    state = "Ready" if ready == "True" else "NotReady" if ready else "Unknown"
    if node.get("spec", {}).get("unschedulable"):
        state += ",SchedulingDisabled"
    labels = node.get("metadata", {}).get("labels", {})
    roles = {k.removeprefix(ROLE) for k in labels if k.startswith(ROLE)} | {labels.get("kubernetes.io/role", "")}
    addresses = node.get("status", {}).get("addresses", [])
    by_type = {a.get("type"): a.get("address") for a in reversed(addresses)}
    named = [info.get(f) or "<unknown>" for f in ("osImage", "kernelVersion", "containerRuntimeVersion")]
    return [name_of(node), state, ",".join(sorted(roles - {""})) or NONE, age_of(node, now),
            info.get("kubeletVersion", ""),
            by_type.get("InternalIP", NONE), by_type.get("ExternalIP", NONE), *named]  # fmt: skip


def namespace_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get namespaces`."""
    return [name_of(obj), obj.get("status", {}).get("phase", ""), age_of(obj, now)]


def event_cells(event: Json, now: datetime) -> list[Any]:
    """The core kind, and events.k8s.io's, whose fields have other names."""
    involved = event.get("involvedObject") or event.get("regarding") or {}
    created = event.get("metadata", {}).get("creationTimestamp")
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp") or event.get("eventTime") or created
    last = event.get("lastTimestamp") or event.get("deprecatedLastTimestamp") or first
    series = event.get("series") or {}
    last = series.get("lastObservedTime") or last
    count = series.get("count") or event.get("count") or event.get("deprecatedCount") or 1
    source = event.get("source") or event.get("deprecatedSource") or {}
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    shown = ", ".join(filter(None, (component, source.get("host", ""))))
    target = f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"
    message = (event.get("message") or event.get("note") or "").strip()
    return [times.age(last, now), event.get("type", ""), event.get("reason", ""), target, involved.get("fieldPath", ""),
            shown, message, times.age(first, now), count, name_of(event)]  # fmt: skip


def config_map_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get configmaps`."""
    return [name_of(obj), len(obj.get("data", {})) + len(obj.get("binaryData", {})), age_of(obj, now)]


def secret_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get secrets`."""
    return [name_of(obj), obj.get("type", ""), len(obj.get("data", {})), age_of(obj, now)]


def account_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get serviceaccounts`."""
    return [name_of(obj), len(obj.get("secrets", [])), age_of(obj, now)]


def lease_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get leases`."""
    return [name_of(obj), obj.get("spec", {}).get("holderIdentity", ""), age_of(obj, now)]


def budget_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get poddisruptionbudgets`."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    limits = [str(spec.get(f, "N/A")) for f in ("minAvailable", "maxUnavailable")]
    return [name_of(obj), *limits, status.get("disruptionsAllowed", 0), age_of(obj, now)]


def role_cells(obj: Json, _: datetime) -> list[Any]:
    """`kubectl get roles`."""
    return [name_of(obj), obj.get("metadata", {}).get("creationTimestamp", "")]


def role_binding_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get rolebindings`."""
    role = obj.get("roleRef", {})
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects", []):
        where = f"{subject.get('namespace', '')}/" if subject.get("kind") == "ServiceAccount" else ""
        by_kind.setdefault(subject.get("kind", ""), []).append(where + subject.get("name", ""))
    who = [", ".join(by_kind[k]) for k in ("User", "Group", "ServiceAccount")]
    return [name_of(obj), f"{role.get('kind')}/{role.get('name')}", age_of(obj, now), *who]


def claim_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get persistentvolumeclaims`."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    modes = ",".join("".join(c for c in m if c.isupper()) for m in status.get("accessModes", []))
    return [name_of(obj), status.get("phase", ""), spec.get("volumeName", ""),
            status.get("capacity", {}).get("storage", ""),
            modes, spec.get("storageClassName", ""), spec.get("volumeAttributesClassName", "<unset>"), age_of(obj, now),
            spec.get("volumeMode", "<unset>")]  # fmt: skip


_EVENT_COLUMNS = [
    *columns("Last Seen", "Type", "Reason", "Object"), wide("Subobject"), wide("Source"), Column("Message"),
    *columns(also=("First Seen", "Count")), Column("Name", format="name", priority=1),
]  # fmt: skip
_BINDING = (columns("Name", "Role", "Age", also=("Users", "Groups", "ServiceAccounts")), role_binding_cells)
PRINTERS = {
    ("", "Node"): (columns("Name", "Status", "Roles", "Age", "Version", also=NODE_WIDE), node_cells),
    ("", "Namespace"): (columns("Name", "Status", "Age"), namespace_cells),
    ("", "Event"): (_EVENT_COLUMNS, event_cells),
    ("events.k8s.io", "Event"): (_EVENT_COLUMNS, event_cells),
    ("", "ConfigMap"): (columns("Name", "Data", "Age"), config_map_cells),
    ("", "Secret"): (columns("Name", "Type", "Data", "Age"), secret_cells),
    ("", "ServiceAccount"): (columns("Name", "Secrets", "Age"), account_cells),
    ("", "PersistentVolumeClaim"): (
        columns("Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeAttributesClass", "Age",
                also=("VolumeMode",)), claim_cells),
    ("coordination.k8s.io", "Lease"): (columns("Name", "Holder", "Age"), lease_cells),
    ("policy", "PodDisruptionBudget"): (
        columns("Name", "Min Available", "Max Unavailable", "Allowed Disruptions:integer", "Age"), budget_cells),
    ("rbac.authorization.k8s.io", "Role"): (columns("Name", "Created At"), role_cells),
    ("rbac.authorization.k8s.io", "ClusterRole"): (columns("Name", "Created At"), role_cells),
    ("rbac.authorization.k8s.io", "RoleBinding"): _BINDING,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _BINDING,
}  # fmt: skip
