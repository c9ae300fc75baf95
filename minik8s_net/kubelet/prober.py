"""Probes over time: thresholds, and what follows from them (started, ready, to be restarted).

One task per container attempt and kind of probe. A success of the startup probe opens the way for the other two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lightkube.models.core_v1 import Container, Probe

from ..runtime.cri import ContainerStatus
from .probes import Looker

EAGER_FOR, EAGER_EVERY = 1.0, 0.05  # a server that is just starting is not made to wait a whole period


@dataclass
class Health:
    """What the probes say of one container attempt. `sick` is why it must be restarted, `grace` in how many seconds
    it has to end then (None: the pod's own grace period)."""

    started: bool
    ready: bool
    sick: str = ""
    grace: float | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


@dataclass(frozen=True)
class Word:
    """What a kubelet before us has said of a container attempt that still runs: it holds until our probes speak."""

    started: bool = False
    ready: bool = False


class Prober:
    """The probes of one pod. `changed()` is called after each verdict that is new, `failed(container, message)` for
    each failure to be told as an event."""

    def __init__(self, changed: Callable[[], None], failed: Callable[[str, str], None]) -> None:
        self._changed, self._failed = changed, failed
        self._health: dict[str, Health] = {}

    def health(self, container: Container, status: ContainerStatus, looker: Looker, before: Word = Word()) -> Health:
        """The health of a running attempt; its probes begin with the first call."""
        known = self._health.get(status.id)
        if known is None:
            unprobed = container.startupProbe is None and container.readinessProbe is None
            known = Health(container.startupProbe is None or before.started, unprobed or before.ready)
            self._health[status.id] = known
            self._begin(container, status, looker, known)
        return known

    def known(self, container_id: str) -> Health | None:
        """The health of an attempt that is being probed."""
        return self._health.get(container_id)

    def retain(self, ids: Iterable[str]) -> None:
        """End the probes of every attempt not in `ids`."""
        for gone in self._health.keys() - set(ids):
            for task in self._health.pop(gone).tasks:
                task.cancel()

    def stop_liveness(self) -> None:
        """A pod that ends keeps its readiness only."""
        for health in self._health.values():
            for task in health.tasks:
                if not task.get_name().startswith("Readiness"):
                    task.cancel()

    def _begin(self, container: Container, status: ContainerStatus, looker: Looker, health: Health) -> None:
        opened = asyncio.Event()
        if health.started:
            opened.set()
        for kind, probe in (
            ("Startup", container.startupProbe),
            ("Readiness", container.readinessProbe),
            ("Liveness", container.livenessProbe),
        ):
            if probe is not None and not (kind == "Startup" and health.started):
                run = self._run(kind, probe, container, status, looker, health, opened)
                health.tasks.append(asyncio.create_task(run, name=f"{kind}:{status.id}"))
        if container.startupProbe is not None and container.readinessProbe is None:
            health.tasks.append(asyncio.create_task(self._ready_once_started(health, opened)))

    async def _ready_once_started(self, health: Health, opened: asyncio.Event) -> None:
        await opened.wait()
        health.ready = True
        self._changed()

    async def _run(
        self,
        kind: str,
        probe: Probe,
        container: Container,
        status: ContainerStatus,
        looker: Looker,
        health: Health,
        opened: asyncio.Event,
    ) -> None:
        if kind != "Startup":
            await opened.wait()
        begun = status.started_at or time.time()
        await asyncio.sleep(max(0.0, begun + (probe.initialDelaySeconds or 0) - time.time()))
        eager_until = time.time() + EAGER_FOR if kind != "Liveness" else 0.0
        verdict, run = None, 0  # the last outcome, and how often in a row
        while True:
            success, seen = await looker.look(probe, container, status.id)
            if not success and verdict is None and time.time() < eager_until:
                await asyncio.sleep(EAGER_EVERY)
                continue
            run = run + 1 if success == verdict else 1
            verdict = success
            if not success:
                self._failed(container.name, f"{kind} probe failed: {seen}")
            threshold = (probe.successThreshold or 1) if success else (probe.failureThreshold or 3)
            if run >= threshold and self._apply(kind, probe, success, container, health, opened):
                return
            await asyncio.sleep(probe.periodSeconds or 10)

    def _apply(
        self, kind: str, probe: Probe, success: bool, container: Container, health: Health, opened: asyncio.Event
    ) -> bool:
        """Draw the consequence; True where this probe has said its last word."""
        before = (health.started, health.ready, health.sick)
        if kind == "Readiness":
            health.ready = success
        elif not success:
            health.sick = f"Container {container.name} failed {kind.lower()} probe"
            if probe.terminationGracePeriodSeconds is not None:
                health.grace = float(probe.terminationGracePeriodSeconds)
        elif kind == "Startup":
            health.started = True
            opened.set()
        if (health.started, health.ready, health.sick) != before:
            self._changed()
        return bool(health.sick) or (kind == "Startup" and success)
