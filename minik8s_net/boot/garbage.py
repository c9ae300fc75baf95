"""Python's full garbage collections, at moments when nobody waits.

A full collection looks at every object there is: 0.1 s with 500 pods, in which the one event loop stands still; left to
itself Python begins one every few seconds of work. Nearly everything here is freed without it, by reference counts,
and what is young is collected as ever; left are cycles that got old, some dozens a minute. They wait for a moment
without writes.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

EVERY, PATIENCE = 60.0, 600.0  # seconds between two; at most, if no moment is quiet
QUIET = 1.0  # seconds without a write
_NEVER = 1_000_000_000


class QuietCollector:
    """`run` until cancelled; then Python collects by itself again."""

    def __init__(
        self, revision: Callable[[], int], *, every: float = EVERY, patience: float = PATIENCE, quiet: float = QUIET
    ) -> None:
        """`revision`: a number that changes with every write."""
        self._revision, self._every, self._patience, self._quiet = revision, every, patience, quiet

    async def run(self) -> None:
        """Until cancelled."""
        before = gc.get_threshold()
        gc.set_threshold(*before[:2], _NEVER)
        try:
            while True:
                await asyncio.sleep(self._every)
                await self._quiet_moment()
                gc.collect()
        finally:
            gc.set_threshold(*before)

    async def _quiet_moment(self) -> None:
        latest = time.monotonic() + self._patience - self._every
        seen = -1
        while seen != (seen := self._revision()) and time.monotonic() < latest:
            await asyncio.sleep(self._quiet)
