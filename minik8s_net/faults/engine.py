"""Injecting, upholding and clearing: faults are wanted state too, so they are reconciled like everything else."""

from __future__ import annotations

import asyncio
import logging
from fnmatch import fnmatchcase
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from ..api.errors import StatusError, bad_request
from ..config import ClusterConfig
from ..healing.drift import Drift, drift
from ..healing.healer import Healer
from ..healing.pauses import Pauses
from ..state import State
from ..store.events import timestamp
from .catalogue import CATALOGUE, Fault, Json
from .mechanisms import mechanisms
from .record import Injected, Record
from .targets import choices, complete

if TYPE_CHECKING:
    from ..boot.live import Live

log = logging.getLogger(__name__)


class Faults:
    """One per controller, made before there is anything to break; `run` once all stands."""

    def __init__(self, config: ClusterConfig, state: State) -> None:
        self._record = Record(state.root / "faults.json")
        self._mechanisms = mechanisms()
        self.pauses = Pauses(state.root / "paused.json", heal=config.heal, touched=self._touched)
        self.healer: Healer | None = None
        self._making = asyncio.Lock()  # `uphold` must not make again what `clear` is just undoing
        self._helpless: set[int] = set()  # numbers of faults that could not be made at the last look

    async def run(self, live: Live) -> None:
        """Make again what was broken before a restart, then heal until cancelled."""
        self.healer = Healer(live, self.pauses, lambda: self.uphold(live))
        await self.uphold(live)
        await self.healer.run()

    @property
    def injected(self) -> list[Injected]:
        """All faults that are in, the oldest first."""
        return list(self._record.injected.values())

    def _touched(self) -> list[str]:
        return [pattern for fault in self._record.injected.values() for pattern in fault.touches]

    async def inject(
        self, live: Live, name: str, given: Json, *, hidden: bool = False, seed: int | None = None
    ) -> Injected:
        """Break it. Raises StatusError: no such fault, a parameter that cannot be, or already broken."""
        if name not in CATALOGUE:
            raise bad_request(f"there is no fault {name!r}; there are: {', '.join(CATALOGUE)}")
        parameters = complete(live, CATALOGUE[name], given)
        mechanism = self._mechanisms[name]
        fault = Injected(self._record.next_number(), name, parameters, hidden=hidden, seed=seed, at=timestamp())
        fault.touches = mechanism.touches(live, parameters)
        await self._refuse_twice(live, fault)
        self._record.add(fault)  # first: healing must not undo it, and a crash must leave it known
        try:
            async with self._making:
                await mechanism.make(live, fault)
        except BaseException:
            await self._undo(live, fault)
            raise
        self._record.write()
        return fault

    async def inject_random(self, live: Live, seed: int, *, hidden: bool = False) -> Injected:
        """The same seed chooses the same fault among the same objects."""
        name, parameters = choose(live, seed)
        return await self.inject(live, name, parameters, hidden=hidden, seed=seed)

    async def clear(self, live: Live, which: str) -> list[Injected]:
        """`which` is a number, a fault's name, or `all`. Raises StatusError 404."""
        chosen = [f for f in self.injected if which in ("all", f.name, str(f.number))]
        if not chosen and which != "all":
            there = ", ".join(f"{f.number}: {f}" for f in self.injected) or "none"
            raise StatusError(404, "NotFound", f"no fault {which!r} is in now; there are: {there}")
        for fault in reversed(chosen):
            await self._undo(live, fault)
            if self.healer and fault.touches:
                await self.healer.mend(partial(_untouched, fault.touches))
        if self.healer and chosen:
            await self.healer.mend()  # what goes along: the kernel forgets a link's neighbours with its MTU
        return chosen

    async def leave(self, live: Live, wanted: list[Injected]) -> None:
        """Clear the faults that are not among `wanted`: the first half of coming back to a snapshot."""
        stay = {(fault.name, str(fault.parameters)) for fault in wanted}
        for fault in self.injected:
            if (fault.name, str(fault.parameters)) not in stay:
                await self.clear(live, str(fault.number))

    async def take(self, live: Live, wanted: list[Injected]) -> None:
        """The second half, once the objects are there: exactly these faults are in."""
        for fault in self.injected:  # numbers may differ, and some mechanisms hold things by number
            await self._undo(live, fault)
        for fault in wanted:
            self._record.add(fault)
        await self.uphold(live)

    async def uphold(self, live: Live) -> None:
        """Whatever has mended a fault by the way (a restart, an agent at work), it is broken again."""
        for fault in self.injected:
            try:
                async with self._making:
                    if fault in self.injected:
                        await self._mechanisms[fault.name].make(live, fault)
            except Exception as error:  # its node or pod has gone, or is just going: told once, tried again
                if fault.number not in self._helpless:
                    self._helpless.add(fault.number)
                    log.warning("fault %d (%s) has nothing to break: %r", fault.number, fault.name, error)
            else:
                self._helpless.discard(fault.number)

    async def _undo(self, live: Live, fault: Injected) -> None:
        async with self._making:
            await self._mechanisms[fault.name].undo(live, fault)
            self._record.remove(fault.number)

    async def _refuse_twice(self, live: Live, fault: Injected) -> None:
        same = [f for f in self.injected if (f.name, f.parameters) == (fault.name, fault.parameters)]
        overlapping = [f for f in self.injected if set(f.touches) & set(fault.touches)]
        if same or overlapping:
            other = (same or overlapping)[0]
            raise StatusError(409, "Conflict", f"fault {other.number} ({other}) is in there already: clear it first")
        for place in sorted({pattern.split(" ")[1] for pattern in fault.touches}):
            for each in await drift(live, place=place):
                if _matches(each, fault.touches):
                    raise StatusError(409, "Conflict", f"{each}: it is broken already; see: minik8s diff")


def choose(live: Live, seed: int) -> tuple[str, Json]:
    """A fault and its parameters, at random by `seed`."""
    random = Random(seed)
    possible = [fault for fault in CATALOGUE.values() if _possible(live, fault)]
    fault = random.choice(possible)
    chosen: Json = {}
    for parameter in fault.parameters:
        if parameter.kind != "number":
            some = [each for each in choices(live, parameter) if each not in chosen.values()]
            chosen[parameter.name] = random.choice(some)
    return fault.name, chosen


def _possible(live: Live, fault: Fault) -> bool:
    needed = {"node": 0, "pod": 0, "service": 0, "endpoint": 0}
    for parameter in fault.parameters:
        if parameter.kind in needed:
            needed[parameter.kind] += 1
            if len(choices(live, parameter)) < needed[parameter.kind]:
                return False
    return True


def _untouched(patterns: list[str], drift: Drift) -> bool:
    return not _matches(drift, patterns)


def _matches(drift: Drift, patterns: list[str]) -> bool:
    return any(fnmatchcase(drift.key, pattern) for pattern in patterns)
