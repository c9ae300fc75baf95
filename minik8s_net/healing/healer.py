"""The healer: notices what was altered from outside, and puts it back within two seconds.

Noticing costs next to nothing while nothing happens: the kernel tells of links, addresses, routes and neighbours
(one listening socket per namespace); twice a second each node is asked for nftables' generation and a digest of its
ipsets, once a second for its sysctls. Only a place where something has changed is compared with what it should be.
What differs in two looks in a row is mended: once may be a component of ours at work. One place in turn is compared
anyway.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from lightkube.core.resource import Resource
from lightkube.resources.core_v1 import Namespace, Node
from lightkube.resources.core_v1 import Pod as ApiPod

from ..store.events import EventRecorder
from .drift import MISSING, Drift, name_drift, unless_gone
from .pauses import Pauses
from .places import Place, places
from .replug import replug
from .rules import Spared, mend_rules, rule_drift
from .watches import Watches
from .wiring import mend_wiring, wiring_drift

if TYPE_CHECKING:
    from ..boot.live import Live

log = logging.getLogger(__name__)
PATIENCE = 5.0  # seconds for one place: whatever hangs there holds up no other
TICK = 0.4  # seconds between looks; two of them and the work stay below two seconds
RULES_EVERY = 0.6  # seconds between readings of one node's rules, while they keep changing
SWEEP_EVERY = 10  # ticks between places compared without a reason
PODS_AT_ONCE = 20  # worked out between two looks at other tasks
UPHOLD_EVERY = 5  # ticks between looks whether faults still hold


class Healer:
    """One per controller. `uphold` keeps injected faults as broken as they were made."""

    def __init__(self, live: Live, pauses: Pauses, uphold: Callable[[], Awaitable[None]]) -> None:
        self._live, self._pauses, self._uphold = live, pauses, uphold
        self._watches = Watches()
        self._suspects: set[str] = set()  # keys of drift seen in the last look
        self._read: dict[str, float] = {}  # node -> when its rules were last read
        self._tick = self._swept = 0
        self._events = EventRecorder(live.client, "minik8s-healing")

    async def run(self) -> None:
        """Until cancelled."""
        self._watches.begin(self._live)
        try:
            while True:
                try:
                    await self._turn()
                except Exception:  # a place that goes while it is looked at; the next turn looks again
                    log.exception("healing: this turn failed")
                await asyncio.sleep(TICK)
        finally:
            self._watches.close()

    async def mend(self, spared: Spared | None = None) -> list[Drift]:
        """Compare and mend everything now, but for what is `spared` (default: what is paused); what was mended."""
        spared = spared or self._pauses.spared
        mended = []
        for place in places(self._live):
            mended += await unless_gone(self._live, place.goes_with, self._mend_place(place, spared))
        for node, _ in self._live.nodes.each():
            mended += await unless_gone(self._live, node, self._mend_rules(node, spared))
        return mended

    # -- one turn ----------------------------------------------------------------------------------------------------
    async def _turn(self) -> None:
        self._tick += 1
        await self._watches.follow(self._live)
        if self._tick % UPHOLD_EVERY == 0:
            async with asyncio.timeout(PATIENCE):
                await self._uphold()
        changed = await self._watches.changed(self._live, sysctls=self._tick % 2 == 0)
        seen = await self._look(changed.places)
        for node in sorted(changed.rules):
            if time.monotonic() - self._read.get(node, 0.0) < RULES_EVERY:
                self._watches.again_rules(node)
            else:
                self._read[node] = time.monotonic()
                await self._try(node, self._mend_rules(node, self._pauses.spared))
        self._suspects = seen
        if self._tick % 3 == 0:
            await self._name_again()

    async def _look(self, names: set[str]) -> set[str]:
        """Compare these places, and one more in turn; mend what was already wrong at the last look."""
        sweep = self._tick % SWEEP_EVERY == 0
        if not names and not sweep:
            return set()
        every: list[Place] = []
        for place in places(self._live):  # with 500 pods 30 ms of work: others get their turns in between
            every.append(place)
            if not place.pod or len(every) % PODS_AT_ONCE == 0:
                await asyncio.sleep(0)
        if sweep and every:
            self._swept = (self._swept + 1) % len(every)
            names = names | {every[self._swept].name}
        seen: set[str] = set()
        for place in every:
            if place.name not in names:
                continue
            wrong = await self._wrong(place)
            if not wrong:
                continue
            seen |= {d.key for d in wrong}
            self._watches.again(place.name)
            if any(d.key in self._suspects for d in wrong):
                await self._try(place.goes_with, self._mend_place(place, self._pauses.spared))
        return seen

    async def _wrong(self, place: Place) -> list[Drift]:
        """One place that cannot be looked at now holds up no other; the next turn looks again."""
        try:
            async with asyncio.timeout(PATIENCE):
                found = await unless_gone(self._live, place.goes_with, wiring_drift(place))
        except Exception:
            log.exception("healing: %s could not be looked at", place.name)
            self._watches.again(place.name)
            return []
        return [d for d in found if not self._pauses.spared(d)]

    async def _try(self, node: str, mending: Awaitable[list[Drift]]) -> None:
        """The same for mending."""
        try:
            async with asyncio.timeout(PATIENCE):
                mended = await unless_gone(self._live, node, mending)
            self._tell(mended)
        except Exception:
            log.exception("healing %s failed", node)
            self._watches.again_rules(node)

    # -- mending -----------------------------------------------------------------------------------------------------
    async def _mend_place(self, place: Place, spared: Spared) -> list[Drift]:
        wrong = [d for d in await wiring_drift(place) if not spared(d)]
        if wrong:
            await replug(self._live, place, wrong)
            await mend_wiring(place, spared)
        return wrong

    async def _mend_rules(self, node: str, spared: Spared) -> list[Drift]:
        halted = self._live.nodes.agents(node).proxier.halted
        found = [d for d in await rule_drift(self._live, node) if not spared(d)]
        wrong = [d for d in found if not (halted and d.component == "proxy")]
        if wrong:
            await mend_rules(self._live, node, spared)
        return wrong

    async def _name_again(self) -> None:
        named = [d for d in await name_drift(self._live) if not self._pauses.spared(d)]
        for drift in named:
            await self._live.runtime.ensure_netns(drift.place)
        self._tell(named)

    def _tell(self, mended: list[Drift]) -> None:
        for drift in mended:
            log.info("healed %s", drift)
            found = "it was missing" if drift.found == MISSING else f"found: {drift.found}"
            self._events.normal(self._about(drift), "Healed", f"{drift.place}: put back {drift.what}; {found}")

    def _about(self, drift: Drift) -> Resource:
        """The object whose `describe` shows it: the pod or node, else the namespace kube-system."""
        namespace, _, pod = drift.place.partition("/")
        about: Resource | None = None
        if pod:
            about = self._live.client.find(ApiPod, pod, namespace)
        elif drift.place.startswith("node-"):
            about = self._live.client.find(Node, drift.place)
        return about or self._live.client.get(Namespace, "kube-system")
