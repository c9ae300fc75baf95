"""Two traces side by side: where the one that fails leaves the way of the one that works. Pure.

Stations are compared by what they mean: addresses, ports, chain hashes and device names that must differ between two
pods or two Services are left out of the comparison, and so are chains that had nothing to say, and conntrack entries
(they come to stand only once the packet got through everything: a consequence).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile, zip_longest

from .model import IDLE, Json, Station, Trace

WIDTH = 80
_COLUMN = 38
_MORE = 8  # stations shown of the longer rest
_IP = re.compile(r"\d{1,3}(\.\d{1,3}){3}(/\d+)?(:\d+)?")
_OWN = (
    (_IP, "IP"),
    (re.compile(r"veth[0-9a-f]{8}"), "veth"),
    (re.compile(r"(KUBE-[A-Z]+)-[A-Z2-7]{16}"), r"\1"),
    (re.compile(r"(service|local|external|firewall|endpoint)-[A-Z2-7]{8}-\S+"), r"\1"),
    (re.compile(r"\d+ bytes"), "bytes"),
    (re.compile(r"process \d+"), "process"),
)


@dataclass(frozen=True)
class Difference:
    """`same`: pairs of stations both went through alike, from the start. Then they part: `left_rest`, `right_rest`."""

    left: Trace
    right: Trace
    same: list[tuple[Station, Station]]
    left_rest: list[Station]
    right_rest: list[Station]

    @property
    def alike(self) -> bool:
        return not self.left_rest and not self.right_rest

    @property
    def first(self) -> tuple[Station | None, Station | None]:
        """What either met first where they part; None for one that had ended."""
        return next(iter(self.left_rest), None), next(iter(self.right_rest), None)

    def to_dict(self) -> Json:
        """Plain JSON: both traces, the numbers of the stations they share, and of the first that differ (or null)."""
        pairs = [[x.number, y.number] for x, y in self.same]
        first = [s and s.number for s in self.first]
        return {"left": self.left.to_dict(), "right": self.right.to_dict(), "same": pairs, "first": first}

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def compare(left: Trace, right: Trace) -> Difference:
    """Neither has to be the one that works."""
    a, b = _told(left), _told(right)
    alike = takewhile(lambda pair: _key(left, pair[0]) == _key(right, pair[1]), zip(a, b, strict=False))
    same = list(alike)
    return Difference(left, right, same, a[len(same) :], b[len(same) :])


def _told(trace: Trace) -> list[Station]:
    return [s for s in trace.stations if not s.what.endswith(IDLE) and s.layer != "conntrack"]


def _key(trace: Trace, s: Station) -> tuple[str, str, str, str]:
    """What a station means. Of a name, only whether it has an address."""
    place = "source" if s.place == trace.source else "pod" if "/" in s.place else s.place
    if s.layer == "name" and _IP.search(s.what):
        return s.direction, place, s.layer, "IP"
    what = s.what
    for pattern, word in _OWN:
        what = pattern.sub(word, what)
    return s.direction, place, s.layer, what


# -- text ----------------------------------------------------------------------------------------------------------
def _lines(d: Difference) -> Iterator[str]:
    yield from _both(f"{d.left.source} ─► {d.left.target}", f"{d.right.source} ─► {d.right.target}")
    yield from _both(_ended(d.left), _ended(d.right))
    yield ""
    yield from _shared([x for x, _ in d.same])
    if d.alike:
        yield "They are the same from beginning to end."
        return
    yield f"{' here they part ':─^{WIDTH}}"
    shown = min(len(d.left_rest), len(d.right_rest)) + _MORE
    for x, y in zip_longest(_rest(d.left, d.left_rest, shown), _rest(d.right, d.right_rest, shown), fillvalue=""):
        yield from _both(x, y)


def _ended(trace: Trace) -> str:
    return trace.because if trace.because.startswith(trace.verdict) else f"{trace.verdict}: {trace.because}"


def _shared(stations: Sequence[Station]) -> Iterator[str]:
    """The way both took, in the words of the left one."""
    for (place, direction), group in groupby(stations, lambda s: (s.place, s.direction)):
        what = f"{place}{_back(direction)}: " + "; ".join(_short(s) for s in group)
        yield from textwrap.wrap(what, WIDTH - 2, initial_indent="= ", subsequent_indent="    ", break_on_hyphens=False)


def _rest(trace: Trace, stations: Sequence[Station], shown: int) -> Iterator[str]:
    for s in stations[:shown]:
        yield f"{s.place}{_back(s.direction)}: {_short(s)}"
    if len(stations) > shown:
        yield f"… {len(stations) - shown} stations more: {trace.verdict}"


def _back(direction: str) -> str:
    return " (back)" if direction == "back" else ""


def _short(s: Station) -> str:
    what = s.what if s.layer in ("rule", "policy", "nat", "bridge", "interface") else f"{s.layer}: {s.what}"
    return what + (f" [{s.written_by}]" if s.written_by else "")


def _both(left: str, right: str) -> Iterator[str]:
    columns = [textwrap.wrap(text, _COLUMN, subsequent_indent="  ", break_on_hyphens=False) for text in (left, right)]
    for a, b in zip_longest(*columns, fillvalue=""):
        yield f"{a:<{_COLUMN}} │ {b}".rstrip()
