"""Kinds that are kept and nothing more, as tables: storage, autoscalers, priorities, extensions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from minik8s_net.api.tables.columns import NONE, age_of, columns, name_of

Json = dict[str, Any]
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def autoscaler_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get horizontalpodautoscalers`; nobody measures here, so that all present values are unknown."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    target = spec.get("scaleTargetRef", {})
    metrics = [_metric(metric) for metric in spec.get("metrics", [])]
    if "targetCPUUtilizationPercentage" in spec:
        metrics = [f"cpu: <unknown>/{spec['targetCPUUtilizationPercentage']}%"]
    more = f" + {len(metrics) - 2} more..." if len(metrics) > 2 else ""
    reference = f"{target.get('kind', '')}/{target.get('name', '')}"
    return [name_of(obj), reference, ", ".join(metrics[:2]) + more or NONE, spec.get("minReplicas", "<unset>"),
            spec.get("maxReplicas", 0), status.get("currentReplicas", 0), age_of(obj, now)]  # fmt: skip


def _metric(metric: Json) -> str:
    resource = metric.get("resource") or metric.get("containerResource") or {}
    target = resource.get("target", {})
    wanted = target.get("averageValue") or target.get("value")
    if "averageUtilization" in target:
        wanted = f"{target['averageUtilization']}%"
    return f"{resource['name']}: <unknown>/{wanted}" if "name" in resource else f"<unknown>/{wanted or '<auto>'}"


def volume_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get persistentvolumes`."""
    spec, status, claim = obj.get("spec", {}), obj.get("status", {}), obj.get("spec", {}).get("claimRef", {})
    modes = ",".join("".join(c for c in mode if c.isupper()) for mode in spec.get("accessModes", []))
    bound = f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""
    return [name_of(obj), spec.get("capacity", {}).get("storage", ""), modes,
            spec.get("persistentVolumeReclaimPolicy", ""), status.get("phase", ""), bound,
            spec.get("storageClassName", ""), spec.get("volumeAttributesClassName", "<unset>"),
            status.get("reason", ""), age_of(obj, now), spec.get("volumeMode", "<unset>")]  # fmt: skip


def storage_class_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get storageclasses`."""
    default = obj.get("metadata", {}).get("annotations", {}).get(DEFAULT_CLASS) == "true"
    return [name_of(obj) + (" (default)" if default else ""), obj.get("provisioner", ""),
            obj.get("reclaimPolicy", "Delete"), obj.get("volumeBindingMode", "Immediate"),
            bool(obj.get("allowVolumeExpansion")), age_of(obj, now)]  # fmt: skip


def priority_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get priorityclasses`."""
    return [name_of(obj), obj.get("value", 0), bool(obj.get("globalDefault")), age_of(obj, now),
            obj.get("preemptionPolicy", "PreemptLowerPriority")]  # fmt: skip


def quota_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get resourcequotas`: used and hard of each resource."""
    hard, used = obj.get("spec", {}).get("hard", {}), obj.get("status", {}).get("used", {})
    shown = {name: f"{name}: {used.get(name, '0')}/{amount}" for name, amount in sorted(hard.items())}
    limits = [text for name, text in shown.items() if name.startswith("limits")]
    return [name_of(obj), ", ".join(t for t in shown.values() if t not in limits), ", ".join(limits), age_of(obj, now)]


def limit_range_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get limitranges`."""
    return [name_of(obj), obj.get("metadata", {}).get("creationTimestamp", "")]


def ingress_class_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get ingressclasses`."""
    spec = obj.get("spec", {})
    parameters = spec.get("parameters", {})
    kind = ".".join(filter(None, (parameters.get("kind", ""), parameters.get("apiGroup", ""))))
    return [
        name_of(obj),
        spec.get("controller", ""),
        f"{kind}/{parameters['name']}" if kind else NONE,
        age_of(obj, now),
    ]


def runtime_class_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get runtimeclasses`."""
    return [name_of(obj), obj.get("handler", ""), age_of(obj, now)]


def definition_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get customresourcedefinitions`."""
    return [name_of(obj), obj.get("metadata", {}).get("creationTimestamp", "")]


def range_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get servicecidrs`."""
    return [name_of(obj), ",".join(obj.get("spec", {}).get("cidrs", [])), age_of(obj, now)]


def webhook_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get mutatingwebhookconfigurations`, and the validating ones."""
    return [name_of(obj), len(obj.get("webhooks", [])), age_of(obj, now)]


_HOOKS = (columns("Name", "Webhooks:integer", "Age"), webhook_cells)
_VOLUME = columns("Name", "Capacity", "Access Modes", "Reclaim Policy", "Status", "Claim", "StorageClass",
                  "VolumeAttributesClass", "Reason", "Age", also=("VolumeMode",))  # fmt: skip
_STORAGE = columns("Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion:boolean", "Age")
PRINTERS = {
    ("autoscaling", "HorizontalPodAutoscaler"): (
        columns("Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"), autoscaler_cells),
    ("", "PersistentVolume"): (_VOLUME, volume_cells),
    ("storage.k8s.io", "StorageClass"): (_STORAGE, storage_class_cells),
    ("scheduling.k8s.io", "PriorityClass"): (
        columns("Name", "Value:integer", "Global-Default:boolean", "Age", "PreemptionPolicy"), priority_cells),
    ("", "ResourceQuota"): (columns("Name", "Request", "Limit", "Age"), quota_cells),
    ("", "LimitRange"): (columns("Name", "Created At"), limit_range_cells),
    ("networking.k8s.io", "IngressClass"): (columns("Name", "Controller", "Parameters", "Age"), ingress_class_cells),
    ("networking.k8s.io", "ServiceCIDR"): (columns("Name", "CIDRs", "Age"), range_cells),
    ("node.k8s.io", "RuntimeClass"): (columns("Name", "Handler", "Age"), runtime_class_cells),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (columns("Name", "Created At"), definition_cells),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): _HOOKS,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): _HOOKS,
}  # fmt: skip
