"""Cables that were cut off: a veth's two ends go together, and are made together again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..cni.fabric import OUTSIDE_PORT
from ..cni.wire import UPLINK, plug
from .drift import MISSING, Drift
from .places import Place

if TYPE_CHECKING:
    from ..boot.live import Live


async def replug(live: Live, place: Place, wrong: list[Drift]) -> None:
    """Make the veths anew that `wrong` says are missing. What goes on them (addresses, routes) comes after."""
    gone = {d.what.removeprefix("link ") for d in wrong if d.component == "link" and d.found == MISSING}
    if place.pod is not None:
        if UPLINK in gone:
            await _rewire(live, place.pod.node, place.pod.sandbox.netns, place.pod.sandbox.id)
        return
    for port in sorted(gone & place.ports.keys()):
        pod = place.ports[port]
        await _rewire(live, pod.node, pod.sandbox.netns, pod.sandbox.id)
    if place.name == "fabric":
        for port in sorted(gone & {OUTSIDE_PORT, *live.nodes.names()}):
            await _plug(live, port)
    elif UPLINK in gone:
        await _plug(live, place.name)


async def _rewire(live: Live, node: str, netns: str, key: str) -> None:
    await live.nodes.cni.add(live.nodes.agents(node).netns, netns, key)


async def _plug(live: Live, host: str) -> None:
    if host == OUTSIDE_PORT:
        await plug(live.config, live.outside, live.config.outside_ip, live.fabric, OUTSIDE_PORT)
    else:
        agents = live.nodes.agents(host)
        await plug(live.config, agents.netns, live.config.node_ip(agents.index), live.fabric, host)
