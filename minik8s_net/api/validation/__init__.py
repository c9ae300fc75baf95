"""Rules of meaning, one file per family of kinds. Types and unknown fields are the walker's business (`schema`).

Every rule returns FieldErrors in the order, and with the words, of the real server; all causes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minik8s_net.api.errors import FieldError
from minik8s_net.api.kinds import Kind
from minik8s_net.api.validation import (
    endpoints,
    ingress,
    network_policy,
    others,
    pod,
    pod_update,
    rbac,
    scaling,
    service,
    storage,
    workloads,
)
from minik8s_net.api.validation.meta import validate_decorations, validate_metadata, validate_metadata_update

Json = dict[str, Any]
Validator = Callable[[Json], list[FieldError]]
ChangeValidator = Callable[[Json, Json], list[FieldError]]

VALIDATORS: dict[tuple[str, str], Validator] = {
    ("", "Pod"): pod.validate_pod,
    ("", "PodTemplate"): pod.validate_pod_template_object,
    ("", "Service"): service.validate_service,
    ("", "Endpoints"): endpoints.validate_endpoints,
    ("discovery.k8s.io", "EndpointSlice"): endpoints.validate_endpoint_slice,
    ("networking.k8s.io", "NetworkPolicy"): network_policy.validate_network_policy,
    **workloads.VALIDATORS,
    **ingress.VALIDATORS,
    **storage.VALIDATORS,
    **scaling.VALIDATORS,
    **rbac.VALIDATORS,
    **others.VALIDATORS,
}
CHANGE_VALIDATORS: dict[tuple[str, str], ChangeValidator] = {
    ("", "Service"): service.validate_service_change,
    ("discovery.k8s.io", "EndpointSlice"): endpoints.validate_slice_change,
    **workloads.CHANGE_VALIDATORS,
    **ingress.CHANGE_VALIDATORS,
    **storage.CHANGE_VALIDATORS,
    **scaling.CHANGE_VALIDATORS,
    **rbac.CHANGE_VALIDATORS,
    **others.CHANGE_VALIDATORS,
}


def validate(kind: Kind, tree: Json) -> list[FieldError]:
    """The kind's own rules for one object."""
    validator = VALIDATORS.get((kind.group, kind.kind))
    return validator(tree) if validator else []


def validate_change(kind: Kind, new: Json, old: Json, subresource: str | None = None) -> list[FieldError]:
    """Fields of this kind that may not change."""
    if (kind.group, kind.kind) == ("", "Pod"):
        return pod_update.validate_pod_change(new, old, subresource)
    validator = CHANGE_VALIDATORS.get((kind.group, kind.kind))
    return validator(new, old) if validator else []


__all__ = ["validate", "validate_change", "validate_decorations", "validate_metadata", "validate_metadata_update"]
