"""What a request is about: its path and query, read once.

    /api/v1/namespaces/NS/PLURAL/NAME/SUBRESOURCE/REST      /apis/GROUP/VERSION/PLURAL/NAME …

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs

from ..api.errors import (
    FieldError,
    Go,
    StatusError,
    bad_request,
    bad_value,
    invalid_named,
    prohibited,
    too_long,
    unsupported,
)
from ..api.kinds import Kind, by_path
from .registry import WriteOptions

NOT_OLDER = "NotOlderThan"
MAX_MANAGER = 128  # characters of a field manager's name


@dataclass(frozen=True, slots=True)
class Target:
    """`rest` is what follows a proxy subresource, with its leading slash."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def not_served() -> StatusError:
    """404 for a path nobody serves."""
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def method_not_allowed() -> StatusError:
    """405."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message)


def parse(path: str) -> Target | None:
    """None for a path that is no resource's. Raises StatusError 404 for a resource nobody serves."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, parts = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and (group or parts[2] not in ("status", "finalize")):
        namespace, parts = parts[1], parts[2:]
    kind = by_path(group, version, parts[0])
    if kind is None or (namespace and not kind.namespaced):
        raise not_served()
    name, subresource = [*parts[1:3], "", ""][:2]
    rest = path.split(f"/{name}/proxy", 1)[1] if subresource == "proxy" else ""
    if (kind.namespaced and name and not namespace) or (len(parts) > 3 and subresource != "proxy"):
        raise not_served()
    if subresource and subresource not in kind.subresources:
        raise not_served()
    return Target(kind, namespace, name, subresource, rest)


class Query:
    """The query string, with the errors a real server answers."""

    def __init__(self, raw: bytes) -> None:
        self.values = parse_qs(raw.decode(errors="replace"), keep_blank_values=True)

    def text(self, name: str) -> str:
        """The first value of a parameter, "" without one."""
        return self.values.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        """Every value of a parameter."""
        return self.values.get(name, [])

    def flag(self, name: str) -> bool:
        """Go's strconv.ParseBool, a bare name counting as true."""
        return name in self.values and self.text(name).lower() not in ("0", "f", "false")

    def number(self, name: str) -> int | None:
        """A decimal number, None without one. Raises StatusError 400."""
        text = self.text(name)
        if not text:
            return None
        if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        return int(text)

    def check_list(self, *, watch: bool) -> None:
        """resourceVersionMatch and sendInitialEvents go with some requests only. Raises StatusError 422."""
        match, errors = self.text("resourceVersionMatch"), []
        initial, path = "sendInitialEvents" in self.values, "resourceVersionMatch"
        if watch and initial and match != NOT_OLDER:
            errors.append(prohibited(path, f"sendInitialEvents requires setting resourceVersionMatch to {NOT_OLDER}"))
        elif watch and match and not initial:
            errors.append(prohibited(path, f"{path} is forbidden for watch unless sendInitialEvents is provided"))
        elif not watch and match and not self.text("resourceVersion"):
            errors.append(prohibited(path, f"{path} is forbidden unless resourceVersion is provided"))
        if match and self.text("continue"):
            errors.append(prohibited(path, f"{path} is forbidden when continue is provided"))
        if match and match not in (NOT_OLDER, *(() if watch else ("Exact",))):
            errors.append(unsupported(path, match, [NOT_OLDER] if watch else ["Exact", NOT_OLDER, ""]))
        if not watch and match == "Exact" and self.text("resourceVersion") == "0":
            errors.append(prohibited(path, f'{path} "exact" is forbidden for resourceVersion "0"'))
        if not watch and initial:
            errors.append(prohibited("sendInitialEvents", "sendInitialEvents is forbidden for list"))
        if errors:
            raise invalid_named("ListOptions", "meta.k8s.io", "", errors)

    def write_options(self, options_kind: str, agent: str = "") -> WriteOptions:
        """`options_kind` is CreateOptions, UpdateOptions or PatchOptions; `agent` the field manager where the query
        names none. Raises StatusError 422."""
        errors: list[FieldError] = []
        dry_run, strictness = self.all("dryRun"), self.text("fieldValidation") or "Warn"
        if any(value not in ("All", "") for value in dry_run):
            errors.append(unsupported("dryRun", Go.strings(dry_run), ["All"]))
        if strictness not in ("Ignore", "Strict", "Warn"):
            errors.append(unsupported("fieldValidation", strictness, ["Ignore", "Strict", "Warn"]))
        manager = self.text("fieldManager")
        if len(manager) > MAX_MANAGER:
            errors.append(too_long("fieldManager", MAX_MANAGER))
        elif not manager.isprintable():
            errors.append(bad_value("fieldManager", manager, "should only contain printable characters"))
        if errors:
            raise invalid_named(options_kind, "meta.k8s.io", "", errors)
        force = self.flag("force")
        return WriteOptions("All" in dry_run, strictness, manager or agent, force=force)
