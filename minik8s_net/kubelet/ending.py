"""The end of a pod's containers: TERM, the grace period, KILL; sidecars after the others.

A deletion may be hastened while it goes on (`kubectl delete --grace-period=1` after one with 30), never delayed.
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from .containers import ContainerManager
from .host import Host
from .plan import containers_of, is_sidecar
from .status import View

FORCED_GRACE = 1.0  # seconds for a pod whose object is already gone


class Ending:
    """Ends the containers of one pod. `hasten` may be called at any time, also before the end has begun."""

    def __init__(self, host: Host, manager: ContainerManager) -> None:
        self._host, self._manager = host, manager
        self._latest = float("inf")  # when all must be over, by time.monotonic()
        self._hastened = asyncio.Event()

    def hasten(self, grace: float) -> None:
        """Everything is to have ended in `grace` seconds from now."""
        if time.monotonic() + grace < self._latest - 0.5:
            self._latest = time.monotonic() + grace
            self._hastened.set()

    async def stop(self, pod: Pod, views: Mapping[str, View], grace: float, address: str) -> None:
        """Returns when the containers have ended. Raises CriError."""
        self._latest = min(self._latest, time.monotonic() + grace)
        self._hastened.clear()  # what was said before is in `_latest`
        work = asyncio.create_task(self.stop_all(pod, views, self._latest - time.monotonic(), address))
        hurry = asyncio.create_task(self._hurry([v.latest.id for v in views.values() if v.latest and v.running]))
        try:
            await asyncio.wait({work, hurry}, return_when=asyncio.FIRST_COMPLETED)
            await (hurry if hurry.done() else work)
        finally:
            work.cancel()
            hurry.cancel()

    async def _hurry(self, ids: list[str]) -> None:
        """Each time the end is hastened, tell the runtime the new limit. Returns once all have ended by it: preStop
        hooks are waited for no longer."""
        stops: set[asyncio.Future[Any]] = set()
        told: asyncio.Future[Any] = asyncio.ensure_future(self._hastened.wait())
        try:
            while not stops or not all(stop.done() for stop in stops):
                await asyncio.wait({told, *stops}, return_when=asyncio.FIRST_COMPLETED)
                if told.done():
                    self._hastened.clear()
                    told = asyncio.ensure_future(self._hastened.wait())
                    left = max(0.0, self._latest - time.monotonic())
                    stops |= {asyncio.ensure_future(self._host.runtime.stop_container(one, left)) for one in ids}
                    if not ids:
                        return
            for stop in stops:
                stop.result()
        finally:
            for task in (told, *stops):
                task.cancel()

    async def stop_all(self, pod: Pod, views: Mapping[str, View], grace: float, address: str) -> None:
        """All preStop hooks at once; TERM to the containers together, then to the sidecars, last started first."""
        everyone = [c for c in containers_of(pod) if (last := views[c.name].latest) and last.state != "exited"]
        others = [c.name for c in everyone if not is_sidecar(c)]
        sidecars = [c.name for c in reversed(everyone) if is_sidecar(c)]
        ended = {c.name: asyncio.Event() for c in everyone}

        async def stop(container: Container, container_id: str) -> None:
            before = [*others, *sidecars[: sidecars.index(container.name)]] if is_sidecar(container) else []

            async def turn() -> None:
                for name in before:
                    await ended[name].wait()

            try:
                await self._manager.stop(pod, container, container_id, grace, address, turn=turn)
            finally:
                ended[container.name].set()

        await asyncio.gather(*(stop(c, last.id) for c in everyone if (last := views[c.name].latest)))
