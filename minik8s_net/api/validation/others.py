"""Namespaces, Nodes, Events, ConfigMaps, Secrets, and the kinds with one or two rules of their own."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from minik8s_net.api import quantity
from minik8s_net.api.errors import (
    FieldError,
    bad_value,
    duplicate,
    prohibited,
    required,
    too_long,
)
from minik8s_net.api.validation import names
from minik8s_net.api.validation.meta import one_of

Json = dict[str, Any]
MAX_DATA = 1024 * 1024  # bytes, of a ConfigMap or Secret
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
QUOTAS = ("cpu", "memory", "ephemeral-storage", "storage", "requests", "limits", "pods", "services",
          "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims", "count",
          "hugepages-2Mi", "hugepages-1Gi")  # fmt: skip
SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def validate_node(node: Json) -> list[FieldError]:
    """Taints, and the pods' ranges."""
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    spec = node.get("spec", {})
    for i, taint in enumerate(spec.get("taints", [])):
        path, key, effect = f"spec.taints[{i}]", taint.get("key", ""), taint.get("effect", "")
        errors += [bad_value(f"{path}.key", key, e) for e in names.qualified_name(key)]
        errors += [
            bad_value(f"{path}.value", taint.get("value", ""), e) for e in names.label_value(taint.get("value", ""))
        ]
        errors += one_of(f"{path}.effect", effect, EFFECTS)
        if (key, effect) in seen:
            errors.append(duplicate(path, f"{key}:{effect}"))
        seen.add((key, effect))
    for i, cidr in enumerate(spec.get("podCIDRs", [])):
        errors += [bad_value(f"spec.podCIDRs[{i}]", cidr, e) for e in names.cidr(cidr)]
    return errors


def validate_event(event: Json) -> list[FieldError]:
    """An Event lives in the namespace of what it is about."""
    involved = event.get("involvedObject") or event.get("regarding") or {}
    mine, theirs = event.get("metadata", {}).get("namespace"), involved.get("namespace", "")
    if theirs and theirs != mine:
        return [bad_value("involvedObject.namespace", theirs, "does not match event.namespace")]
    if not theirs and mine not in ("default", "kube-system", None) and involved.get("kind"):
        return [bad_value("involvedObject.namespace", theirs, "does not match event.namespace")]
    return []


def validate_config_map(obj: Json) -> list[FieldError]:
    """Keys, and 1 MiB at the most."""
    data, binary = obj.get("data", {}), obj.get("binaryData", {})
    errors: list[FieldError] = []
    size = sum(len(v.encode()) for v in data.values()) + sum(len(base64.b64decode(v)) for v in binary.values())
    for field, values in (("data", data), ("binaryData", binary)):
        for key in values:
            errors += [bad_value(f"{field}[{key}]", key, e) for e in names.config_key(key)]
    errors += [bad_value(f"data[{k}]", k, "duplicate of key present in binaryData") for k in data if k in binary]
    return [*errors, too_long("", MAX_DATA)] if size > MAX_DATA else errors


def validate_secret(obj: Json) -> list[FieldError]:
    """Keys, size, and what its type asks for."""
    data = obj.get("data", {})
    errors = [bad_value(f"data[{k}]", k, e) for k in data for e in names.config_key(k)]
    if sum(len(base64.b64decode(v)) for v in data.values()) > MAX_DATA:
        errors.append(too_long("data", MAX_DATA))
    kind = obj.get("type", "Opaque")
    errors += [required(f"data[{k}]") for k in SECRET_KEYS.get(kind, ()) if k not in data]
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
        errors += [required("data[username]"), required("data[password]")]
    account = "kubernetes.io/service-account.name"
    if kind == "kubernetes.io/service-account-token" and not obj.get("metadata", {}).get("annotations", {}).get(
        account
    ):
        errors.append(required(f"metadata.annotations[{account}]"))
    return errors


def _unchanged_data(new: Json, old: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    if old.get("immutable"):
        if not new.get("immutable"):
            errors.append(prohibited("immutable", "field is immutable when `immutable` is set"))
        for field in ("data", "binaryData"):
            if new.get(field) != old.get(field):
                errors.append(prohibited(field, "field is immutable when `immutable` is set"))
    return errors


def _secret_change(new: Json, old: Json) -> list[FieldError]:
    errors = _unchanged_data(new, old)
    if new.get("type") != old.get("type"):
        errors.insert(0, bad_value("type", new.get("type", ""), "field is immutable"))
    return errors


def validate_lease(obj: Json) -> list[FieldError]:
    """Durations that make sense."""
    spec = obj.get("spec", {})
    seconds = spec.get("leaseDurationSeconds")
    errors = []
    if seconds is not None and seconds <= 0:
        errors.append(bad_value("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if spec.get("leaseTransitions", 0) < 0:
        detail = "must be greater than or equal to 0"
        errors.append(bad_value("spec.leaseTransitions", spec["leaseTransitions"], detail))
    return errors


def validate_quota(obj: Json) -> list[FieldError]:
    """A ResourceQuota: amounts of known resources."""
    errors: list[FieldError] = []
    for name, amount in obj.get("spec", {}).get("hard", {}).items():
        at = f"spec.hard[{name}]"
        if "/" not in name and name.partition(".")[0] not in QUOTAS:
            errors.append(bad_value(at, name, "must be a standard resource type or fully qualified"))
            errors.append(bad_value(at, name, "must be a standard resource for quota"))
        if quantity.parse(amount) < 0:
            errors.append(bad_value(at, amount, "must be greater than or equal to 0"))
    return errors


VALIDATORS: dict[tuple[str, str], Callable[[Json], list[FieldError]]] = {
    ("", "Node"): validate_node,
    ("", "Event"): validate_event,
    ("", "ConfigMap"): validate_config_map,
    ("", "Secret"): validate_secret,
    ("", "ResourceQuota"): validate_quota,
    ("coordination.k8s.io", "Lease"): validate_lease,
}
CHANGE_VALIDATORS: dict[tuple[str, str], Callable[[Json, Json], list[FieldError]]] = {
    ("", "ConfigMap"): _unchanged_data,
    ("", "Secret"): _secret_change,
}
