"""Who manages which field: metadata.managedFields, kept up over applies and updates. Pure.

An object that came over HTTPS says so from the beginning; one that a component created says nothing until it is
first applied: what it then has is `before-first-apply`'s. Writes of status are not followed.
https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from minik8s_net.api import fieldset, times
from minik8s_net.api.fieldset import Path
from minik8s_net.api.kinds import Kind

Json = dict[str, Any]
APPLY, UPDATE = "Apply", "Update"
BEFORE, ANCIENT, COMPONENT = "before-first-apply", "ancient-changes", "minik8s"
MOST_UPDATERS = 10  # older ones are merged into ANCIENT


@dataclass
class Owner:
    """One entry: a manager and the paths it owns. `time` is RFC 3339; it moves when `paths` change."""

    manager: str
    operation: str
    api_version: str
    subresource: str = ""
    time: str = ""
    paths: set[Path] = field(default_factory=set)

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes two entries one."""
        return self.manager, self.operation, self.subresource

    def __str__(self) -> str:
        """As conflicts name it: `"kubectl" with subresource "scale" using apps/v1`."""
        sub = f' with subresource "{self.subresource}"' if self.subresource else ""
        return f'"{self.manager}"{sub}' + (f" using {self.api_version}" if self.operation == UPDATE else "")


def read(entries: Any) -> list[Owner]:
    """The owners that managedFields names. Raises ValueError where an entry makes no sense."""
    found = []
    for entry in entries or ():
        if entry.get("operation") not in (APPLY, UPDATE) or entry.get("fieldsType", "FieldsV1") != "FieldsV1":
            raise ValueError("managedFields: operation must be Apply or Update, fieldsType FieldsV1")
        paths = fieldset.from_fields(entry.get("fieldsV1") or {})
        manager, version, sub, time = (entry.get(k) or "" for k in ("manager", "apiVersion", "subresource", "time"))
        found.append(Owner(manager, entry["operation"], version, sub, time, paths))
    return found


def write(owners: Iterable[Owner]) -> list[Json]:
    """managedFields, without owners of nothing; of many updaters the oldest are merged."""
    kept = [owner for owner in owners if owner.paths]
    updaters = sorted((o for o in kept if o.operation == UPDATE), key=lambda o: o.time)
    if len(updaters) > MOST_UPDATERS:
        old = updaters[: len(updaters) - MOST_UPDATERS + 1]
        merged = Owner(ANCIENT, UPDATE, old[-1].api_version, "", old[-1].time, set().union(*(o.paths for o in old)))
        kept = [o for o in kept if o not in old] + [merged]
    return [_entry(owner) for owner in kept]


def _entry(owner: Owner) -> Json:
    entry: Json = {"manager": owner.manager, "operation": owner.operation, "apiVersion": owner.api_version}
    entry |= {"time": owner.time, "fieldsType": "FieldsV1", "fieldsV1": fieldset.to_fields(owner.paths)}
    return entry | ({"subresource": owner.subresource} if owner.subresource else {})


def created(kind: Kind, tree: Json, manager: str) -> list[Json]:
    """managedFields of an object that `manager` created by POST: all of it is its own."""
    paths = set(fieldset.leaves(kind.model, _without_status(tree)))
    return write([Owner(manager, UPDATE, kind.api_version, "", times.now(), paths)])


def updated(kind: Kind, new: Json, old: Json, sent: Any, manager: str, subresource: str = "") -> list[Json]:
    """managedFields after `manager` made `new` of `old`. `sent` is what the request says they are (None: nothing)."""
    if sent is not None and (not sent or sent == [{}]):  # the way to be rid of them
        return []
    owners = _base(sent, old)
    if not owners:
        return []
    now, was = (fieldset.leaves(kind.model, _without_status(tree)) for tree in (new, old))
    changed = {path for path, value in now.items() if path not in was or was[path] != value}
    gone = was.keys() - now.keys()
    if not changed and not gone:
        return write(owners) if sent is not None else old["metadata"]["managedFields"]
    claim(owners, Owner(manager or COMPONENT, UPDATE, kind.api_version, subresource, times.now(), changed), gone)
    return write(owners)


def _base(sent: Any, old: Json) -> list[Owner]:
    try:
        return read(sent if sent is not None else old["metadata"].get("managedFields"))
    except ValueError:
        return read(old["metadata"].get("managedFields"))


def claim(owners: list[Owner], by: Owner, gone: Iterable[Path] = ()) -> None:
    """`by.paths` become its own and nobody else's; paths that are `gone` are nobody's. Changes `owners`."""
    gone = set(gone)
    for owner in owners:
        owner.paths -= gone
        if owner.identity != by.identity:
            owner.paths -= by.paths
    mine = next((owner for owner in owners if owner.identity == by.identity), None)
    if mine is None:
        owners.append(by)
    elif not by.paths <= mine.paths:
        mine.paths |= by.paths
        mine.time, mine.api_version = by.time, by.api_version


def _without_status(tree: Json) -> Json:
    return {name: value for name, value in tree.items() if name != "status"}
