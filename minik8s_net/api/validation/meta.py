"""ObjectMeta, labels and LabelSelectors: what holds for every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from minik8s_net.api.errors import FieldError, Go, bad_value, prohibited, required, too_long, unsupported
from minik8s_net.api.kinds import Kind
from minik8s_net.api.validation import names

Json = dict[str, Any]
ANNOTATIONS_LIMIT = 256 * 1024  # bytes, keys and values together
NAME_RULES: dict[str, Callable[[str], list[str]]] = {
    **dict.fromkeys(("Namespace", "ResourceClaimTemplate"), names.dns_label),
    "Service": names.dns_1035,
    **dict.fromkeys(("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"), names.path_segment),
}
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def validate_metadata(kind: Kind, tree: Json) -> list[FieldError]:
    """ObjectMeta of a new object: name, namespace, labels, annotations, owners, finalizers."""
    metadata = tree.get("metadata", {})
    errors: list[FieldError] = []
    rule = NAME_RULES.get(kind.kind, names.dns_subdomain)
    if generated := metadata.get("generateName"):
        errors += [
            bad_value("metadata.generateName", generated, e) for e in rule(generated.removesuffix("-") or generated)
        ]
    name = metadata.get("name")
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    elif kind.storable:
        errors += [bad_value("metadata.name", name, e) for e in rule(name)]
    namespace = metadata.get("namespace")
    if kind.namespaced and not namespace:
        errors.append(required("metadata.namespace"))
    elif kind.namespaced:
        errors += [bad_value("metadata.namespace", namespace, e) for e in names.dns_label(str(namespace))]
    elif namespace:
        errors.append(prohibited("metadata.namespace", "not allowed on this type"))
    return errors + validate_decorations(metadata, "metadata")


def validate_decorations(metadata: Json, path: str) -> list[FieldError]:
    """Labels, annotations, owner references and finalizers; also of a pod template."""
    errors = validate_labels(metadata.get("labels", {}), f"{path}.labels")
    annotations = metadata.get("annotations", {})
    for key in annotations:
        errors += [bad_value(f"{path}.annotations", key, e) for e in names.qualified_name(key.lower())]
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > ANNOTATIONS_LIMIT:
        errors.append(too_long(f"{path}.annotations", ANNOTATIONS_LIMIT))
    controllers = 0
    for i, owner in enumerate(metadata.get("ownerReferences", [])):
        at = f"{path}.ownerReferences[{i}]" if path != "metadata" else "metadata.ownerReferences"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                errors.append(bad_value(f"{at}.{field}", owner.get(field, ""), "must not be empty"))
        controllers += bool(owner.get("controller"))
    if controllers > 1:
        errors.append(bad_value(f"{path}.ownerReferences", "", "Only one reference can have Controller set to true"))
    for finalizer in metadata.get("finalizers", []):
        errors += [bad_value(f"{path}.finalizers", finalizer, e) for e in names.qualified_name(finalizer)]
    return errors


def validate_labels(labels: dict[str, str], path: str) -> list[FieldError]:
    """Keys and values of a label map at `path`."""
    errors: list[FieldError] = []
    for key, value in labels.items():
        errors += [bad_value(path, key, e) for e in names.qualified_name(key)]
        errors += [bad_value(path, value, e) for e in names.label_value(value)]
    return errors


def validate_selector(selector: Json, path: str) -> list[FieldError]:
    """A metav1.LabelSelector."""
    errors = validate_labels(selector.get("matchLabels", {}), f"{path}.matchLabels")
    for i, term in enumerate(selector.get("matchExpressions", [])):
        at, operator, values = (
            f"{path}.matchExpressions[{i}]",
            term.get("operator", ""),
            term.get("values", []),
        )
        if operator in ("In", "NotIn") and not values:
            errors.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist") and values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(prohibited(f"{at}.values", detail))
        elif operator not in OPERATORS:
            errors.append(bad_value(f"{at}.operator", operator, "not a valid selector operator"))
        errors += [bad_value(f"{at}.key", term.get("key", ""), e) for e in names.qualified_name(term.get("key", ""))]
        for j, value in enumerate(values):
            errors += [bad_value(f"{at}.values[{j}]", value, e) for e in names.label_value(value)]
    return errors


def validate_metadata_update(kind: Kind, new: Json, old: Json) -> list[FieldError]:
    """Fields of metadata that stay as they were created."""
    mine, was = new.get("metadata", {}), old.get("metadata", {})
    errors = []
    for field in ("name", "namespace", "uid", "creationTimestamp"):
        if field in was and mine.get(field) != was[field]:
            errors.append(bad_value(f"metadata.{field}", mine.get(field, ""), "field is immutable"))
    before = set(was.get("finalizers", []))
    added = [f for f in mine.get("finalizers", []) if f not in before]
    if was.get("deletionTimestamp") and added:
        detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {added}"
        errors.append(
            prohibited("metadata.finalizers", detail.replace("[", "[]string{").replace("]", "}").replace("'", '"'))
        )
    return errors


def one_of(path: str, value: Any, supported: tuple[str, ...]) -> list[FieldError]:
    """An error unless `value` is supported."""
    return [] if value in supported else [unsupported(path, value, supported)]


def not_negative(tree: Json, path: str, *fields: str) -> list[FieldError]:
    """Each field that is given must be ≥ 0."""
    detail = "must be greater than or equal to 0"
    return [bad_value(f"{path}.{f}", tree[f], detail) for f in fields if tree.get(f, 0) < 0]


def immutable(*fields: str, of: str = "spec") -> Callable[[Json, Json], list[FieldError]]:
    """A rule: these fields of `of` ("" = the object itself) stay as they were created."""

    def check(new: Json, old: Json) -> list[FieldError]:
        now, was = (new.get(of, {}), old.get(of, {})) if of else (new, old)
        path = f"{of}." if of else ""
        return [
            bad_value(f"{path}{f}", Go(_go(now.get(f))), "field is immutable")
            for f in fields
            if now.get(f) != was.get(f)
        ]

    return check


def _go(value: Any) -> str:
    """A selector as Go prints it; other values as JSON."""
    if isinstance(value, dict) and set(value) <= {"matchLabels", "matchExpressions"}:
        labels, terms = Go.map(value.get("matchLabels", {})), "[]v1.LabelSelectorRequirement(nil)"
        if value.get("matchExpressions"):
            terms = json.dumps(value["matchExpressions"])
        return f"&v1.LabelSelector{{MatchLabels:{labels}, MatchExpressions:{terms}}}"
    return json.dumps(value)
