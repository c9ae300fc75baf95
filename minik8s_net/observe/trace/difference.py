"""Two traces side by side: where the one that fails leaves the way of the one that works. Pure.

Stations are compared by what they mean: addresses, ports, chain hashes and device names that must differ between two
pods or two Services are left out of the comparison, and so are chains that had nothing to say, and conntrack entries
(they come to stand only once the packet got through everything: a consequence).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from .model import IDLE, Json, Station, Trace

WIDTH = 80
_COLUMN = 37
_OWN = (
    (re.compile(r"\d{1,3}(\.\d{1,3}){3}(/\d+)?(:\d+)?"), "IP"),
    (re.compile(r"veth[0-9a-f]{8}"), "veth"),
    (re.compile(r"(KUBE-[A-Z]+)-[A-Z2-7]{16}"), r"\1"),
    (re.compile(r"(service|local|external|firewall|endpoint)-[A-Z2-7]{8}-\S+"), r"\1"),
    (re.compile(r"\d+ bytes"), "bytes"),
    (re.compile(r"process \d+"), "process"),
)


@dataclass(frozen=True)
class Row:
    """A station of either, or the same of both."""

    left: Station | None
    right: Station | None

    @property
    def same(self) -> bool:
        return self.left is not None and self.right is not None


@dataclass(frozen=True)
class Difference:
    """`rows` in order; `first` is the index of the first row that is not the same, None if all are."""

    left: Trace
    right: Trace
    rows: list[Row]
    first: int | None

    def to_dict(self) -> Json:
        """Plain JSON: both traces, and for each row the station's number in either (None: not there)."""
        rows = [[r.left and r.left.number, r.right and r.right.number] for r in self.rows]
        return {"left": self.left.to_dict(), "right": self.right.to_dict(), "rows": rows, "first": self.first}

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def compare(left: Trace, right: Trace) -> Difference:
    """Align the two; neither has to be the one that works."""
    a, b = (_told(trace) for trace in (left, right))
    matcher = SequenceMatcher(None, [_key(left, s) for s in a], [_key(right, s) for s in b], autojunk=False)
    rows: list[Row] = []
    for kind, i, i_end, j, j_end in matcher.get_opcodes():
        if kind == "equal":
            rows += [Row(x, y) for x, y in zip(a[i:i_end], b[j:j_end], strict=True)]
        else:
            rows += [*(Row(x, None) for x in a[i:i_end]), *(Row(None, y) for y in b[j:j_end])]
    return Difference(left, right, rows, next((n for n, row in enumerate(rows) if not row.same), None))


def _told(trace: Trace) -> list[Station]:
    return [s for s in trace.stations if not s.what.endswith(IDLE) and s.layer != "conntrack"]


def _key(trace: Trace, s: Station) -> tuple[str, str, str, str]:
    """What a station means. Of names and sockets only that they are there, and what came of it."""
    what = s.what
    for pattern, word in _OWN:
        what = pattern.sub(word, what)
    if s.layer == "name":
        what = what.rpartition(": ")[2]
    place = "source" if s.place == trace.source else "pod" if "/" in s.place else s.place
    return s.direction, place, s.layer, what


def _lines(d: Difference) -> Iterator[str]:
    yield from _both(f"{d.left.source} ─► {d.left.target}", f"{d.right.source} ─► {d.right.target}", " ")
    yield from _both(f"{d.left.verdict}: {d.left.because}", f"{d.right.verdict}: {d.right.because}", " ")
    place = ("", "")
    for n, row in enumerate(d.rows):
        station = row.left or row.right
        assert station is not None
        if (station.place, station.direction) != place:
            place = (station.place, station.direction)
            yield ""
            yield from _both(_heading(row.left), _heading(row.right), " ")
        if n == d.first:
            yield f"{' here they part ':─^{WIDTH}}"
        yield from _both(_short(row.left), _short(row.right), "=" if row.same else "│")
    yield ""
    yield (
        "They are the same." if d.first is None else f"{_same(d)} stations are the same; the first that is not: above."
    )


def _same(d: Difference) -> int:
    return sum(row.same for row in d.rows)


def _heading(s: Station | None) -> str:
    return "" if s is None else s.place if s.direction == "out" else f"{s.place} (the way back)"


def _short(s: Station | None) -> str:
    if s is None:
        return ""
    return f"{s.layer} {s.what}" + (f" [{s.written_by}]" if s.written_by else "")


def _both(left: str, right: str, mark: str) -> Iterator[str]:
    columns = [textwrap.wrap(text, _COLUMN, subsequent_indent="  ") for text in (left, right)]
    for n in range(max(map(len, columns))):
        a, b = (column[n] if n < len(column) else "" for column in columns)
        yield f"{a:<{_COLUMN}}  {mark}  {b}".rstrip()
