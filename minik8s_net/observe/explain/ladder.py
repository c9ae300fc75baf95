"""The order of the questions. Each rung adds steps; the first cause ends the climb."""

from __future__ import annotations

from dataclasses import replace

from ..trace.model import Trace
from ..trace.places import Place
from . import ends, wires
from .asking import Asking
from .model import DEGRADED, Cause, Explanation
from .proof import PATIENCE, SECONDS, arrived, compare, traced

STALE = {"proxy-stopped", "drift"}  # it stops what is new or changed, perhaps


class Ladder(Asking):
    """One explanation under way."""

    _looked: Trace | None = None  # whether a packet comes through has been tried already

    async def climb(self) -> Explanation:
        """Up to the first cause."""
        if cause := await self._climb() or self._doubt:
            mild = cause.kind in DEGRADED or cause is self._doubt
            came = await self._beside(cause, mild)
            self.told.verdict = "degraded" if mild and came else "unreachable"
        elif cause := await self._prove():
            self.told.verdict = "unreachable"
        self.told.cause = cause
        return self.told

    async def _climb(self) -> Cause | None:
        if cause := self._source():
            return cause
        place = self._place = self._places.source(self._asked, self._namespace)
        if cause := await self._find(place):
            return cause
        if self._target.kind == "dns":
            return None  # names were all that was asked
        facts = self._facts(place)
        if facts and (cause := self._tell(ends.allowed(self._live, facts, self._ends, self._protocol))):
            return cause
        told = await ends.listened(self._live, self._places, place, self._ends, self._protocol, self._word())
        return self._tell(told) or await self._wires(place)

    async def _wires(self, place: Place) -> Cause | None:
        question = "is the kernel as it was written, along the way?"
        wrong = await wires.causes(self._live, self._path(place, [ip for ip, _ in self._ends], self._word()))
        if not wrong:
            self._say(question, True, "no difference")
            return None
        cause = wrong[0]
        if cause.kind in STALE | DEGRADED:  # is it to blame, or is there something harder beside it?
            came = await self._answered(PATIENCE if cause.kind in DEGRADED else SECONDS)
            hard = [each for each in wrong if each.kind not in STALE] if came else wrong
            if not hard:  # it will matter to somebody, not to this way
                self._say(question, None, cause.sentence, cause.object)
                return None
            cause = hard[0] if came else wires.severing(wrong) or cause
        self._say(question, False, cause.sentence, cause.object)
        return cause

    # -- the proof -----------------------------------------------------------------------------------------------------
    async def _prove(self) -> Cause | None:
        """A real packet where nothing should be in the way; it is the cause itself if there is something."""
        trace = await self._trace(True)
        if trace is None:
            said = "no packet can be sent: what was found a moment ago is not there any more"
            self._say("does a real packet get through?", False, said)
            return Cause("unknown", self.told.target, said, "ask again")
        step, difference = compare(trace, None, max(len(self._ends), self._servers))
        self.told.steps.append(step)
        if not difference:
            return None
        if apart := self._apart():
            return apart
        self.told.differences.append(difference)
        mend = f"minik8s trace {self._asked} {self._target.text} shows every station"
        return Cause("unknown", self.told.target, difference, mend)

    def _apart(self) -> Cause | None:
        """Where source or target are no part of the cluster, that is why."""
        if foreign := next((ip for ip, _ in self._ends if ends.is_foreign(self._live, ip)), None):
            said = f"{foreign} is outside the cluster, which has no way out"
            return Cause("no-way-out", foreign, said, "none, by design: ask what is in the cluster, or outside")
        spec = self._service.spec if self._service else None
        named = self._target.kind == "service" or self._target.host in ((spec and spec.clusterIPs) or ())
        if not (spec and named and self._place and self._place.kind in ("outside", "fabric")):
            return None
        said = f"{self._place.name} asks {self._word()} at its cluster IP, which only nodes and their pods know"
        return Cause("no-way-out", self._word(), said, "give the Service the type NodePort or LoadBalancer")

    async def _beside(self, cause: Cause, mild: bool) -> bool:
        """A real packet beside a cause; whether it came. What only hinders must let one come, given time."""
        trace = self._looked if mild and self._looked else await self._trace(mild, PATIENCE if mild else SECONDS)
        if trace is None:
            return mild
        step, difference = compare(trace, cause, max(len(self._ends), self._servers))
        self.told.steps.append(step)
        self.told.differences += [difference] if difference else []
        return arrived(trace)

    async def _answered(self, seconds: float) -> bool:
        self._looked = await self._trace(True, seconds)
        return self._looked is not None and arrived(self._looked)

    async def _trace(self, want: bool, seconds: float = SECONDS) -> Trace | None:
        """One real exchange; None where nothing can be sent."""
        if self._place is None:
            return None
        target, spec = self._target, self._service.spec if self._service else None
        by_object = target.kind in ("service", "pod")
        if target.kind == "service" and (self._aliased or (spec and spec.clusterIP == "None")):
            if not self._ends:
                return None  # it has no address of its own, and nobody behind it has one
            target = replace(target, host=self._ends[0][0], port=self._ends[0][1], kind="")
        namespace = self._objects if by_object else self._namespace
        return await traced(self._live, self._places, self._place, target, namespace, want, seconds)
