"""Roles and their bindings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minik8s_net.api.errors import FieldError, Go, bad_value, required, unsupported
from minik8s_net.api.validation import names
from minik8s_net.api.validation.meta import one_of

Json = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"


def validate_role(obj: Json) -> list[FieldError]:
    """A Role or ClusterRole: each rule names verbs, and what they are about."""
    errors: list[FieldError] = []
    for i, rule in enumerate(obj.get("rules", [])):
        errors += _rule(rule, f"rules[{i}]", namespaced=obj.get("kind") == "Role")
    return errors


def _rule(rule: Json, path: str, *, namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if not rule.get("verbs"):
        errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    if urls := rule.get("nonResourceURLs"):
        at, shown = f"{path}.nonResourceURLs", Go.strings(urls)
        if namespaced:
            errors.append(bad_value(at, shown, "namespaced rules cannot apply to non-resource URLs"))
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(bad_value(at, shown, detail))
        return errors
    if not rule.get("apiGroups"):
        errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def validate_role_binding(obj: Json) -> list[FieldError]:
    """A RoleBinding or ClusterRoleBinding."""
    role, namespaced = obj.get("roleRef", {}), obj.get("kind") == "RoleBinding"
    errors = one_of("roleRef.apiGroup", role.get("apiGroup", ""), (GROUP,))
    errors += one_of("roleRef.kind", role.get("kind", ""), ("Role", "ClusterRole") if namespaced else ("ClusterRole",))
    name = role.get("name", "")
    errors += (
        [bad_value("roleRef.name", name, e) for e in names.path_segment(name)] if name else [required("roleRef.name")]
    )
    for i, subject in enumerate(obj.get("subjects", [])):
        errors += _subject(subject, f"subjects[{i}]", namespaced=namespaced)
    return errors


def _subject(subject: Json, path: str, *, namespaced: bool) -> list[FieldError]:
    kind, name, group = (subject.get(field, "") for field in ("kind", "name", "apiGroup"))
    errors = [] if name else [required(f"{path}.name")]
    if kind == "ServiceAccount":
        errors += [bad_value(f"{path}.name", name, e) for e in names.dns_subdomain(name) if name]
        if group:
            errors.append(unsupported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if not name:
            errors.append(bad_value(f"{path}.name", name, f"{kind.lower()} name cannot be empty"))
        errors += one_of(f"{path}.apiGroup", group, (GROUP,))
    else:
        errors.append(unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return errors


def _binding_change(new: Json, old: Json) -> list[FieldError]:
    role = new.get("roleRef", {})
    if role == old.get("roleRef"):
        return []
    parts = ("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name")
    shown = ", ".join(f'{go}:"{role.get(field, "")}"' for go, field in parts)
    return [bad_value("roleRef", Go(f"rbac.RoleRef{{{shown}}}"), "cannot change roleRef")]


VALIDATORS: dict[tuple[str, str], Callable[[Json], list[FieldError]]] = {
    **dict.fromkeys(((GROUP, "Role"), (GROUP, "ClusterRole")), validate_role),
    **dict.fromkeys(((GROUP, "RoleBinding"), (GROUP, "ClusterRoleBinding")), validate_role_binding),
}
CHANGE_VALIDATORS: dict[tuple[str, str], Callable[[Json, Json], list[FieldError]]] = dict.fromkeys(
    ((GROUP, "RoleBinding"), (GROUP, "ClusterRoleBinding")), _binding_change
)
