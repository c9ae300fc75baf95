"""A trace as text for a terminal of 80 columns: places as headings, arrows out and back, the evidence below each."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Iterator

from .model import IDLE, Station, Trace

WIDTH = 80
_INDENT = 19
Paint = Callable[[str, str], str]
_COLOURS = {"delivered": "green", "refused": "yellow", "no-answer": "yellow", "dropped": "red", "error": "red"}
_LAYERS = {"nat": "yellow", "policy": "yellow", "tunnel": "bold", "gap": "red", "socket": "green", "name": "bold"}


def plain(text: str, _: str) -> str:
    """No colour."""
    return text


def text(trace: Trace, paint: Paint = plain, *, brief: bool = False) -> str:
    """The whole trace. `brief` leaves the evidence out: one line a station."""
    return "\n".join(_lines(trace, paint, brief))


def _lines(trace: Trace, paint: Paint, brief: bool) -> Iterator[str]:
    verdict = paint(trace.verdict, _COLOURS.get(trace.verdict, "bold"))
    yield f"{trace.source} ─► {trace.target}: {verdict}"
    yield from textwrap.wrap(trace.because, WIDTH - 2, initial_indent="  ", subsequent_indent="  ")
    began = next((s.at_ms for s in trace.stations if s.at_ms is not None), 0.0)
    for (place, direction), group in itertools.groupby(trace.stations, lambda s: (s.place, s.direction)):
        stations = list(group)
        yield ""
        yield _heading(place, direction, [s.at_ms - began for s in stations if s.at_ms is not None], paint)
        for idle, those in itertools.groupby(stations, lambda s: s.what.endswith(IDLE)):
            if idle:
                yield from _nothing(list(those))
            else:
                for station in those:
                    yield from _station(station, paint, brief)
    if trace.gaps:
        yield ""
        yield "What could not be seen:"
        for gap in trace.gaps:
            yield from textwrap.wrap(gap, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    yield ""
    many = "station" if len(trace.stations) == 1 else "stations"
    yield f"{len(trace.stations)} {many}, traced in {trace.milliseconds:.0f} ms"


def _heading(place: str, direction: str, times: list[float], paint: Paint) -> str:
    name = place if direction == "out" else f"{place} (the way back)"
    when = f"after {times[0]:.3f} ms" if times else ""
    return paint(name, "bold") + (f"{when:>{WIDTH - len(name)}}" if when else "")


def _nothing(stations: list[Station]) -> Iterator[str]:
    """Chains that were looked into for nothing, in one block: they are part of the way, and hide the rest."""
    arrow = "─►" if stations[0].direction == "out" else "◄─"
    numbers = str(stations[0].number) if len(stations) == 1 else f"{stations[0].number}-{stations[-1].number}"
    chains = ", ".join(s.what.removesuffix(IDLE).rpartition(" ")[2] for s in stations)
    said = textwrap.wrap(f"nothing matched in {chains}", WIDTH - _INDENT, break_on_hyphens=False)
    yield f"{numbers:>4} {arrow} {'rules':<10} "[:_INDENT].ljust(_INDENT) + said[0]
    yield from (" " * _INDENT + line for line in said[1:])


def _station(s: Station, paint: Paint, brief: bool) -> Iterator[str]:
    arrow = "─►" if s.direction == "out" else "◄─"
    head = f"{s.number:4} {arrow} {s.layer:<10} "
    first, *more = textwrap.wrap(s.what, WIDTH - _INDENT, break_on_hyphens=False) or [""]
    colour = _LAYERS.get(s.layer)
    yield head.replace(s.layer, paint(s.layer, colour), 1) + first if colour else head + first
    yield from (" " * _INDENT + line for line in more)
    if s.before:
        yield from _wrapped(f"{s.before} becomes {s.after or '(not recorded)'}")
    if s.written_by:
        yield from _wrapped(f"written for {s.written_by}")
    if not brief:
        for line in s.detail.splitlines():
            yield from (paint(each, "dim") for each in _wrapped(line))


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(
        line, WIDTH, initial_indent=" " * _INDENT, subsequent_indent=" " * (_INDENT + 2), break_on_hyphens=False
    )
