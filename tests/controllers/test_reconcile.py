"""The loop every component is: a key that fails for ever is tried for ever, and harms nobody else."""

from __future__ import annotations

import asyncio
import logging

import pytest

from minik8s_net.reconcile import Reconciler


def test_thousands_of_failures_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    tries = {"bad": 0, "good": 0}

    async def reconcile(key: str) -> None:
        tries[key] += 1
        if key == "bad":
            raise ValueError("always")

    async def script() -> None:
        loop = Reconciler("test", reconcile)
        running = asyncio.create_task(loop.run())
        for number in range(1500):  # each failure doubles the wait: 2 ** 1100 is no number of seconds
            loop.mark("bad")
            while tries["bad"] <= number:
                await asyncio.sleep(0)
        loop.mark("good")
        while not tries["good"]:
            await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with caplog.at_level(logging.ERROR):
        asyncio.run(script())
    assert len(caplog.records) == 1, "a run of failures is told once"


def test_one_timer_a_key_the_earliest() -> None:
    """However many events come while something is waited for, it is looked at once when the time has come."""
    looked: list[float] = []

    async def script() -> None:
        clock = asyncio.get_running_loop().time

        async def reconcile(key: str) -> None:
            looked.append(clock())

        loop = Reconciler("test", reconcile)
        running = asyncio.create_task(loop.run())
        began = clock()
        for number in range(20):
            loop.mark_after("key", 0.2 + number / 1000)
        loop.mark_after("key", 0.05)  # earlier: instead
        await asyncio.sleep(0.4)
        assert len(looked) == 1 and 0.04 < looked[0] - began < 0.15
        loop.mark_after("key", 0.01)
        await asyncio.sleep(0.1)
        assert len(looked) == 2
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(script())
