"""One walker over the typed models: unknown fields, wrong types (also inside maps), ranges, formats, missing fields.

lightkube's models name fields, nesting and lists; what they lose (the values of maps, int64, bytes) is named below by
field name, as it is in Kubernetes' Go types. Messages are those of the real server's decoder (encoding/json in strict
mode). As Go does: a null is an absent field, and an absent number, flag or list of a required field is its zero.
"""

from __future__ import annotations

import typing
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import msgspec

from minik8s_net.api import scalars

Json = dict[str, Any]

INT64 = frozenset(
    ["generation", "observedGeneration", "deletionGracePeriodSeconds", "terminationGracePeriodSeconds",
     "activeDeadlineSeconds", "runAsUser", "runAsGroup", "fsGroup", "supplementalGroups", "tolerationSeconds",
     "expirationSeconds", "remainingItemCount", "start", "length", "gracePeriodSeconds", "revision", "maxItems",
     "maxLength", "maxProperties", "minItems", "minLength", "minProperties", "sizeBytes"]
)  # fmt: skip
BYTES = frozenset(["caBundle", "request", "certificate"])
QUANTITY_MAPS = frozenset(
    ["limits", "requests", "capacity", "allocatable", "allocatedResources", "hard", "used", "overhead", "podFixed",
     "default", "defaultRequest", "max", "min", "maxLimitRequestRatio", "scopedUsed"]
)  # fmt: skip
# Maps whose values are neither strings nor quantities: (model, field) -> the values' type.
OTHER_MAPS = {
    ("ConfigMap", "binaryData"): "bytes",
    ("Secret", "data"): "bytes",
    ("JSONSchemaProps", "dependencies"): "any",
    ("FieldsV1", "*"): "any",
}
GO_NAMES = {"quantity": "resource.Quantity", "intstr": "intstr.IntOrString", "time": "v1.Time",
            "microtime": "v1.MicroTime",
            "bytes": "[]uint8", "any": "interface {}", "object": "map[string]interface {}"}  # fmt: skip


@dataclass(slots=True)
class Type:
    """A field's type: a scalar's name, or `list` / `map` of an item, or `struct` of a model."""

    kind: str
    item: Type | None = None
    model: type[Any] | None = None

    @property
    def go(self) -> str:
        """As Go prints it: `[]v1.Container`, `map[string]string`, `int32`."""
        if self.kind == "list" and self.item:
            return f"[]{self.item.go}"
        if self.kind == "map" and self.item:
            return f"map[string]{self.item.go}"
        if self.kind == "struct" and self.model:
            return f"{self.model.__module__.rsplit('_', 1)[-1]}.{self.model.__name__}"
        return GO_NAMES.get(self.kind, self.kind)


@dataclass(slots=True)
class Field:
    """One field of a model."""

    name: str
    type: Type
    required: bool


@dataclass(slots=True)
class Walked:
    """What the walk found: the cleaned tree, the decoder's complaints, and unknown fields' paths."""

    complete: bool = True  # whether absent numbers, flags and lists of required fields become their zero
    tree: Json = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def fields(model: type[Any]) -> dict[str, Field]:
    """A model's fields by JSON name."""
    return _fields(cast(Hashable, model))


@cache
def _fields(model: Any) -> dict[str, Field]:
    raw: dict[str, str] = {}
    for base in reversed(model.__mro__):
        raw.update(getattr(base, "__annotations__", {}))
    found = {}
    for f in msgspec.structs.fields(model):
        found[f.encode_name] = Field(f.encode_name, _type(model, f.encode_name, f.type, str(raw[f.name])), f.required)
    for name in ("apiVersion", "kind"):  # every object may carry them
        if name not in found and "metadata" in found:
            found[name] = Field(name, Type("string"), False)
    return found


def _type(model: type[Any], name: str, hint: Any, raw: str) -> Type:
    args = [a for a in typing.get_args(hint) if a is not type(None)]
    for alias, kind in (
        ("Quantity", "quantity"),
        ("IntOrString", "intstr"),
        ("MicroTime", "microtime"),
        ("Time", "time"),
    ):
        if raw.replace("Optional[", "").replace("List[", "").rstrip("]").rpartition(".")[2] == alias:
            return Type("list", Type(kind)) if "List[" in raw else Type(kind)
    if typing.get_origin(hint) is typing.Union and len(args) == 1:
        return _type(model, name, args[0], raw)
    if typing.get_origin(hint) is list:
        return Type("list", _type(model, name, args[0], ""))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return Type("struct", model=hint)
    if hint is dict:
        return Type("map", _map_value(model, name))
    if hint is str:
        return Type("bytes" if name in BYTES else "string")
    if hint is int:
        return Type("int64" if name in INT64 and model.__name__ != "NetworkPolicyPort" else "int32")
    return Type({bool: "bool", float: "float64", typing.Dict: "object"}.get(hint, "any"))  # noqa: UP006


def _map_value(model: type[Any], name: str) -> Type:
    if name == "extra":
        return Type("list", Type("string"))
    if model.__name__ == "JSONSchemaProps" and name != "dependencies":
        return Type("struct", model=model)
    if name in QUANTITY_MAPS:
        return Type("quantity")
    return Type(OTHER_MAPS.get((model.__name__, name), "string"))


def walk(model: type[Any], tree: Any, *, complete: bool = True) -> Walked:
    """Check a JSON tree against a model. The tree given is not changed."""
    found = Walked(complete)
    if not isinstance(tree, dict):
        found.errors.append(
            f"json: cannot unmarshal {scalars.json_name(tree)} into Go value of type {Type('struct', model=model).go}"
        )
        return found
    found.tree = _struct(model, tree, "", "", found)
    return found


def _struct(model: type[Any], tree: Json, path: str, go_path: str, found: Walked) -> Json:
    known = fields(model)
    clean: Json = {}
    for name, value in tree.items():
        f = known.get(name)
        here = f"{path}.{name}" if path else name
        if f is None:
            found.unknown.append(here)
        elif value is not None:
            go_here = f"{go_path}.{name}" if go_path else name
            clean[name] = _value(f.type, value, here, go_here, model.__name__, found)
    for f in known.values() if found.complete else ():
        if f.required and f.name not in clean and (zero := _zero(f.type, path, f.name)) is not None:
            clean[f.name] = zero
    return clean


def _zero(kind: Type, path: str, name: str = "") -> Any:
    if kind.kind == "string":  # a missing string is an error (see `missing`), except where a controller reports
        return "" if path == "status" or path.startswith("status.") else None
    zero: dict[str, Any] = {"list": [], "int32": 0, "int64": 0, "bool": False, "struct": {}, "float64": 0}
    value = zero.get(kind.kind)
    if kind.kind == "struct" and kind.model:
        wanted = name in ("", "metadata", "involvedObject") or path.startswith("status")
        return _struct(kind.model, {}, path, "", Walked()) if wanted else None
    return list(value) if isinstance(value, list) else value


def _value(kind: Type, value: Any, path: str, go_path: str, owner: str, found: Walked) -> Any:
    if kind.kind == "struct" and isinstance(value, dict) and kind.model:
        return _struct(kind.model, value, path, go_path, found)
    if kind.kind == "list" and isinstance(value, list) and kind.item:
        item = kind.item
        return [_item(item, v, f"{path}[{i}]", go_path, owner, found) for i, v in enumerate(value)]
    if kind.kind == "map" and isinstance(value, dict) and kind.item:
        item = kind.item
        return {k: _item(item, v, f"{path}.{k}", go_path, owner, found) for k, v in value.items()}
    if kind.kind == "any" or (kind.kind == "object" and isinstance(value, dict)):
        return value
    try:
        return scalars.check(kind.kind, value)
    except scalars.WrongTypeError as wrong:
        go = wrong.go or kind.go
        found.errors.append(f"json: cannot unmarshal {wrong} into Go struct field {owner}.{go_path} of type {go}")
    except ValueError as bad:
        found.errors.append(str(bad))
    return value


def _item(kind: Type, value: Any, path: str, go_path: str, owner: str, found: Walked) -> Any:
    """A null in a list or map is a zero value, not an absent one."""
    if value is None:
        return {"string": "", "quantity": "0", "bytes": ""}.get(kind.kind, _zero(kind, path))
    return _value(kind, value, path, go_path, owner, found)


def missing(model: type[Any], tree: Json, path: str = "") -> list[str]:
    """Paths of required fields that are absent, everywhere but in `status`."""
    found: list[str] = []
    for f in _demanding(cast(Hashable, model)):
        value = tree.get(f.name)
        if value is None:
            if f.required:
                found.append(f"{path}.{f.name}" if path else f.name)
        elif path or f.name not in ("status", "metadata"):
            found += _missing_in(f.type, value, f"{path}.{f.name}" if path else f.name)
    return found


def _missing_in(kind: Type, value: Any, path: str) -> list[str]:
    if (model := _inside(kind)) is None:
        return []
    if kind.kind == "struct":
        return missing(model, value, path)
    items = enumerate(value) if kind.kind == "list" else value.items()
    return [p for i, v in items for p in missing(model, v, f"{path}[{i}]")]


def _inside(kind: Type) -> type[Any] | None:
    """The model of a struct, or of the structs in a list or map."""
    if kind.kind == "struct":
        return kind.model
    return kind.item.model if kind.kind in ("list", "map") and kind.item and kind.item.kind == "struct" else None


@cache
def _demanding(model: Any) -> tuple[Field, ...]:
    """The fields that are required, or have required ones somewhere inside: the others need no look."""
    return tuple(f for f in fields(model).values() if f.required or _demands(_inside(f.type), set()))


def _demands(model: Any, seen: set[Any]) -> bool:
    if model is None or model in seen:
        return False
    seen.add(model)
    return any(f.required or _demands(_inside(f.type), seen) for f in fields(model).values())
