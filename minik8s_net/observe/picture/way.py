"""A trace's way over the picture: two lines, out and back, with a dot that walks them, and how it ended. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from .layout import EDGE, FABRIC_H, RAIL, Layout

if TYPE_CHECKING:
    from ..trace.model import Trace

Point = tuple[float, float]
ASIDE = 3.5  # the way back runs beside the way out
WALK = "1.8s"
_LETTER = 6.6  # pixels, about


def draw_way(at: Layout, trace: Trace) -> list[str]:
    """Both ways; where a place is not in the picture, the line goes on at the next that is."""
    out, back = points(at, places(trace, "out")), points(at, places(trace, "back"), ASIDE)
    number = zlib.crc32(f"{trace.source} {trace.target}".encode())
    ids = f"out{number}", f"back{number}"
    lines = [f'<g data-trace="{escape(trace.target)}">']
    if "outside" in {station.place for station in trace.stations}:
        lines.append(_outside(at))
    starts = f"0s;{ids[1] if back else ids[0]}.end+0.8s"
    for kind, way, name, begin in (("out", out, ids[0], starts), ("back", back, ids[1], f"{ids[0]}.end")):
        if way:
            lines += _line(kind, way, name, begin)
    end = (back or out or [(0.0, 0.0)])[-1]
    lines += _end(end, trace.delivered) if out else []
    lines += _words(at, trace)
    return [*lines, "</g>"]


def places(trace: Trace, direction: str) -> list[str]:
    """The namespaces of one direction in order, each once at a time."""
    found: list[str] = []
    for station in trace.stations:
        asked = station.direction == direction and station.layer not in ("name", "gap")
        if asked and found[-1:] != [station.place]:
            found.append(station.place)
    return found


def points(at: Layout, way: list[str], aside: float = 0) -> list[Point]:
    """Corners of the line through these places; [] where none is in the picture."""
    corners: list[Point] = []
    known = [place for place in way if place == "fabric" or place == "outside" or place in at.nodes or place in at.pods]
    for before, place in pairwise(["", *known]):
        if place in at.pods:
            box, bridge = at.pods[place], at.bridge_y(at.pod_node[place])
            inwards = [(box.x - RAIL, bridge), (box.x - RAIL, box.y + 23), (box.x, box.y + 23)]
            corners += inwards if before else inwards[::-1]
        elif place in at.nodes:
            across = before == "fabric" or (before in at.nodes and before != place)
            corners += [(at.nodes[place].middle, at.wire_y)] if across else []
            corners.append(
                (corners[-1][0] if corners and before in at.pods else at.nodes[place].middle, at.bridge_y(place))
            )
        elif place == "fabric":
            corners += (
                [(at.nodes[before].middle, y) for y in (at.bridge_y(before), at.wire_y)] if before in at.nodes else []
            )
        else:
            corners.append((at.width - EDGE - 40, at.wire_y))
    return [(x + aside, y + aside) for x, y in dict.fromkeys(corners)]


def _line(kind: str, way: list[Point], name: str, begin: str) -> Iterator[str]:
    path = "M" + "L".join(f"{x} {y}" for x, y in way)
    yield f'<path class="{kind}" d="{path}"/>'
    shown = f'<set attributeName="visibility" to="visible" begin="{name}.begin" end="{name}.end"/>'
    move = f'<animateMotion id="{name}" dur="{WALK}" begin="{begin}" path="{path}"/>'
    yield f'<circle class="dot-{kind}" r="6" visibility="hidden">{shown}{move}</circle>'


def _outside(at: Layout) -> str:
    x, y = at.width - EDGE - 74, at.fabric.y - 4
    box = f'<rect class="node" x="{x}" y="{y}" width="74" height="{FABRIC_H + 8}" rx="8"/>'
    return f'<g>{box}<text x="{x + 15}" y="{y + 23}" class="name">outside</text></g>'


def _end(end: Point, good: bool) -> Iterator[str]:
    x, y = end
    kind, mark = ("end-good", "✓") if good else ("end-bad", "✗")
    yield f'<circle class="{kind}" cx="{x}" cy="{y}" r="7"/>'
    yield f'<text x="{x}" y="{y + 4}" class="end" text-anchor="middle">{mark}</text>'


def _words(at: Layout, trace: Trace) -> Iterator[str]:
    most = int((at.width - 2 * EDGE) / _LETTER)
    head = f"trace {trace.source} ─► {trace.target}: {trace.verdict}"
    yield f'<text x="{EDGE}" y="{at.below + 20}" class="name">{escape(head[:most])}</text>'
    yield f'<text x="{EDGE}" y="{at.below + 38}" class="dim">{escape(trace.because[:most])}</text>'
