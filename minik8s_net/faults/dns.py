"""Faults of the DNS server: its processes are stopped (SIGSTOP), for good or again and again.

A stopped process answers nothing, fails its probes and leaves the Service; continued, all is as it was, pods,
addresses and rules. As slow as a container with too little CPU: asleep most of the time, then awake for a moment.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lightkube.resources.core_v1 import Pod

from ..dns.manifests import LABELS, NAMESPACE
from .mechanism import Mechanism
from .record import Injected

if TYPE_CHECKING:
    from ..boot.live import Live

AWAKE = 0.012  # seconds in which a starved server gets to answer what has come


class DnsDead(Mechanism):
    async def make(self, live: Live, fault: Injected) -> None:
        send(await processes(live), signal.SIGSTOP)

    async def undo(self, live: Live, fault: Injected) -> None:
        send(await processes(live), signal.SIGCONT)


class DnsSlow(Mechanism):
    """A task of the controller makes the rhythm; the next controller takes it up again."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def make(self, live: Live, fault: Injected) -> None:
        task = self._tasks.get(fault.number)
        if task is None or task.done():
            self._tasks[fault.number] = asyncio.create_task(_starve(live, int(fault.parameters["milliseconds"]) / 1000))

    async def undo(self, live: Live, fault: Injected) -> None:
        if task := self._tasks.pop(fault.number, None):
            task.cancel()
        send(await processes(live), signal.SIGCONT)


async def _starve(live: Live, seconds: float) -> None:
    while True:
        found = await processes(live)
        for _ in range(max(1, int(2 / seconds))):  # then look again who is there
            send(found, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            send(found, signal.SIGCONT)
            await asyncio.sleep(AWAKE)


async def processes(live: Live) -> list[int]:
    """Every process of every DNS container, by its id on the host."""
    uids = {pod.metadata.uid for pod in live.client.list(Pod, NAMESPACE, LABELS) if pod.metadata}
    found = await live.runtime.list_containers()
    inits = [c.pid for c in found if c.state == "running" and c.pid and c.sandbox_id.rpartition("-")[0] in uids]
    return [pid for init in inits for pid in _tree(init)]


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _tree(int(child))


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
