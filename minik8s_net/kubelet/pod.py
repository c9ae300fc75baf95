"""One pod's life on this node, from sandbox to removal. `sync` looks at what is wanted and what runs, and mends.

The order is the contract: volumes, sandbox, CNI ADD, status.podIP written, policy programmed (`network_ready`),
only then containers. On the way out: preStop, TERM, KILL, last status, CNI DEL, sandbox, volumes, API object.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from ..api.errors import StatusError, is_not_found
from ..runtime.cri import CriError, Sandbox
from .backoff import BackOff
from .containers import ContainerManager, Waiting, field_path, grace_of
from .ending import FORCED_GRACE, Ending
from .host import Host
from .interrupt import Interrupt, Interrupted
from .observer import Observer, has_run
from .plan import Plan, container_of, is_sidecar, plan
from .prober import Prober
from .sandbox import PodSandbox
from .status import Verdict, View, pod_status

TOKEN_REFRESH = 2400.0  # seconds after which volumes are looked at again, and tokens that are due renewed
MOUNT_FIRST, MOUNT_LAST = 0.5, 122.0  # seconds between tries to set up volumes


class PodWorker:
    """Owns one pod (by uid) on this node. `sync` is never run twice at once."""

    def __init__(self, host: Host, uid: str) -> None:
        self.host, self.uid = host, uid
        self.done = False  # nothing of the pod is left on this node
        self.pod: Pod | None = None  # its newest known object
        self._interrupt = Interrupt()  # the pod is to end: nothing that serves its life is waited for
        self.place = PodSandbox(host, uid, self._interrupt)
        self._manager = ContainerManager(host, uid)
        self._ending = Ending(host, self._manager)
        self._prober = Prober(self._judged, self._unhealthy)
        self._observer = Observer(host, uid, self._prober, self.place)
        self._stale_at = 0.0  # when the volumes must be looked at again
        self._mounts = BackOff(MOUNT_FIRST, MOUNT_LAST)
        self._syncing = False
        self._told: tuple[Pod, dict[str, View], Plan] | None = None  # what the last status was made of
        self._altered: set[str] = set()  # stopped for its image: starts with the new one, whatever the restartPolicy
        self._due = 0.0  # when we asked to be woken, by time.monotonic()

    @property
    def sandbox(self) -> Sandbox | None:
        return self.place.sandbox

    @property
    def address(self) -> str:
        """On the pod network; "" while it is not wired up."""
        return self.place.address

    def adopt(self, sandbox: Sandbox) -> None:
        """Take over a sandbox found at start (of a kubelet before us)."""
        self.place.adopt(sandbox)

    def refresh_volumes(self) -> None:
        """Something that a volume shows has changed: look at once."""
        self._stale_at = 0.0
        self._mounts.forget("volumes")

    def hasten(self, grace: float = FORCED_GRACE) -> None:
        """The pod has to end within `grace` seconds (default: its object is gone from the API already)."""
        self._interrupt.set()
        self._ending.hasten(grace)

    def detach(self) -> None:
        """End our probes; the pod itself goes on."""
        self._prober.retain(())

    async def sync(self, pod: Pod | None) -> None:
        self.pod = pod or self.pod
        if pod is not None and pod.metadata and not pod.metadata.deletionTimestamp:
            self._interrupt.clear()  # it is back under its uid (a snapshot restored)
        self._syncing = True
        try:
            if pod is None or (pod.metadata and pod.metadata.deletionTimestamp):
                await self._terminate(pod)
            elif pod.status and pod.status.phase in ("Succeeded", "Failed"):
                await self._release(remove=False)
            else:
                await self._run(pod)
        except Interrupted:
            self.host.mark(self.uid)
        finally:
            self._syncing = False

    # -- living --------------------------------------------------------------------------------------------------
    async def _run(self, pod: Pod) -> None:
        try:
            if await self._ended_late(pod) or self._lost(pod) or not self._mount(pod):
                return
            pod = await self.place.ensure(pod, self._write_pending)
            if await self._ended_late(pod):  # asked again: only now may it have a startTime
                return
            if await self._interrupt.unless(self._live(pod)):
                await self._release(remove=False)
        except CriError as error:
            if error.reason != "NotFound" or self.sandbox is None:
                raise
            self._prober.retain(())
            await self.place.forget(self.pod)  # it died under us: a new one, in the next round
            self.host.mark(self.uid)

    async def _live(self, pod: Pod) -> bool:
        """Start, restart, write the status; True where nothing will run again."""
        views, todo = await self._look(pod)
        if condemned := self._condemned(pod, views):
            self._write(pod, views, todo)  # here and below: what comes may take a while, and this is known now
            await asyncio.gather(*(self._stop(pod, name, views[name], *why) for name, why in condemned.items()))
            views, todo = await self._look(pod)
        starting = [container_of(pod, name) for name in todo.start]
        if any(c.lifecycle and c.lifecycle.postStart for c in starting):
            self._write(pod, views, todo)
        for container in starting:
            await self._start(pod, container, views[container.name])
        if todo.start:
            views, todo = await self._look(pod)
        if todo.finished:
            if any(view.running for view in views.values()):
                self._write(pod, views, Plan(initialized=True))
            await self._ending.stop_all(pod, views, grace_of(pod), self.place.address)
            views = await self._observer.views(pod)
        self._write(pod, views, todo)
        return todo.finished

    async def _look(self, pod: Pod) -> tuple[dict[str, View], Plan]:
        views = await self._observer.views(pod)
        return views, self._plan(pod, views)

    def _wake_after(self, seconds: float) -> None:
        """Sync again then at the latest. Every sync says anew until when it waits: one timer at a time is enough."""
        now = time.monotonic()
        if not now < self._due <= now + seconds:
            self._due = now + seconds
            self.host.mark_after(self.uid, seconds)

    def _mount(self, pod: Pod) -> bool:
        """Set the volumes up where they are missing or may be stale. False: they can't be, not yet."""
        now = time.time()
        if now < self._stale_at:
            self._wake_after(self._stale_at - now + 1)
            return True
        if wait := self._mounts.remaining("volumes", now):
            self._wake_after(wait + 0.01)
            return self.sandbox is not None
        if failed := self._manager.volumes.set_up(pod, self.place.address):
            for text in failed:
                self.host.events.warning(pod, "FailedMount", text)
            if self.sandbox is None:
                self._write_pending(pod)
            self._mounts.next("volumes", now)
            self._wake_after(self._mounts.delay("volumes") + 0.01)
            return self.sandbox is not None  # what runs goes on with what it has
        self._mounts.forget("volumes")
        self._stale_at = now + TOKEN_REFRESH
        self._wake_after(TOKEN_REFRESH + 1)
        return True

    def _plan(self, pod: Pod, views: dict[str, View]) -> Plan:
        assert pod.spec
        old = {n for n, v in views.items() if n in self._altered and v.latest and v.latest.state == "exited"}
        latest = {name: view.latest for name, view in views.items() if view.latest and name not in old}
        return plan(pod.spec, latest, {name for name, view in views.items() if view.started and view.running})

    async def _start(self, pod: Pod, container: Container, view: View) -> None:
        assert self.sandbox
        attempt = self._observer.next_attempt(pod, container, view)
        try:
            await self._manager.start(pod, container, self.sandbox.id, self.place.address, attempt, view.latest)
        except Waiting as reason:
            self._observer.waiting[container.name] = (reason.reason, reason.message)
            self._wake_after(reason.seconds)
        else:
            self._observer.waiting.pop(container.name, None)
            self._altered.discard(container.name)
        if view.latest is not None:
            await self._observer.drop_before(container.name, view.latest.config.attempt)

    def _condemned(self, pod: Pod, views: dict[str, View]) -> dict[str, tuple[str, float]]:
        """What must stop and start again: failed its liveness or startup probe, or was given another image (the one
        thing of a container that can be changed). By container: why, and in how many seconds."""
        assert pod.spec
        found = {}
        for container in (*pod.spec.containers, *(c for c in pod.spec.initContainers or () if is_sidecar(c))):
            latest = views[container.name].latest
            if latest is None or latest.state != "running":
                continue
            health = self._prober.known(latest.id)
            if latest.config.image != (container.image or ""):
                self._altered.add(container.name)
                found[container.name] = (f"Container {container.name} definition changed", grace_of(pod))
            elif health and health.sick:
                found[container.name] = (health.sick, grace_of(pod) if health.grace is None else health.grace)
        return {name: (f"{why}, will be restarted", grace) for name, (why, grace) in found.items()}

    async def _stop(self, pod: Pod, name: str, view: View, why: str, grace: float) -> None:
        if view.latest is not None:
            container = container_of(pod, name)
            await self._manager.stop(pod, container, view.latest.id, grace, self.place.address, why)

    def _judged(self) -> None:
        """A probe has a new verdict. In the middle of a sync, which may be waiting for a hook or for a container that
        doesn't end, readiness is written at once, beside what was known before; all else is the next sync's."""
        if self._syncing and self._told is not None:
            pod, views, todo = self._told
            for view in views.values():
                if view.latest and (health := self._prober.known(view.latest.id)):
                    view.started, view.ready = health.started, health.ready
            with contextlib.suppress(StatusError):  # the next sync will say why
                self._write(pod, views, todo)
        self.host.mark(self.uid)

    def _unhealthy(self, name: str, message: str) -> None:
        if self.pod is not None:
            self.host.events.warning(self.pod, "Unhealthy", message, field_path(self.pod, container_of(self.pod, name)))

    # -- status --------------------------------------------------------------------------------------------------
    def _write(self, pod: Pod, views: dict[str, View], todo: Plan, verdict: Verdict | None = None) -> Pod:
        pod = self._with_newest_status(pod)
        assert pod.metadata and pod.metadata.name
        self._told = pod, views, todo
        status = pod_status(pod, views, todo, addresses=(self.place.address, self.host.node_ip), verdict=verdict)
        try:
            patch = {"metadata": {"uid": self.uid}, "status": status}
            return self.host.client.patch(Pod, pod.metadata.name, patch, pod.metadata.namespace, subresource="status")
        except StatusError as error:
            if is_not_found(error) or error.code == 409:  # gone meanwhile, or another pod of that name
                return pod
            raise

    def _with_newest_status(self, pod: Pod) -> Pod:
        """Conditions are others' too (readiness gates) and may have changed while we were busy. The spec stays the one
        that we looked at: what a newer one adds (an ephemeral container) has no view yet."""
        assert pod.metadata and pod.metadata.name
        found = self.host.client.find(Pod, pod.metadata.name, pod.metadata.namespace)
        known = found is not None and found.metadata and found.metadata.uid == self.uid
        return Pod(metadata=pod.metadata, spec=pod.spec, status=found.status) if found and known else pod

    def _write_pending(self, pod: Pod) -> Pod:
        """The status before any container of this sandbox runs."""
        assert pod.spec
        return self._write(pod, self._observer.before_start(pod), Plan(initialized=not pod.spec.initContainers))

    async def _ended_late(self, pod: Pod) -> bool:
        """End a pod that is past its activeDeadlineSeconds, whatever state it is in; True where it was."""
        if verdict := self._overdue(pod):
            await self._interrupt.unless(self._end(pod, verdict))
            await self._release(remove=False)
        return verdict is not None

    def _overdue(self, pod: Pod) -> Verdict | None:
        limit = pod.spec.activeDeadlineSeconds if pod.spec else None
        began = pod.status.startTime if pod.status else None
        if limit is None or began is None:
            return None
        left = began.timestamp() + limit - time.time()
        if left > 0:
            self._wake_after(left + 0.01)
            return None
        text = "Pod was active on the node longer than the specified deadline"
        self.host.events.normal(pod, "DeadlineExceeded", text)
        return Verdict("DeadlineExceeded", text)

    # -- ending --------------------------------------------------------------------------------------------------
    def _lost(self, pod: Pod) -> bool:
        """A pod that has run, whose sandbox is no more and that is never to be started again: it's over. True then."""
        assert pod.spec
        if self.sandbox is not None or pod.spec.restartPolicy != "Never" or not has_run(pod):
            return False
        views = self._observer.before_start(pod)
        ends = [(views[c.name].last_state or {}).get("terminated", {}) for c in pod.spec.containers]
        conditions = (pod.status.conditions if pod.status else None) or ()
        initialized = any(c.type == "Initialized" and c.status == "True" for c in conditions)
        failed = any(end.get("exitCode") != 0 for end in ends)
        self._write(pod, views, Plan(initialized=initialized, finished=True, failed=failed))
        return True

    async def _end(self, pod: Pod, verdict: Verdict) -> None:
        """The kubelet's own decision: the object stays, Failed."""
        await self._ending.stop_all(pod, await self._observer.views(pod), grace_of(pod), self.place.address)
        views, todo = await self._look(pod)
        self._write(pod, views, Plan(initialized=todo.initialized, finished=True, failed=True), verdict)

    async def _terminate(self, pod: Pod | None) -> None:
        known = pod or self.pod
        grace = FORCED_GRACE
        if pod is not None and pod.metadata and pod.metadata.deletionGracePeriodSeconds is not None:
            grace = float(pod.metadata.deletionGracePeriodSeconds)
        if known is not None:
            try:
                await self._stop_gracefully(known, grace)
            except CriError as error:
                if error.reason != "NotFound":
                    raise
        await self._release(remove=True)
        self._manager.volumes.tear_down()
        self.done = True
        if pod is not None and pod.metadata and pod.metadata.name:
            try:
                self.host.client.delete(Pod, pod.metadata.name, pod.metadata.namespace, grace_seconds=0, uid=self.uid)
            except StatusError as error:
                if not is_not_found(error) and error.code != 409:
                    raise

    async def _stop_gracefully(self, pod: Pod, grace: float) -> None:
        self._prober.stop_liveness()
        views = await self._observer.views(pod)
        if any(view.running for view in views.values()):
            await self._ending.stop(pod, views, grace, self.place.address)
        elif pod.status and pod.status.phase in ("Succeeded", "Failed"):
            return  # said already
        views, todo = await self._look(pod)
        assert pod.spec
        ends = [views[c.name].latest for c in pod.spec.containers]  # nobody asks how the others ended
        failed = not all(end and end.state == "exited" and end.exit_code == 0 for end in ends)
        self._write(pod, views, Plan(initialized=todo.initialized, finished=True, failed=failed))

    async def _release(self, *, remove: bool) -> None:
        self._prober.retain(())
        await self.place.release(remove=remove)
