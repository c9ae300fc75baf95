"""From the API's field path to the line of a manifest: `spec.ports[0].targetPort` -> 12. Pure."""

from __future__ import annotations

import re
from typing import Any

import yaml

_FIELD = re.compile(r'unknown field "([^"]+)"|([A-Za-z][\w.\[\]/"-]*[.\[][\w.\[\]/"-]*)')
_STEP = re.compile(r'\[(\d+|"[^"]*"|[^\]]*)\]|([^.\[\]]+)')
AROUND = 2  # lines shown before and after the one that is wrong


def documents(text: str) -> list[yaml.Node]:
    """The roots of a text's documents, empty ones left out. Raises yaml.YAMLError."""
    return [root for root in yaml.compose_all(text, Loader=yaml.SafeLoader) if isinstance(root, yaml.MappingNode)]


def line_of(root: yaml.Node, field: str) -> int | None:
    """The line (from 1) of a field path, or of the deepest part of it that is there; None if nothing of it is."""
    node, line = root, None
    for number, name in _STEP.findall(field):
        found = _child(node, (number or name).strip('"'))
        if found is None:
            break
        line, node = found
    return line


def fields_of(message: str, details: dict[str, Any] | None) -> list[str]:
    """The field paths a refusal names: of its causes, else of its text."""
    causes = [str(c["field"]) for c in (details or {}).get("causes") or [] if c.get("field")]
    return causes or [quoted or bare.rstrip(".:") for quoted, bare in _FIELD.findall(message)]


def excerpt(text: str, line: int) -> str:
    """The lines around `line`, numbered, with an arrow at it."""
    lines = text.splitlines()
    shown = range(max(1, line - AROUND), min(len(lines), line + AROUND) + 1)
    return "\n".join(f"{'▶' if n == line else ' '} {n:3} │ {lines[n - 1]}" for n in shown)


def _child(node: yaml.Node, key: str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return name.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
        value = node.value[int(key)]
        return value.start_mark.line + 1, value
    return None
