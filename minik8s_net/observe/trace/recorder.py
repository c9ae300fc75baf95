"""Listening in many namespaces at once: every device's frames, and the rules the marked packets hit.

In each namespace: a packet ring over all devices, and (with the packet filter's own tracing switched on for this one
flow) the kernel's rule events. The tracing rules are nftables tables owned by our socket: they vanish with it.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

from ...kernel import rtnetlink
from ...kernel.nftrace import Event, HeldRules, TraceEvents
from ...kernel.packet_ring import Frame, PacketRing
from ...kernel.rtnetlink import Link
from ...kernel.tool import ToolError
from .filters import Flow, frame_filter, tracing_rules
from .places import Place

_numbers = itertools.count(1)
TABLE = "minik8s-trace-"


@dataclass
class Record:
    """What one namespace saw. `links` by index."""

    place: Place
    links: dict[int, Link]
    frames: list[Frame] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)


@dataclass
class _Listening:
    record: Record
    ring: PacketRing
    events: TraceEvents | None
    rules: HeldRules | None

    def close(self) -> None:
        """Blocks until the kernel has let go."""
        for part in (self.rules, self.events, self.ring):
            if part is not None:
                part.close()


class Recorder:
    """`await start()`, `collect()` as often as one likes, `await close()` in any case."""

    def __init__(self, places: list[Place], flow: Flow) -> None:
        self._places, self._flow = places, flow
        self._table = f"{TABLE}{next(_numbers)}"
        self._open: list[_Listening] = []

    async def start(self) -> None:
        """Returns once everything listens. Raises OSError where the kernel lets us record nothing at all."""
        started = await asyncio.gather(*(p.run(self._start, p) for p in self._places), return_exceptions=True)
        self._open = [each for each in started if isinstance(each, _Listening)]
        if failed := [each for each in started if isinstance(each, BaseException)]:
            raise failed[0]

    async def close(self) -> None:
        """All at once: each waits for the same grace period of the kernel. Afterwards no rule of ours is left."""
        await asyncio.gather(*(asyncio.to_thread(each.close) for each in self._open))
        self._open = []

    def collect(self) -> list[Record]:
        """All that was recorded so far."""
        for each in self._open:
            self._collect(each)
        return [each.record for each in self._open]

    def _start(self, place: Place) -> _Listening:
        """Inside the place. Rules last: what they mark must find a listener."""
        links = {link.index: link for link in rtnetlink.links()}
        record = Record(place, links)
        ring = PacketRing(frame_filter(self._flow))
        try:
            events, rules = TraceEvents(), None
        except OSError as error:
            record.gaps.append(f"{place.name}: the kernel does not report rules here ({error})")
            return _Listening(record, ring, None, None)
        try:
            names = {link.name for link in links.values() if link.kind == "bridge"}
            bridges = [a.ip for a in rtnetlink.addresses() if a.dev in names and place.kind == "node"]
            rules = HeldRules(tracing_rules(self._table, self._flow, bridges))
        except ToolError as error:
            record.gaps.append(f"{place.name}: rules were not traced ({error.output or error})")
        return _Listening(record, ring, events, rules)

    def _collect(self, each: _Listening) -> None:
        record = each.record
        record.frames += each.ring.read()
        if lost := each.ring.lost():
            record.gaps.append(f"{record.place.name}: {lost} frames came too fast and were not recorded")
        if each.events is not None:
            record.events += [event for event in each.events.read() if not event.table.startswith(TABLE)]
            if each.events.overrun:
                record.gaps.append(f"{record.place.name}: more rules were hit than could be reported; some are missing")
