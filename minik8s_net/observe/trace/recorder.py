"""Listening in many namespaces at once: every device's frames, and the rules the marked packets hit.

In each namespace: a packet ring over all devices, and (with the packet filter's own tracing switched on for this one
flow) the kernel's rule events. The tracing rules are nftables tables owned by our socket: they vanish with it.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ...kernel import rtnetlink
from ...kernel.netns import CLONE_NEWNET, setns
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


class Recorder:
    """`await start()`, `collect()` as often as one likes, `await close()` in any case.

    Starting and closing wait for grace periods of the kernel (RCU, 15 ms each): a thread for each part, so that all
    wait for the same one. These threads end where they went, and nobody else's work waits behind ours.
    """

    def __init__(self, places: list[Place], flow: Flow) -> None:
        self._places, self._flow = places, flow
        self._table = f"{TABLE}{next(_numbers)}"
        self._open: list[_Listening] = []

    async def start(self) -> None:
        """Returns once everything listens. Raises OSError where the kernel lets us record nothing at all."""
        started = await _all_at_once([functools.partial(self._start, place) for place in self._places])
        self._open = [each for each in started if isinstance(each, _Listening)]
        if failed := [each for each in started if isinstance(each, BaseException)]:
            raise failed[0]

    async def close(self) -> None:
        """Afterwards no rule of ours is left."""
        parts = [part for each in self._open for part in (each.rules, each.events, each.ring) if part is not None]
        await _all_at_once([part.close for part in parts])
        self._open = []

    def collect(self) -> list[Record]:
        """All that was recorded so far."""
        for each in self._open:
            self._collect(each)
        return [each.record for each in self._open]

    def _start(self, place: Place) -> _Listening:
        """Rules last: what they mark must find a listener."""
        setns(place.fd, CLONE_NEWNET)
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
            vxlan = any(link.kind == "vxlan" for link in links.values())
            rules = HeldRules(tracing_rules(self._table, self._flow, bridges, vxlan=vxlan))
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


async def _all_at_once(jobs: Sequence[Callable[[], object]]) -> list[object]:
    """Results and exceptions, in order; every job has a thread of its own."""
    if not jobs:
        return []
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(len(jobs), thread_name_prefix="trace")
    try:
        return await asyncio.gather(*(loop.run_in_executor(pool, job) for job in jobs), return_exceptions=True)
    finally:
        pool.shutdown(wait=False)
