"""Whether a tree is what the official Python client would take it for: types by its own, independently made, models."""

from __future__ import annotations

import base64
import re
from typing import Any

from kubernetes import client as official  # type: ignore[import-untyped]

PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "datetime": str, "object": object}


def model_for(model: type[Any]) -> str | None:
    """The official client's name for a lightkube model, None where it has none."""
    group, _, version = model.__module__.rpartition(".")[2].rpartition("_")
    ver, base = version.title(), model.__name__
    special = "".join(part.title() for part in group.split("_"))
    for name in (f"{special}{ver}{base}", f"{ver}{base}"):
        if hasattr(official, name):
            return name
    return None


def faults(kind: str, value: Any, path: str = "") -> list[str]:
    """Where `value` is not of the client's type `kind` (`V1Pod`, `list[str]`, `dict(str, str)`)."""
    if match := re.fullmatch(r"[lL]ist\[(.*)\]", kind):
        if not isinstance(value, list):
            return [f"{path}: no list: {value!r}"]
        return [f for i, item in enumerate(value) for f in faults(match[1], item, f"{path}[{i}]")]
    if match := re.fullmatch(r"[dD]ict[(\[]str, (.*)[)\]]", kind):
        if not isinstance(value, dict):
            return [f"{path}: no map: {value!r}"]
        return [f for key, item in value.items() for f in faults(match[1], item, f"{path}.{key}")]
    if kind == "bytes":
        return [] if isinstance(value, str) and _is_base64(value) else [f"{path}: no base64: {value!r}"]
    if kind in PLAIN:
        wrong = not isinstance(value, PLAIN[kind]) or (kind in ("int", "float") and isinstance(value, bool))  # type: ignore[arg-type]
        return [f"{path}: no {kind}: {value!r}"] if wrong else []
    if not isinstance(value, dict):
        return [f"{path}: no {kind}: {value!r}"]
    model = getattr(official, kind)
    types = {json: model.openapi_types[python] for python, json in model.attribute_map.items()}
    return [f for name, item in value.items() if name in types for f in faults(types[name], item, f"{path}.{name}")]


def _is_base64(text: str) -> bool:
    return base64.b64encode(base64.b64decode(text)).decode() == text
