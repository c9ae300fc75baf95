"""Bytes to a JSON tree: duplicate keys found, errors in the real server's words, no number or depth that breaks us."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 200
MAX_NODES = 50_000  # values in one body: what takes seconds to look at would make everybody wait


class JsonError(ValueError):
    """Not JSON: the message is Go's (`unexpected end of JSON input`)."""


def load(body: bytes) -> tuple[Any, list[str]]:
    """(tree, paths of duplicate fields). Raises JsonError."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise JsonError("invalid character '\\ufffd' looking for beginning of value") from None
    repeated = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        made = dict(items)
        repeated = repeated or len(made) != len(items)
        return made

    try:
        tree = json.loads(text, object_pairs_hook=pairs, parse_constant=_constant, parse_int=_int)
        check(tree)
        if repeated:
            return tree, _duplicates(json.loads(text, object_pairs_hook=_Pairs), "")
    except json.JSONDecodeError as error:
        raise JsonError(_word(error, text)) from None
    except RecursionError:
        raise JsonError("exceeded max depth") from None
    return tree, []


class _Pairs(list[tuple[str, Any]]):
    """An object's members with repeats."""


def _duplicates(node: Any, path: str) -> list[str]:
    found: list[str] = []
    if isinstance(node, _Pairs):
        seen: set[str] = set()
        for key, value in node:
            here = f"{path}.{key}" if path else key
            if key in seen:
                found.append(here)
            seen.add(key)
            found += _duplicates(value, here)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            found += _duplicates(value, f"{path}[{i}]")
    return found


def check(tree: Any) -> None:
    """Raises JsonError for a tree that is nested too deeply or has too many values."""
    level, count = 0, 0
    nodes = [tree] if isinstance(tree, (dict, list)) else []
    while nodes:
        level, count = level + 1, count + sum(map(len, nodes))
        if level > MAX_DEPTH:
            raise JsonError("exceeded max depth")
        if count > MAX_NODES:
            raise JsonError(f"more than {MAX_NODES} values")
        nodes = [c for n in nodes for c in (n.values() if isinstance(n, dict) else n) if isinstance(c, (dict, list))]


def _constant(name: str) -> Any:
    raise JsonError(f"invalid character '{name[0]}' looking for beginning of value")


def _int(digits: str) -> int | float:
    """Beyond int64 a number is only a float to us: no digits to choke on."""
    return int(digits) if len(digits) < 25 else float(digits)


def _word(error: json.JSONDecodeError, text: str) -> str:
    if not text[error.pos :].strip() or "Unterminated string" in error.msg:
        return "unexpected end of JSON input"
    char = text[error.pos]
    if "property name" in error.msg:
        return f"invalid character '{char}' looking for beginning of object key string"
    if "':' delimiter" in error.msg:
        return f"invalid character '{char}' after object key"
    if "',' delimiter" in error.msg:
        before = text[: error.pos]
        inside = (
            "array element"
            if before.count("[") - before.count("]") and before.rfind("[") > before.rfind("{")
            else "object key:value pair"
        )
        return f"invalid character '{char}' after {inside}"
    if "Extra data" in error.msg:
        return f"invalid character '{char}' after top-level value"
    return f"invalid character '{char}' looking for beginning of value"
