"""What other servers are asked, and what they told us, kept for as long as they and the directive `cache` allow.

RFC 2181 §8, RFC 2308 §5. Whoever asks what is being asked already waits for the same answer: so a server that asks us
in turn what we have asked it ends in the one timeout.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from . import wire
from .answer import Answer, Forward
from .forward import complete
from .wire import RR, Query

ENTRIES = 10_000  # CoreDNS keeps 9984
Key = tuple[Forward, str, int]  # the forward directive, name, type
Kept = tuple[float, float, Answer]  # since, until


class Told:
    """Answers by question. Time to live counts down while an answer is kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Key, Kept] = {}
        self._asked: dict[Key, asyncio.Task[Kept]] = {}
        self._waiting: Counter[Forward] = Counter()

    async def complete(self, answer: Answer, query: Query) -> Answer:
        """As forward.complete, from what is kept if it can be; REFUSED where `max_concurrent` wait already."""
        assert answer.ask is not None
        forward, name = answer.ask
        key = (forward, name, query.qtype)
        kept = self._kept.get(key)
        if kept is None or kept[1] <= self._clock():
            if self._waiting[forward] >= forward.max_concurrent:
                return Answer(wire.REFUSED, authoritative=False)
            self._waiting[forward] += 1
            try:
                kept = await asyncio.shield(self._ask(key, replace(answer, answer=[]), query))
            finally:
                self._waiting[forward] -= 1
                self._waiting += Counter()  # a directive that nobody waits for is forgotten
        since, _, found = kept
        age = int(self._clock() - since)
        older = [
            [RR(rr.name, rr.record, max(rr.ttl - age, 0)) for rr in part] for part in (found.answer, found.authority)
        ]
        return replace(found, answer=answer.answer + older[0], authority=older[1])

    def _ask(self, key: Key, answer: Answer, query: Query) -> asyncio.Task[Kept]:
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._fetch(key, answer, query))
            self._asked[key].add_done_callback(lambda _: self._asked.pop(key))
        return self._asked[key]

    async def _fetch(self, key: Key, answer: Answer, query: Query) -> Kept:
        now = self._clock()
        found = await complete(answer, query)
        life = min(key[0].keep, _life(found))
        if key[0].keep:  # as it is told now, so that it only counts down from here
            found = found.capped(key[0].keep)
        if life:
            if len(self._kept) >= ENTRIES:
                self._kept.clear()
            self._kept[key] = now, now + life, found
        return now, now + life, found


def _life(answer: Answer) -> int:
    """Seconds: the least of its records, where it denies (perhaps after aliases) its SOA's too (RFC 2308 §5); failures
    are not kept, nor a denial without SOA."""
    denials = [min(rr.ttl, rr.record.data[-1]) for rr in answer.authority
               if rr.record.type == "SOA" and isinstance(rr.record.data, tuple)]  # fmt: skip
    if answer.rcode not in (wire.NOERROR, wire.NXDOMAIN) or not (denials or answer.rcode == wire.NOERROR):
        return 0
    return min([*(rr.ttl for rr in answer.answer), *denials], default=0)
