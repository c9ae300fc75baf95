"""Where a pod may go: node and pod affinity."""

from __future__ import annotations

from typing import Any

from minik8s_net.api.errors import FieldError, bad_value, prohibited, required
from minik8s_net.api.validation import names
from minik8s_net.api.validation.meta import validate_selector

Json = dict[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def validate_affinity(affinity: Json, path: str) -> list[FieldError]:
    """A pod's `spec.affinity`."""
    errors = _node_affinity(affinity.get("nodeAffinity", {}), f"{path}.nodeAffinity")
    for field in ("podAffinity", "podAntiAffinity"):
        for i, term in enumerate(affinity.get(field, {}).get(REQUIRED, [])):
            errors += _pod_term(term, f"{path}.{field}.{REQUIRED}[{i}]")
        for i, preferred in enumerate(affinity.get(field, {}).get(PREFERRED, [])):
            at = f"{path}.{field}.{PREFERRED}[{i}]"
            errors += _weight(preferred, at) + _pod_term(preferred.get("podAffinityTerm", {}), f"{at}.podAffinityTerm")
    return errors


def _node_affinity(affinity: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if REQUIRED in affinity:
        terms, at = affinity[REQUIRED].get("nodeSelectorTerms", []), f"{path}.{REQUIRED}.nodeSelectorTerms"
        errors += [] if terms else [required(at, "must have at least one node selector term")]
        for i, term in enumerate(terms):
            errors += _node_term(term, f"{at}[{i}]")
    for i, preferred in enumerate(affinity.get(PREFERRED, [])):
        at = f"{path}.{PREFERRED}[{i}]"
        errors += _weight(preferred, at) + _node_term(preferred.get("preference", {}), f"{at}.preference")
    return errors


def _weight(preferred: Json, path: str) -> list[FieldError]:
    weight = preferred.get("weight", 0)
    return [] if 1 <= weight <= 100 else [bad_value(f"{path}.weight", weight, "must be in the range 1-100")]


def _node_term(term: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, requirement in enumerate(term.get("matchExpressions", [])):
        errors += _requirement(requirement, f"{path}.matchExpressions[{i}]")
    return errors


def _requirement(requirement: Json, path: str) -> list[FieldError]:
    key, operator, values = requirement.get("key", ""), requirement.get("operator", ""), requirement.get("values", [])
    errors: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(prohibited(f"{path}.values", detail))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(required(f"{path}.values", detail))
    else:
        errors.append(bad_value(f"{path}.operator", operator, "not a valid selector operator"))
    return errors + [bad_value(f"{path}.key", key, e) for e in names.qualified_name(key)]


def _pod_term(term: Json, path: str) -> list[FieldError]:
    errors = validate_selector(term.get("labelSelector", {}), f"{path}.labelSelector")
    errors += validate_selector(term.get("namespaceSelector", {}), f"{path}.namespaceSelector")
    for i, name in enumerate(term.get("namespaces", [])):
        errors += [bad_value(f"{path}.namespaces[{i}]", name, e) for e in names.dns_label(name)]
    key = term.get("topologyKey", "")
    if not key:
        return [*errors, required(f"{path}.topologyKey", "can not be empty")]
    return errors + [bad_value(f"{path}.topologyKey", key, e) for e in names.qualified_name(key)]
