"""What other servers told us, kept for as long as they and the directive `cache` allow (RFC 2181 §8, RFC 2308 §5)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from . import wire
from .answer import Answer
from .forward import complete
from .wire import RR, Query

ENTRIES = 10_000  # CoreDNS keeps 9984
Key = tuple[object, str, int]  # the forward directive, name, type


class Told:
    """Answers by question. Time to live counts down while an answer is kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Key, tuple[float, float, Answer]] = {}  # since, until

    async def complete(self, answer: Answer, query: Query) -> Answer:
        """As forward.complete, from what is kept if it can be."""
        assert answer.ask is not None
        forward, name = answer.ask
        key, now = (forward, name, query.qtype), self._clock()
        since, until, found = self._kept.get(key, (0.0, 0.0, answer))
        if until <= now:
            asked = replace(answer, answer=[])
            found, since = await complete(asked, query), now
            if life := min(forward.keep, _life(found)):
                if len(self._kept) >= ENTRIES:
                    self._kept.clear()
                self._kept[key] = now, now + life, found
        age = int(now - since)
        older = [
            [RR(rr.name, rr.record, max(rr.ttl - age, 0)) for rr in part] for part in (found.answer, found.authority)
        ]
        return replace(found, answer=answer.answer + older[0], authority=older[1])


def _life(answer: Answer) -> int:
    """Seconds: the least of its records, of a denial its SOA's (RFC 2308 §5); failures are not kept."""
    if answer.rcode not in (wire.NOERROR, wire.NXDOMAIN):
        return 0
    if answer.answer:
        return min(rr.ttl for rr in answer.answer)
    denials = [min(rr.ttl, rr.record.data[-1]) for rr in answer.authority
               if rr.record.type == "SOA" and isinstance(rr.record.data, tuple)]  # fmt: skip
    return min(denials, default=0)
