"""The verbs "capture" and "capture-stop": a namespace's packets as lines of JSON, while they pass.

In Kubernetes: `kubectl debug` and tcpdump, or ksniff. Bounded: at most MOST packets and LONGEST seconds; what came too
fast for the ring is counted in the last line. Frames are kept to SNAP bytes, which is all of one unless it is a
segment that the kernel has not cut yet (TSO).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

from ..api.errors import bad_request
from ..boot.live import Live
from ..kernel import rtnetlink
from ..kernel.packet_ring import Frame, PacketRing
from . import decode, packet_filter
from .trace.places import Place, Places

Json = dict[str, Any]
MOST, LONGEST, SNAP = 100_000, 3600.0, 1968
_COUNT, _SECONDS, _FRAMES = 10_000, 60.0, 4096
_stops: dict[str, asyncio.Event] = {}


async def capture(live: Live, asked: Json) -> AsyncIterator[Json]:
    """`{"place", "namespace", "interface", "filter", "count", "seconds", "id"}`.

    First line: {"devices": […]}, once everything from now on is recorded; then one per packet; last: {"lost": n}.
    Raises StatusError for a place, device or filter that cannot be.
    """
    wanted = packet_filter.parse(str(asked.get("filter") or ""))
    count, seconds = _bounded(asked, "count", _COUNT, MOST), _bounded(asked, "seconds", _SECONDS, LONGEST)
    places = Places(live)
    try:
        place = places.source(str(asked.get("place") or ""), str(asked.get("namespace") or "default"))
        names, ring = await _open(place, str(asked.get("interface") or ""))
    finally:
        places.close()  # the ring stays in its namespace by itself
    return _lines(ring, names, wanted, count, seconds, str(asked.get("id") or ""))


async def _lines(
    ring: PacketRing, names: dict[int, str], wanted: packet_filter.Match, count: float, seconds: float, ident: str
) -> AsyncIterator[Json]:
    stop = _stops.setdefault(ident, asyncio.Event())
    try:
        yield {"devices": sorted(names.values())}
        async for frame in _frames(ring, stop, seconds):
            packet = decode.ethernet(frame.data)
            if wanted(packet):
                yield _line(frame, packet, names)
                count -= 1
                if count <= 0:
                    break
        yield {"lost": ring.lost()}
    finally:
        _stops.pop(ident, None)
        asyncio.get_running_loop().run_in_executor(None, ring.close)  # waits for the kernel


async def stop(live: Live, asked: Json) -> Json:
    """End the capture begun with this id: it still sends what has passed. Unknown ones have ended already."""
    event = _stops.get(str(asked.get("id") or ""))
    if event:
        event.set()
    return {"stopped": event is not None}


def _bounded(asked: Json, name: str, default: float, most: float) -> float:
    value = asked.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise bad_request(f"{name}: {value!r} is not a number above 0, up to {most:g}")
    return value


async def _open(place: Place, interface: str) -> tuple[dict[int, str], PacketRing]:
    names = {link.index: link.name for link in await place.run(rtnetlink.links)}
    if interface and interface not in names.values():
        raise bad_request(f"{place.name} has no device {interface!r}; there are: {', '.join(sorted(names.values()))}")
    return names, await place.run(lambda: PacketRing(interface=interface, frames=_FRAMES, snap=SNAP))


async def _frames(ring: PacketRing, stop: asyncio.Event, seconds: float) -> AsyncIterator[Frame]:
    """Until `seconds` are over or `stop` is set; what has passed by then is still handed out."""
    loop = asyncio.get_running_loop()
    end, readable = loop.time() + seconds, asyncio.Event()
    loop.add_reader(ring.fileno(), readable.set)
    try:
        while not stop.is_set() and (left := end - loop.time()) > 0:
            readable.clear()
            waits = [asyncio.ensure_future(event.wait()) for event in (readable, stop)]
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            for frame in ring.read():
                yield frame
        for frame in ring.read():
            yield frame
    finally:
        loop.remove_reader(ring.fileno())


def _line(frame: Frame, packet: decode.Packet, names: dict[int, str]) -> Json:
    return {
        "at_ns": frame.at_ns,
        "device": names.get(frame.ifindex, f"#{frame.ifindex}"),
        "direction": "out" if frame.outgoing else "in",
        "length": frame.length,
        "kind": packet.kind,
        "src": packet.src,
        "sport": packet.sport,
        "dst": packet.dst,
        "dport": packet.dport,
        "flags": packet.flag_names,
        "text": str(packet),
        "frame": base64.b64encode(frame.data).decode(),
    }
