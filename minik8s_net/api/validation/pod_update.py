"""What of a running pod may change: images, deadline, added tolerations; the rest is immutable."""

from __future__ import annotations

import copy
from typing import Any

from minik8s_net.api.errors import FieldError, bad_value, prohibited

Json = dict[str, Any]
UPDATE_DETAIL = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod_change(new: Json, old: Json, subresource: str | None = None) -> list[FieldError]:
    """`subresource` "binding", "ephemeralcontainers" and "resize" may change what an ordinary update may not."""
    spec, was = new.get("spec", {}), old.get("spec", {})
    errors = _container_count(spec, was) + _deadline(spec, was) + _tolerations(spec, was)
    if subresource == "ephemeralcontainers":
        errors += _ephemeral(spec, was)
    if errors:
        return errors
    comparable = _frozen(spec, subresource), _frozen(was, subresource)
    if comparable[0] != comparable[1]:
        return [prohibited("spec", UPDATE_DETAIL + "\n" + _difference(*comparable))]
    return []


def _frozen(spec: Json, subresource: str | None) -> Json:
    """A copy without what may change."""
    frozen = copy.deepcopy(spec)
    for field in ("activeDeadlineSeconds", "tolerations"):
        frozen.pop(field, None)
    for container in (*frozen.get("containers", []), *frozen.get("initContainers", [])):
        container.pop("image", None)
        if subresource == "resize":
            container.pop("resources", None)
    if frozen.get("terminationGracePeriodSeconds") == 1:
        frozen.pop("terminationGracePeriodSeconds") if (spec.get("terminationGracePeriodSeconds") or 0) < 0 else None
    if subresource == "binding":
        frozen.pop("nodeName", None)
    if subresource == "ephemeralcontainers":
        frozen.pop("ephemeralContainers", None)
    return frozen


def _container_count(spec: Json, was: Json) -> list[FieldError]:
    detail = "pod updates may not add or remove containers"
    return [
        prohibited(f"spec.{group}", detail)
        for group in ("containers", "initContainers")
        if len(spec.get(group, [])) != len(was.get(group, []))
    ]


def _ephemeral(spec: Json, was: Json) -> list[FieldError]:
    """Debugging containers are added, never taken away or changed."""
    now, path = {c.get("name"): c for c in spec.get("ephemeralContainers", [])}, "spec.ephemeralContainers"
    errors = []
    for old in was.get("ephemeralContainers", []):
        name = old.get("name")
        if name not in now:
            errors.append(prohibited(path, f'existing ephemeral containers "{name}" may not be removed'))
        elif now[name] != old:
            errors.append(prohibited(path, f'existing ephemeral containers "{name}" may not be changed'))
    return errors


def _deadline(spec: Json, was: Json) -> list[FieldError]:
    path, new, old = (
        "spec.activeDeadlineSeconds",
        spec.get("activeDeadlineSeconds"),
        was.get("activeDeadlineSeconds"),
    )
    if old is None or new == old:
        return []
    if new is None:
        return [bad_value(path, None, "must not update from a positive integer to nil value")]
    return [bad_value(path, new, "must be less than or equal to previous value")] if new > old else []


def _tolerations(spec: Json, was: Json) -> list[FieldError]:
    new = {repr(sorted(toleration.items())) for toleration in spec.get("tolerations", [])}
    if all(repr(sorted(toleration.items())) in new for toleration in was.get("tolerations", [])):
        return []
    return [prohibited("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")]


def _difference(new: Json, old: Json) -> str:
    """The changed fields, in the manner of the real server's dump (which prints Go values; see api-exceptions.md)."""
    lines = ["  core.PodSpec{"]
    for field in sorted({*new, *old}):
        if new.get(field) != old.get(field):
            title = field[0].upper() + field[1:]
            lines += [f"- \t{title}: {old.get(field)!r},", f"+ \t{title}: {new.get(field)!r},"]
    return "\n".join([*lines, "  }", ""])
