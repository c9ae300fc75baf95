"""Server-side apply: a manifest is merged into an object, with everybody's fields respected. Pure.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
What the manifest says is merged in (lists by their keys); what the same manager applied before and no longer says is
removed, unless somebody else has it too; to change what another manager owns is a conflict, or, by force, a takeover.
"""

from __future__ import annotations

import json
from typing import Any

from minik8s_net.api import fieldset, managed, schema, times
from minik8s_net.api.errors import StatusError, bad_request
from minik8s_net.api.fieldset import Hint, Part, Path, parts, shape
from minik8s_net.api.kinds import Kind
from minik8s_net.api.managed import Owner
from minik8s_net.api.schema import Type

Json = dict[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # what client-side apply remembers
KUBECTL = "kubectl"


def read(kind: Kind, patch: Any, namespace: str, name: str) -> Json:
    """An apply configuration, type-checked but not completed. Raises StatusError 400."""
    if not isinstance(patch, dict):
        raise bad_request("error decoding YAML: expected an object")
    metadata = patch.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    walked = schema.walk(kind.model, patch, complete=False)
    where = f"{namespace}/{name}; {kind.group}/{kind.version}, Kind={kind.kind}"
    problems = [f".{path}: field not declared in schema" for path in walked.unknown]
    problems = walked.errors or problems or fieldset.unclear(kind.model, walked.tree)
    if problems:
        shown = problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {p}" for p in problems)
        raise bad_request(f"failed to create typed patch object ({where}): {shown}")
    return walked.tree


def create(kind: Kind, config: Json, manager: str) -> Json:
    """The object to be created from a configuration (of `read`), with its managedFields."""
    return _managed(config, [_applier(kind, config, manager)])


def apply(kind: Kind, live: Json, config: Json, manager: str, *, force: bool) -> Json:
    """`live` with `config` applied, managedFields included. Raises StatusError 409 with every conflict."""
    owners = managed.read(live["metadata"].get("managedFields"))
    if not owners:
        owners = [Owner(managed.BEFORE, managed.UPDATE, kind.api_version, "", times.now(), _paths(kind, live))]
    mine = _applier(kind, config, manager)
    others = [owner for owner in owners if owner.identity != mine.identity]
    before = next((owner for owner in owners if owner.identity == mine.identity), None)
    changed = _changed(kind, live, config)
    conflicts = [(owner, path) for owner in others for path in sorted(owner.paths & changed)]
    if conflicts and not force and not _upgrades(kind, live, manager, conflicts):
        raise _conflict(conflicts)
    for owner in others:
        owner.paths -= changed
    merged = _merge(Type("struct", model=kind.model), None, live, config)
    kept = mine.paths.union(*(owner.paths for owner in others))
    if before:
        merged = _prune(kind, merged, before.paths - kept, kept)
        if before.paths == mine.paths:
            mine.time = before.time
    _remember(live, merged, config, manager)
    return _managed(merged, [*others, mine])


def _applier(kind: Kind, config: Json, manager: str) -> Owner:
    return Owner(manager, managed.APPLY, kind.api_version, "", times.now(), _paths(kind, config))


def _paths(kind: Kind, tree: Json) -> set[Path]:
    return {path for path in fieldset.leaves(kind.model, tree) if path[0] != "f:status"}


def _managed(tree: Json, owners: list[Owner]) -> Json:
    return {**tree, "metadata": {**tree.get("metadata", {}), "managedFields": managed.write(owners)}}


def _changed(kind: Kind, live: Json, config: Json) -> set[Path]:
    """The fields to which `config` gives a value that `live` has not."""
    present = fieldset.leaves(kind.model, live)
    wanted = fieldset.leaves(kind.model, config)
    return {path for path, value in wanted.items() if path not in present or present[path] != value}


def _conflict(conflicts: list[tuple[Owner, Path]]) -> StatusError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": fieldset.show(path)}
        for owner, path in conflicts
    ]
    if len(conflicts) == 1:
        said = f"conflict with {conflicts[0][0]}: {fieldset.show(conflicts[0][1])}"
        return StatusError(409, "Conflict", f"Apply failed with 1 conflict: {said}", {"causes": causes})
    lines: dict[str, list[str]] = {}
    for owner, path in conflicts:
        lines.setdefault(f"conflicts with {owner}:", []).append(f"- {fieldset.show(path)}")
    said = "\n".join("\n".join([head, *paths]) for head, paths in sorted(lines.items()))
    return StatusError(409, "Conflict", f"Apply failed with {len(conflicts)} conflicts: {said}", {"causes": causes})


# -- from client-side apply and back -------------------------------------------------------------------------------
def _upgrades(kind: Kind, live: Json, manager: str, conflicts: list[tuple[Owner, Path]]) -> bool:
    """kubectl may take over what its own client-side apply has set and nobody has changed since: no conflict."""
    if manager != KUBECTL:
        return False
    try:
        last = json.loads(live["metadata"].get("annotations", {}).get(LAST_APPLIED, "{}"))
    except ValueError:
        return False
    known = fieldset.leaves(kind.model, schema.walk(kind.model, last, complete=False).tree)
    present = fieldset.leaves(kind.model, live)
    return all(path in known and known[path] == present.get(path) for _, path in conflicts)


def _remember(live: Json, merged: Json, config: Json, manager: str) -> None:
    """Where client-side apply has left its annotation, it is kept true, so that it may come back."""
    if manager == KUBECTL and LAST_APPLIED in live["metadata"].get("annotations", {}):
        text = json.dumps(config, separators=(",", ":"), sort_keys=True) + "\n"
        merged["metadata"] = {**merged["metadata"]}
        merged["metadata"]["annotations"] = {**merged["metadata"].get("annotations", {}), LAST_APPLIED: text}


# -- trees -----------------------------------------------------------------------------------------------------------
def _merge(kind: Type, hint: Hint, live: Any, config: Any) -> Any:
    """A new tree; items of lists keep their place, new ones follow the one they follow in `config`."""
    how, present, wanted = shape(kind, hint), parts(kind, hint, live), parts(kind, hint, config)
    if type(live) is not type(config) or not how or (config and wanted is None):
        return config
    if how == "set":
        return list({repr(member): member for member in (*live, *config)}.values())
    if how == "items":
        return _merge_items(present, wanted or []) if present or not live else config
    merged = dict(live)
    for step, part_kind, part_hint, part in wanted or ():
        name = step[2:]
        merged[name] = _merge(part_kind, part_hint, live[name], part) if name in live else part
    return merged


def _merge_items(present: list[Part] | None, wanted: list[Part]) -> list[Any]:
    known, changes = {step for step, *_ in present or ()}, {step: part for step, _, _, part in wanted}
    after: dict[str, list[Any]] = {"": []}  # new items, by the present one that they follow
    previous = ""
    for step, _, _, part in wanted:
        if step in known:
            previous = step
        else:
            after.setdefault(previous, []).append(part)
    made: list[Any] = []
    for step, kind, hint, item in present or ():
        made.append(_merge(kind, hint, item, changes.pop(step)) if step in changes else item)
        made += after.pop(step, ())
    return made + after[""]


def _prune(kind: Kind, tree: Json, gone: set[Path], kept: set[Path]) -> Json:
    """Without the fields that are `gone`, but never what holds a field that is `kept`."""
    inner = {path[:length] for path in kept for length in range(1, len(path))}
    fields = fieldset.to_fields(path for path in gone if path not in inner)
    pruned: Json = _without(Type("struct", model=kind.model), None, tree, fields)
    return pruned


def _without(kind: Type, hint: Hint, value: Any, gone: Json) -> Any:
    if not gone or (inner := parts(kind, hint, value)) is None:
        return value
    left = []
    for step, part_kind, part_hint, part in inner:
        marks = gone.get(step)
        if marks is None:
            left.append((step, part))
        elif marks and "." not in marks:
            pruned = _without(part_kind, part_hint, part, marks)
            if pruned or not part:  # what has lost its last field goes as well
                left.append((step, pruned))
    if shape(kind, hint) in ("struct", "map"):
        return {step[2:]: part for step, part in left}
    return [part for _, part in left]
