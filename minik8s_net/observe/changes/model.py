"""What differs between two times: plain data, the same in Python, JSON and the terminal. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ...drawn import Drawn

Json = dict[str, Any]
Held = dict[str, dict[str, list[str]]]
"""place -> layer -> lines."""
_PLURAL = {"address": "addresses"}
LAYERS = ("link", "address", "route", "neighbour", "sysctl", "rule", "set", "name")


@dataclass(frozen=True)
class Change:
    """`sign` + or -; `layer` one of LAYERS; `line` in the words of the layer's own tool."""

    place: str
    layer: str
    sign: str
    line: str


@dataclass
class Changes(Drawn):
    """All of them, by place and layer."""

    items: list[Change] = field(default_factory=list)

    def to_dict(self) -> Json:
        """Plain JSON; `from_dict` is its inverse."""
        return {"changes": [asdict(each) for each in self.items]}

    @classmethod
    def from_dict(cls, data: Json) -> Changes:
        """The inverse of to_dict."""
        return cls([Change(**each) for each in data["changes"]])

    def of(self, layer: str, place: str | None = None) -> list[str]:
        """`+ line` and `- line` of one layer."""
        return [f"{c.sign} {c.line}" for c in self.items if c.layer == layer and place in (None, c.place)]

    def __bool__(self) -> bool:
        return bool(self.items)

    def __str__(self) -> str:
        if not self.items:
            return "Nothing in the kernel has changed."
        lines: list[str] = []
        for (shown, layer), changes in self._alike().items():
            lines += textwrap.wrap(f"{', '.join(shown)}: {_PLURAL.get(layer, layer + 's')}", 80, subsequent_indent="  ")
            for c in changes:
                lines += textwrap.wrap(f"  {c.sign} {c.line}", 80, subsequent_indent="      ", break_on_hyphens=False)
        count = Counter(c.sign for c in self.items)
        return "\n".join([*lines, "", f"{count['+']} lines came, {count['-']} went"])

    def _alike(self) -> dict[tuple[tuple[str, ...], str], list[Change]]:
        """(places, layer) -> what has changed in all of them, and only there."""
        places: dict[tuple[str, str, str], list[str]] = {}
        for c in self.items:
            places.setdefault((c.layer, c.sign, c.line), []).append(c.place)
        alike: dict[tuple[tuple[str, ...], str], dict[Change, None]] = {}
        for c in self.items:
            where = tuple(dict.fromkeys(places[c.layer, c.sign, c.line]))
            alike.setdefault((where, c.layer), {})[replace(c, place=where[0])] = None
        return {where: list(changes) for where, changes in alike.items()}


def compare(before: Held, after: Held) -> Changes:
    """From one time to another; a line that is there twice counts twice."""
    items = []
    for place in sorted(before.keys() | after.keys(), key=_order):
        for layer in LAYERS:
            old, new = before.get(place, {}).get(layer, []), after.get(place, {}).get(layer, [])
            items += [Change(place, layer, "-", line) for line in _less(old, new)]
            items += [Change(place, layer, "+", line) for line in _less(new, old)]
    return Changes(items)


def _less(some: list[str], others: list[str]) -> list[str]:
    left, found = Counter(others), []
    for line in some:
        left[line] -= 1
        if left[line] < 0:
            found.append(line)
    return found


def _order(place: str) -> tuple[bool, bool, str]:
    """DNS, then nodes and the wire, then pods."""
    return "/" in place, place != "DNS", place
