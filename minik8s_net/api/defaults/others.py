"""Defaults of the remaining kinds: namespaces, secrets, storage, roles, autoscaling."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from minik8s_net.api.defaults.pod import fill

Json = dict[str, Any]
NAME_LABEL = "kubernetes.io/metadata.name"


def default_namespace(obj: Json) -> None:
    """The name label (which NetworkPolicies select by) and the finalizer that namespace deletion waits for."""
    metadata = obj.setdefault("metadata", {})
    if name := metadata.get("name"):
        metadata["labels"] = {**metadata.get("labels", {}), NAME_LABEL: name}
    fill(obj.setdefault("spec", {}), finalizers=["kubernetes"])
    fill(obj.setdefault("status", {}), phase="Active")


def default_secret(obj: Json) -> None:
    """`stringData` is written into `data` and never stored."""
    fill(obj, type="Opaque")
    for key, value in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()


def default_claim(obj: Json) -> None:
    """A PersistentVolumeClaim: a file system, pending."""
    fill(obj.setdefault("spec", {}), volumeMode="Filesystem")
    fill(obj.setdefault("status", {}), phase="Pending")


def default_volume(obj: Json) -> None:
    """A PersistentVolume: a file system, kept, pending."""
    fill(obj.setdefault("spec", {}), volumeMode="Filesystem", persistentVolumeReclaimPolicy="Retain")
    fill(obj.setdefault("status", {}), phase="Pending")


def default_storage_class(obj: Json) -> None:
    """Volumes are deleted with their claim and bound at once."""
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def default_binding(obj: Json) -> None:
    """RBAC: the API groups of role and subjects."""
    role = obj.get("roleRef")
    if isinstance(role, dict):
        fill(role, apiGroup="rbac.authorization.k8s.io")
    for subject in obj.get("subjects", []):
        if subject.get("kind") in ("User", "Group"):
            fill(subject, apiGroup="rbac.authorization.k8s.io")


def default_autoscaler(obj: Json) -> None:
    """At least one replica; 80 % of the CPU where no metric is named (v2)."""
    spec = obj.setdefault("spec", {})
    fill(spec, minReplicas=1)
    if obj.get("apiVersion") == "autoscaling/v2" and not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


DEFAULTS: dict[tuple[str, str], Callable[[Json], None]] = {
    ("", "Namespace"): default_namespace,
    ("", "Secret"): default_secret,
    ("", "PersistentVolumeClaim"): default_claim,
    ("", "PersistentVolume"): default_volume,
    ("storage.k8s.io", "StorageClass"): default_storage_class,
    ("rbac.authorization.k8s.io", "RoleBinding"): default_binding,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): default_binding,
    ("autoscaling", "HorizontalPodAutoscaler"): default_autoscaler,
}
