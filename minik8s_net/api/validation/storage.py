"""Claims, volumes and storage classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minik8s_net.api import quantity
from minik8s_net.api.errors import FieldError, bad_value, prohibited, required
from minik8s_net.api.validation import names
from minik8s_net.api.validation.meta import one_of, validate_selector

Json = dict[str, Any]
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES, RECLAIM = ("Block", "Filesystem"), ("Delete", "Recycle", "Retain")
BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
NO_SOURCE = frozenset(
    ["accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
     "storageClassName", "volumeAttributesClassName", "volumeMode"]
)  # fmt: skip
CLAIM_CHANGE = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def validate_claim(obj: Json) -> list[FieldError]:
    """A PersistentVolumeClaim."""
    return validate_claim_spec(obj.get("spec", {}), "spec")


def validate_claim_spec(spec: Json, path: str) -> list[FieldError]:
    """Of a claim, or of a StatefulSet's claim template."""
    errors = _access_modes(spec, path, "at least 1 access mode is required")
    errors += validate_selector(spec.get("selector", {}), f"{path}.selector")
    at = f"{path}.resources[storage]"
    if (size := spec.get("resources", {}).get("requests", {}).get("storage")) is None:
        errors.append(required(at))
    elif quantity.parse(size) <= 0:
        errors.append(bad_value(at, size, "must be greater than zero"))
    if name := spec.get("storageClassName"):
        errors += [bad_value(f"{path}.storageClassName", name, e) for e in names.dns_subdomain(name)]
    return errors + one_of(f"{path}.volumeMode", spec.get("volumeMode", "Filesystem"), VOLUME_MODES)


def _access_modes(spec: Json, path: str, detail: str = "") -> list[FieldError]:
    modes, at = spec.get("accessModes", []), f"{path}.accessModes"
    errors = [] if modes else [required(at, detail)]
    for mode in modes:
        errors += one_of(at, mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        errors.append(prohibited(at, "may not use ReadWriteOncePod with other access modes"))
    return errors


def validate_volume(obj: Json) -> list[FieldError]:
    """A PersistentVolume: exactly one source, a capacity."""
    spec = obj.get("spec", {})
    errors = _access_modes(spec, "spec")
    capacity = spec.get("capacity", {})
    if not capacity:
        errors.append(required("spec.capacity"))
    elif "storage" not in capacity or len(capacity) > 1:
        supported = ("storage",)
        errors += [e for name in capacity for e in one_of("spec.capacity", name, supported)]
    elif quantity.parse(capacity["storage"]) <= 0:
        errors.append(bad_value("spec.capacity[storage]", capacity["storage"], "must be greater than zero"))
    sources = sorted(field for field in spec if field not in NO_SOURCE)
    if not sources:
        errors.append(required("spec", "must specify a volume type"))
    errors += [prohibited(f"spec.{field}", "may not specify more than 1 volume type") for field in sources[1:]]
    errors += one_of("spec.persistentVolumeReclaimPolicy", spec.get("persistentVolumeReclaimPolicy"), RECLAIM)
    return errors + one_of("spec.volumeMode", spec.get("volumeMode", "Filesystem"), VOLUME_MODES)


def validate_storage_class(obj: Json) -> list[FieldError]:
    """A provisioner, and modes that exist."""
    provisioner = obj.get("provisioner", "")
    errors = [] if provisioner else [required("provisioner")]
    if provisioner:
        errors += [bad_value("provisioner", provisioner, e) for e in names.qualified_name(provisioner.lower())]
    errors += [bad_value("parameters", key, "field can not be empty.") for key in obj.get("parameters", {}) if not key]
    errors += one_of("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
    return errors + one_of("volumeBindingMode", obj.get("volumeBindingMode"), BINDING_MODES)


def _class_change(new: Json, old: Json) -> list[FieldError]:
    errors = [
        prohibited(field, f"updates to {field} are forbidden.")
        for field in ("parameters", "provisioner", "reclaimPolicy")
        if new.get(field) != old.get(field)
    ]
    if new.get("volumeBindingMode") != old.get("volumeBindingMode"):
        errors.append(bad_value("volumeBindingMode", new.get("volumeBindingMode"), "field is immutable"))
    return errors


def _claim_change(new: Json, old: Json) -> list[FieldError]:
    bound = bool(old.get("spec", {}).get("volumeName"))
    fixed = [_fixed(tree.get("spec", {}), bound=bound) for tree in (new, old)]
    fixed[0].pop("volumeName", None) if "volumeName" not in fixed[1] else None  # binding
    return [] if fixed[0] == fixed[1] else [prohibited("spec", CLAIM_CHANGE)]


def _fixed(spec: Json, *, bound: bool) -> Json:
    fixed = {name: value for name, value in spec.items() if name != "volumeAttributesClassName"}
    if bound:
        fixed["resources"] = {k: v for k, v in spec.get("resources", {}).items() if k != "requests"}
    return fixed


VALIDATORS: dict[tuple[str, str], Callable[[Json], list[FieldError]]] = {
    ("", "PersistentVolumeClaim"): validate_claim,
    ("", "PersistentVolume"): validate_volume,
    ("storage.k8s.io", "StorageClass"): validate_storage_class,
}
CHANGE_VALIDATORS: dict[tuple[str, str], Callable[[Json, Json], list[FieldError]]] = {
    ("", "PersistentVolumeClaim"): _claim_change,
    ("storage.k8s.io", "StorageClass"): _class_change,
}
