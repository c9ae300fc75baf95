"""A trace as text for a terminal of 80 columns."""

from __future__ import annotations

import textwrap

from .model import Station, Trace

WIDTH = 80


def text(trace: Trace) -> str:
    """One line a station, evidence below it; ─► out, ◄─ back."""
    lines = [f"{trace.source} ─► {trace.target}: {trace.verdict}"]
    for station in trace.stations:
        lines += _station(station)
    return "\n".join(lines)


def _station(s: Station) -> list[str]:
    arrow = "─►" if s.direction == "out" else "◄─"
    return textwrap.wrap(f"{s.number:3} {arrow} {s.place} {s.layer}: {s.what}", WIDTH, subsequent_indent=" " * 7)
