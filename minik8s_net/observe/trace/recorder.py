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
SETTLE = 0.005  # seconds: what is under way when the answer has come (an acknowledgement, say) may still pass


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
    """`async with Recorder(places, flow) as r: …; records = await r.stop()`. Leaving closes everything."""

    def __init__(self, places: list[Place], flow: Flow) -> None:
        self._places, self._flow = places, flow
        self._table = f"minik8s-trace-{next(_numbers)}"
        self._open: list[_Listening] = []

    async def __aenter__(self) -> Recorder:
        started = await asyncio.gather(*(p.run(self._start, p) for p in self._places), return_exceptions=True)
        self._open = [each for each in started if isinstance(each, _Listening)]
        if failed := [each for each in started if isinstance(each, BaseException)]:
            await self.__aexit__()
            raise failed[0]
        return self

    async def __aexit__(self, *_: object) -> None:
        """All at once: each waits for the same grace period of the kernel."""
        await asyncio.gather(*(asyncio.to_thread(each.close) for each in self._open))
        self._open = []

    async def stop(self) -> list[Record]:
        """What was recorded so far."""
        await asyncio.sleep(SETTLE)
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
            rules = HeldRules(tracing_rules(self._table, self._flow, bridge=place.kind == "node"))
        except ToolError as error:
            record.gaps.append(f"{place.name}: rules were not traced ({error.output or error})")
        return _Listening(record, ring, events, rules)

    def _collect(self, each: _Listening) -> None:
        record = each.record
        record.frames += each.ring.read()
        if lost := each.ring.lost():
            record.gaps.append(f"{record.place.name}: {lost} frames came too fast and were not recorded")
        if each.events is not None:
            own = "minik8s-trace-"
            record.events += [event for event in each.events.read() if not event.table.startswith(own)]
            if each.events.overrun:
                record.gaps.append(f"{record.place.name}: more rules were hit than could be reported; some are missing")
