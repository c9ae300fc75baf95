"""How often and how quickly one node's proxy has written: what kube-proxy tells Prometheus of itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

LIMITS = tuple(0.001 * 2**n for n in range(15))  # seconds: 1 ms … 16.384 s, kube-proxy's own


@dataclass
class Syncs:
    """`last` is the time of the last write (seconds since the epoch), 0 before the first."""

    count: int = 0
    seconds: float = 0.0
    last: float = 0.0
    service_changes: int = 0
    endpoint_changes: int = 0
    _slots: list[int] = field(default_factory=lambda: [0] * (len(LIMITS) + 1))

    @contextmanager
    def measured(self) -> Iterator[None]:
        """One write; one that fails counts too."""
        began = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - began
            self.count, self.seconds, self.last = self.count + 1, self.seconds + took, time.time()
            self._slots[sum(took > limit for limit in LIMITS)] += 1

    def buckets(self) -> Iterator[tuple[str, int]]:
        """(upper limit, writes that took no longer), as a Prometheus histogram has them."""
        total = 0
        for limit, count in zip((*(f"{limit:g}" for limit in LIMITS), "+Inf"), self._slots, strict=True):
            total += count
            yield limit, total
