"""Fields as paths: what a tree consists of, in the steps of metav1.FieldsV1.

    ("f:spec", "f:containers", 'k:{"name":"web"}', "f:image")     .spec.containers[name="web"].image
    ("f:metadata", "f:finalizers", 'v:"example.com/x"')           .metadata.finalizers[="example.com/x"]

Lists and maps divide into fields as their type says (`data/merge_keys.json`): a list map by its keys, a set by its
members; an atomic list, map or struct is one field. https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from minik8s_net.api import schema
from minik8s_net.api.patch import merge_keys
from minik8s_net.api.schema import Type

Json = dict[str, Any]
Path = tuple[str, ...]
Hint = list[str] | None  # of one field: [patch strategy, merge key, list type, *list map keys]
Part = tuple[str, Type, Hint, Any]
KEY_DEFAULTS = {"protocol": "TCP"}  # a key that an item leaves out
# What no manager owns: identity, and what the system sets.
_SYSTEM = {
    ("f:metadata", f"f:{name}")
    for name in ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
                 "deletionGracePeriodSeconds", "selfLink", "managedFields")
} | {("f:apiVersion",), ("f:kind",), ("f:metadata",)}  # fmt: skip


def shape(kind: Type, hint: Hint) -> str:
    """How a value of this type divides: "struct", "map", "items" (a list map), "set", or "" (it is one field)."""
    wanted = hint[2] if hint else ""
    if kind.kind == "struct" and kind.model:
        atomic = wanted != "granular" and merge_keys().get(kind.model.__name__, {}).get("", ["", "", ""])[2] == "atomic"
        return "" if atomic or wanted == "atomic" else "struct"
    if kind.kind == "map":
        return "" if wanted == "atomic" else "map"
    if kind.kind == "list":
        return {"map": "items", "set": "set"}.get(wanted, "")
    return ""


def parts(kind: Type, hint: Hint, value: Any) -> list[Part] | None:
    """(step, type, hint, value) of each part of a value; None for what is one field: by its type, for being empty, or
    because an item lacks its key."""
    if not value or not shape(kind, hint):
        return None
    try:
        return list(_divide(kind, hint, value))
    except ValueError:
        return None


def _divide(kind: Type, hint: Hint, value: Any) -> Iterator[Part]:
    how = shape(kind, hint)
    if how == "struct" and kind.model:
        known, hints = schema.fields(kind.model), merge_keys().get(kind.model.__name__, {})
        for name, part in value.items():
            field = known.get(name)
            yield f"f:{name}", field.type if field else Type("any"), hints.get(name), part
    elif how == "map":
        for name, part in value.items():
            yield f"f:{name}", kind.item or Type("any"), None, part
    elif how == "items" and hint:
        for number, item in enumerate(value):
            yield _key(kind, item, hint[3:], number), kind.item or Type("any"), None, item
    else:
        for member in value:
            yield f"v:{json.dumps(member)}", Type("any"), None, member


def _key(kind: Type, item: Any, keys: list[str], number: int) -> str:
    reference = kind.item is not None and kind.item.go in ("v1.LocalObjectReference", "v1.ObjectReference")
    defaults = KEY_DEFAULTS | ({"name": ""} if reference else {})
    values = {}
    for key in sorted(keys):
        value = item.get(key, defaults.get(key)) if isinstance(item, dict) else None
        if value is None:
            why = f'an element that omits key field "{key}" (and doesn\'t have default value)'
            raise ValueError(f"element {number}: associative list with keys has {why}")
        values[key] = value
    return f"k:{json.dumps(values, separators=(',', ':'))}"


def leaves(model: type[Any], tree: Json) -> dict[Path, Any]:
    """Every field of a tree and its value; an item of a list map is itself a field, of value None."""
    found: dict[Path, Any] = {}
    _collect(Type("struct", model=model), None, tree, (), found)
    for path in _SYSTEM:
        found.pop(path, None)
    return found


def _collect(kind: Type, hint: Hint, value: Any, path: Path, found: dict[Path, Any]) -> None:
    if (inner := parts(kind, hint, value)) is None:
        found[path] = value
        return
    if path and path[-1].startswith("k:"):
        found[path] = None
    for step, part_kind, part_hint, part in inner:
        _collect(part_kind, part_hint, part, (*path, step), found)


def unclear(model: type[Any], tree: Json) -> list[str]:
    """Complaints about list maps and sets that name an item twice, or not at all."""
    found: list[str] = []

    def look(kind: Type, hint: Hint, value: Any, path: Path) -> None:
        if not shape(kind, hint) or not value:
            return
        seen: set[str] = set()
        try:
            for step, part_kind, part_hint, part in _divide(kind, hint, value):
                if step in seen:
                    found.append(f"{show(path)}: duplicate entries for key {show((step,))}")
                seen.add(step)
                look(part_kind, part_hint, part, (*path, step))
        except ValueError as error:
            found.append(f"{show(path)}: {error}")

    look(Type("struct", model=model), None, tree, ())
    return found


def show(path: Path) -> str:
    """As messages print a path: `.spec.ports[port=80,protocol="TCP"].name`."""
    return "".join(_show_step(step) for step in path)


def _show_step(step: str) -> str:
    kind, _, rest = step.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "v":
        return f"[={rest}]"
    return f"[{','.join(f'{k}={json.dumps(v)}' for k, v in json.loads(rest).items())}]"


def to_fields(paths: Iterable[Path]) -> Json:
    """metav1.FieldsV1: nested steps, "." where what has parts is a field itself."""
    root: Json = {}
    ordered = sorted(paths)
    nodes = []
    for path in ordered:
        node = root
        for step in path:
            node = node.setdefault(step, {})
        nodes.append(node)
    for node in nodes:
        if node:
            node["."] = {}
    return root


def from_fields(fields: Json) -> set[Path]:
    """The paths of a metav1.FieldsV1. Raises ValueError for what is none."""
    found: set[Path] = set()

    def walk(node: Any, path: Path) -> None:
        if not isinstance(node, dict):
            raise ValueError("fieldsV1: expected an object")
        if path and (not node or "." in node):
            found.add(path)
        for step, inner in node.items():
            if step == ".":
                continue
            _check_step(step)
            walk(inner, (*path, step))

    walk(fields, ())
    return found


def _check_step(step: str) -> None:
    kind, colon, rest = step.partition(":")
    if not colon or kind not in "fkvi":
        raise ValueError(f"fieldsV1: no path element: {step}")
    if kind in "kv" and not (isinstance(json.loads(rest), dict) or kind == "v"):
        raise ValueError(f"fieldsV1: no path element: {step}")
