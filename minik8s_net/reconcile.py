"""The level-triggered loop every component is: mark a key dirty, make the world equal to the wanted state.

`mark` is cheap and coalesces: a key marked ten times before its turn is reconciled once. A key marked while it is
being reconciled is reconciled once more afterwards. A failed key is tried again, after 50 ms, 100 ms, … 5 s, and
the failure is logged once per run of failures. `reconcile` looks at the *present* state, never at the event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
log = logging.getLogger(__name__)
FIRST_RETRY, LAST_RETRY = 0.05, 5.0  # seconds


class Reconciler(Generic[K]):
    """Runs `reconcile(key)` for every marked key, at most `workers` keys at a time, never one key twice at once."""

    def __init__(self, name: str, reconcile: Callable[[K], Awaitable[None]], *, workers: int = 1) -> None:
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._dirty: dict[K, None] = {}  # insertion ordered: first marked, first served
        self._busy: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def mark(self, key: K) -> None:
        """Say that `key` may have changed. Call from the event loop's thread only."""
        self._dirty[key] = None
        self._idle.clear()
        self._wake.set()

    def mark_after(self, key: K, seconds: float) -> None:
        """Mark `key` later, e.g. for a back-off or an expiry. Where it is to be marked earlier anyhow, that will do:
        who reconciles it then finds out anew whether there is anything to wait for.
        """
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer and timer.when() <= loop.time() + seconds:
            return
        if timer:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.mark(key)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for key in [k for k in self._dirty if k not in self._busy]:
                    if len(self._busy) >= self._workers:
                        break
                    del self._dirty[key]
                    self._busy.add(key)
                    group.create_task(self._one(key), name=f"{self.name}:{key}")

    async def settle(self) -> None:
        """Wait until nothing is dirty or being worked on (a failed key counts as dirty)."""
        await self._idle.wait()

    async def _one(self, key: K) -> None:
        try:
            await self._reconcile(key)
        except Exception:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            log.log(logging.ERROR if failures == 1 else logging.DEBUG, "%s: %s failed", self.name, key, exc_info=True)
            delay = min(FIRST_RETRY * 2.0 ** min(failures - 1, 10), LAST_RETRY)
            asyncio.get_running_loop().call_later(delay, self.mark, key)
        else:
            self._failures.pop(key, None)
        finally:
            self._busy.discard(key)
            if self._dirty:
                self._wake.set()
            elif not self._busy and not self._failures:
                self._idle.set()
