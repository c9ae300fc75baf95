"""Crash-loop back-off: the first restart at once, then 10 s, 20 s, … 300 s after the last exit.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

FIRST, LAST = 10.0, 300.0  # seconds
RESET = 600.0  # a container that ran that long starts afresh


@dataclass
class _Entry:
    delay: float
    since: float


class BackOff:
    """One delay per key (a container, an image). Times are seconds since the epoch."""

    def __init__(self, first: float = FIRST, last: float = LAST) -> None:
        self.first, self.last = first, last
        self._entries: dict[Hashable, _Entry] = {}

    def remaining(self, key: Hashable, now: float, failed_at: float | None = None) -> float:
        """Seconds that `key`, which failed at `failed_at` (default: at its last try), has to wait (0.0: go)."""
        entry = self._entries.get(key)
        if entry is None:
            return 0.0
        failed = entry.since if failed_at is None else failed_at
        if failed - entry.since > RESET:
            return 0.0
        return max(0.0, failed + entry.delay - now)

    def next(self, key: Hashable, now: float, failed_at: float | None = None) -> None:
        """Count one more try, after the failure at `failed_at` (default: now)."""
        entry = self._entries.get(key)
        if entry is None or (now if failed_at is None else failed_at) - entry.since > RESET:
            self._entries[key] = _Entry(self.first, now)
        else:
            self._entries[key] = _Entry(min(entry.delay * 2, self.last), now)

    def delay(self, key: Hashable) -> float:
        """The present delay, for messages."""
        entry = self._entries.get(key)
        return entry.delay if entry else self.first

    def forget(self, key: Hashable) -> None:
        self._entries.pop(key, None)
