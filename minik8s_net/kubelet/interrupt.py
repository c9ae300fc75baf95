"""Long waits of a pod's life (a postStart hook, a kill that takes its grace period) end when the pod is to end.

In Kubernetes a pod worker's sync runs under a context, which is cancelled once the pod is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """What was waited for is of no interest any more: the pod is to end."""


class Interrupt:
    """Once `set`, until `clear`."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """The pod is to end."""
        self._event.set()

    def clear(self) -> None:
        """The pod lives after all."""
        self._event.clear()

    async def unless(self, work: Awaitable[T]) -> T:
        """What `work` returns or raises. Raises Interrupted as soon as it is set: `work` has ended, cancelled, then."""
        task, told = asyncio.ensure_future(work), asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Interrupted
            return task.result()
        finally:
            told.cancel()
            task.cancel()
            await asyncio.gather(task, told, return_exceptions=True)
