"""Namespaces, Nodes, Events, ConfigMaps, Secrets, and the kinds with one or two rules of their own."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from minik8s_net.api.errors import (
    FieldError,
    bad_value,
    duplicate,
    prohibited,
    required,
    too_long,
    unsupported,
)
from minik8s_net.api.validation import names
from minik8s_net.api.validation.meta import one_of, validate_selector

Json = dict[str, Any]
MAX_DATA = 1024 * 1024  # bytes, of a ConfigMap or Secret
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def validate_node(node: Json) -> list[FieldError]:
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
    involved = event.get("involvedObject") or event.get("regarding") or {}
    mine, theirs = event.get("metadata", {}).get("namespace"), involved.get("namespace", "")
    if theirs and theirs != mine:
        return [bad_value("involvedObject.namespace", theirs, "does not match event.namespace")]
    if not theirs and mine not in ("default", "kube-system", None) and involved.get("kind"):
        return [bad_value("involvedObject.namespace", theirs, "does not match event.namespace")]
    return []


def validate_config_map(obj: Json) -> list[FieldError]:
    data, binary = obj.get("data", {}), obj.get("binaryData", {})
    errors: list[FieldError] = []
    size = sum(len(v.encode()) for v in data.values()) + sum(len(base64.b64decode(v)) for v in binary.values())
    for field, values in (("data", data), ("binaryData", binary)):
        for key in values:
            errors += [bad_value(f"{field}[{key}]", key, e) for e in names.config_key(key)]
    errors += [bad_value(f"data[{k}]", k, "duplicate of key present in binaryData") for k in data if k in binary]
    return [*errors, too_long("", MAX_DATA)] if size > MAX_DATA else errors


def validate_secret(obj: Json) -> list[FieldError]:
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


def validate_budget(obj: Json) -> list[FieldError]:
    spec = obj.get("spec", {})
    both = [f for f in ("minAvailable", "maxUnavailable") if f in spec]
    errors = validate_selector(spec.get("selector", {}), "spec.selector")
    if len(both) == 2:
        errors.append(bad_value("spec", "", "minAvailable and maxUnavailable cannot be both set"))
    for field in both:
        if isinstance(spec[field], int) and spec[field] < 0:
            errors.append(bad_value(f"spec.{field}", spec[field], "must be greater than or equal to 0"))
    return errors


def validate_ingress(obj: Json) -> list[FieldError]:
    spec, errors = obj.get("spec", {}), []
    if not spec.get("rules") and not spec.get("defaultBackend"):
        errors.append(bad_value("spec", "", "either `defaultBackend` or `rules` must be specified"))
    for i, rule in enumerate(spec.get("rules", [])):
        if host := rule.get("host"):
            bare = host.removeprefix("*.")
            errors += [bad_value(f"spec.rules[{i}].host", host, e) for e in names.dns_subdomain(bare)]
        for j, path in enumerate(rule.get("http", {}).get("paths", [])):
            at = f"spec.rules[{i}].http.paths[{j}]"
            kind, where = path.get("pathType"), path.get("path", "")
            if kind is None:
                errors.append(required(f"{at}.pathType", "pathType must be specified"))
            elif kind not in ("Exact", "ImplementationSpecific", "Prefix"):
                errors.append(unsupported(f"{at}.pathType", kind, ("Exact", "ImplementationSpecific", "Prefix")))
            elif kind != "ImplementationSpecific" and not where.startswith("/"):
                errors.append(bad_value(f"{at}.path", where, "must be an absolute path"))
    return errors


def validate_role_binding(obj: Json) -> list[FieldError]:
    role, errors = obj.get("roleRef", {}), []
    supported = ("ClusterRole", "Role") if obj.get("kind") == "RoleBinding" else ("ClusterRole",)
    errors += one_of("roleRef.kind", role.get("kind", ""), supported)
    if not role.get("name"):
        errors.append(required("roleRef.name"))
    for i, subject in enumerate(obj.get("subjects", [])):
        if not subject.get("name"):
            errors.append(required(f"subjects[{i}].name"))
        errors += one_of(f"subjects[{i}].kind", subject.get("kind", ""), ("ServiceAccount", "User", "Group"))
    return errors


def validate_lease(obj: Json) -> list[FieldError]:
    spec = obj.get("spec", {})
    seconds = spec.get("leaseDurationSeconds")
    errors = []
    if seconds is not None and seconds <= 0:
        errors.append(bad_value("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if spec.get("leaseTransitions", 0) < 0:
        detail = "must be greater than or equal to 0"
        errors.append(bad_value("spec.leaseTransitions", spec["leaseTransitions"], detail))
    return errors


VALIDATORS: dict[tuple[str, str], Callable[[Json], list[FieldError]]] = {
    ("", "Node"): validate_node,
    ("", "Event"): validate_event,
    ("", "ConfigMap"): validate_config_map,
    ("", "Secret"): validate_secret,
    ("policy", "PodDisruptionBudget"): validate_budget,
    ("networking.k8s.io", "Ingress"): validate_ingress,
    ("rbac.authorization.k8s.io", "RoleBinding"): validate_role_binding,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): validate_role_binding,
    ("coordination.k8s.io", "Lease"): validate_lease,
}
CHANGE_VALIDATORS: dict[tuple[str, str], Callable[[Json, Json], list[FieldError]]] = {
    ("", "ConfigMap"): _unchanged_data,
    ("", "Secret"): _secret_change,
}
