"""Python's full collections wait for a quiet moment, and then take what is old too."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import Callable

from minik8s_net.boot.garbage import QuietCollector


class Knot:
    """A cycle: no reference count frees it."""

    def __init__(self) -> None:
        self.me = self


def old_knot() -> weakref.ref[Knot]:
    knot = Knot()
    gc.collect()  # survives as one of the oldest generation
    return weakref.ref(knot)


def run(revision: Callable[[], int], seconds: float, done: Callable[[], bool], patience: float = 60.0) -> None:
    async def script() -> None:
        task = asyncio.create_task(QuietCollector(revision, every=0.02, patience=patience, quiet=0.02).run())
        await asyncio.sleep(0)
        assert gc.get_threshold()[2] > 1_000_000
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pass
        task.cancel()
        await asyncio.wait([task])

    before = gc.get_threshold()
    asyncio.run(script())
    assert gc.get_threshold() == before


def test_what_is_old_and_cyclic_goes_at_the_first_quiet_moment() -> None:
    knot = old_knot()
    run(lambda: 1, 5, lambda: knot() is None)
    assert knot() is None


def test_nothing_is_collected_while_there_are_writes_but_not_for_ever() -> None:
    knot, revisions = old_knot(), itertools.count()
    run(lambda: next(revisions), 0.4, lambda: knot() is None)
    assert knot() is not None, "every look saw another write"
    run(lambda: next(revisions), 5, lambda: knot() is None, patience=0.1)
    assert knot() is None
