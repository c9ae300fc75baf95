"""One pod's life on this node, from sandbox to removal. `sync` looks at what is wanted and what runs, and mends.

The order is the contract: volumes, sandbox, CNI ADD, status.podIP written, policy programmed (`network_ready`),
only then containers. On the way out: preStop, TERM, KILL, last status, CNI DEL, sandbox, volumes, API object.
"""

from __future__ import annotations

import time

from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from ..api.errors import StatusError, is_not_found
from ..runtime.cri import CriError, Sandbox
from .backoff import BackOff
from .containers import ContainerManager, Waiting, field_path
from .ending import FORCED_GRACE, Ending, grace_of
from .host import Host
from .observer import Observer
from .plan import Plan, container_of, containers_of, plan
from .prober import Prober
from .sandbox import PodSandbox
from .status import Verdict, View, pod_status
from .volumes import VolumeError

TOKEN_REFRESH = 2400.0  # seconds after which projected tokens are written anew
MOUNT_FIRST, MOUNT_LAST = 0.5, 122.0  # seconds between tries to set up volumes


class PodWorker:
    """Owns one pod (by uid) on this node. `sync` is never run twice at once."""

    def __init__(self, host: Host, uid: str) -> None:
        self.host, self.uid = host, uid
        self.done = False  # nothing of the pod is left on this node
        self.pod: Pod | None = None  # its newest known object
        self.place = PodSandbox(host, uid)
        self._manager = ContainerManager(host, uid)
        self._ending = Ending(host, self._manager)
        self._prober = Prober(lambda: host.mark(uid), self._unhealthy)
        self._observer = Observer(host, uid, self._prober, self.place)
        self._stale_at = 0.0  # when the volumes must be looked at again
        self._mounts = BackOff(MOUNT_FIRST, MOUNT_LAST)

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
        self._ending.hasten(grace)

    def detach(self) -> None:
        """End our probes; the pod itself goes on."""
        self._prober.retain(())

    async def sync(self, pod: Pod | None) -> None:
        self.pod = pod or self.pod
        if pod is None or (pod.metadata and pod.metadata.deletionTimestamp):
            await self._terminate(pod)
        elif pod.status and pod.status.phase in ("Succeeded", "Failed"):
            await self._release(remove=False)
        else:
            await self._run(pod)

    # -- living --------------------------------------------------------------------------------------------------
    async def _run(self, pod: Pod) -> None:
        if not self._mount(pod):
            return
        pod = await self.place.ensure(pod, self._write_pending)
        try:
            if verdict := self._overdue(pod):
                await self._end(pod, verdict)
            else:
                await self._live(pod)
        except CriError as error:
            if error.reason != "NotFound":
                raise
            self._prober.retain(())
            await self.place.forget(self.pod)  # it died under us: a new one, in the next round
            self.host.mark(self.uid)

    async def _live(self, pod: Pod) -> None:
        views = await self._observer.views(pod)
        if await self._restart_sick(pod, views):
            views = await self._observer.views(pod)
        todo = self._plan(pod, views)
        for name in todo.start:
            await self._start(pod, container_of(pod, name), views[name])
        if todo.start:
            views = await self._observer.views(pod)
            todo = self._plan(pod, views)
        if todo.finished:
            await self._ending.stop_all(pod, views, grace_of(pod), self.place.address)
            views = await self._observer.views(pod)
        self._write(pod, views, todo)
        if todo.finished:
            await self._release(remove=False)

    def _mount(self, pod: Pod) -> bool:
        """Set the volumes up where they are missing or may be stale. False: they can't be, not yet."""
        now = time.time()
        if now < self._stale_at:
            return True
        try:
            self._manager.volumes.set_up(pod, self.place.address)
        except VolumeError as error:
            self.host.events.warning(pod, "FailedMount", str(error))
            if self.sandbox is None:
                self._write_pending(pod)
            self._mounts.next("volumes", now)
            self.host.mark_after(self.uid, self._mounts.delay("volumes") + 0.01)
            return self.sandbox is not None  # what runs goes on with what it has
        self._mounts.forget("volumes")
        self._stale_at = now + TOKEN_REFRESH
        self.host.mark_after(self.uid, TOKEN_REFRESH + 1)
        return True

    def _plan(self, pod: Pod, views: dict[str, View]) -> Plan:
        assert pod.spec
        latest = {name: view.latest for name, view in views.items() if view.latest is not None}
        return plan(pod.spec, latest, {name for name, view in views.items() if view.started and view.running})

    async def _start(self, pod: Pod, container: Container, view: View) -> None:
        assert self.sandbox
        attempt = self._observer.next_attempt(pod, container, view)
        try:
            await self._manager.start(pod, container, self.sandbox.id, self.place.address, attempt, view.latest)
        except Waiting as reason:
            self._observer.waiting[container.name] = (reason.reason, reason.message)
            self.host.mark_after(self.uid, reason.seconds)
        else:
            self._observer.waiting.pop(container.name, None)
        if view.latest is not None:
            await self._observer.drop_before(container.name, view.latest.config.attempt)

    async def _restart_sick(self, pod: Pod, views: dict[str, View]) -> bool:
        """Stop what its liveness or startup probe condemned; the plan then starts it again."""
        stopped = False
        looker = self._observer.looker()
        for container in containers_of(pod):
            view = views[container.name]
            if not view.running or view.latest is None:
                continue
            sick = self._prober.health(container, view.latest, looker).sick
            if sick:
                probe = container.livenessProbe or container.startupProbe
                own = probe.terminationGracePeriodSeconds if probe else None
                grace = grace_of(pod) if own is None else float(own)
                await self._manager.stop(pod, container, view.latest.id, grace, self.place.address, sick)
                stopped = True
        return stopped

    def _unhealthy(self, name: str, message: str) -> None:
        if self.pod is not None:
            self.host.events.warning(self.pod, "Unhealthy", message, field_path(self.pod, container_of(self.pod, name)))

    # -- status --------------------------------------------------------------------------------------------------
    def _write(self, pod: Pod, views: dict[str, View], todo: Plan, verdict: Verdict | None = None) -> Pod:
        assert pod.metadata and pod.metadata.name
        status = pod_status(pod, views, todo, addresses=(self.place.address, self.host.node_ip), verdict=verdict)
        try:
            patch = {"metadata": {"uid": self.uid}, "status": status}
            return self.host.client.patch(Pod, pod.metadata.name, patch, pod.metadata.namespace, subresource="status")
        except StatusError as error:
            if is_not_found(error) or error.code == 409:  # gone meanwhile, or another pod of that name
                return pod
            raise

    def _write_pending(self, pod: Pod) -> Pod:
        """The status before any container of this sandbox runs."""
        assert pod.spec
        return self._write(pod, self._observer.before_start(pod), Plan(initialized=not pod.spec.initContainers))

    def _overdue(self, pod: Pod) -> Verdict | None:
        limit = pod.spec.activeDeadlineSeconds if pod.spec else None
        began = pod.status.startTime if pod.status else None
        if limit is None or began is None:
            return None
        left = began.timestamp() + limit - time.time()
        if left > 0:
            self.host.mark_after(self.uid, left + 0.01)
            return None
        text = "Pod was active on the node longer than the specified deadline"
        self.host.events.normal(pod, "DeadlineExceeded", text)
        return Verdict("DeadlineExceeded", text)

    # -- ending --------------------------------------------------------------------------------------------------
    async def _end(self, pod: Pod, verdict: Verdict) -> None:
        """The kubelet's own decision: the object stays, Failed."""
        await self._ending.stop_all(pod, await self._observer.views(pod), grace_of(pod), self.place.address)
        over = Plan(initialized=True, finished=True, failed=True)
        self._write(pod, await self._observer.views(pod), over, verdict)
        await self._release(remove=False)

    async def _terminate(self, pod: Pod | None) -> None:
        known = pod or self.pod
        grace = FORCED_GRACE
        if pod is not None and pod.metadata and pod.metadata.deletionGracePeriodSeconds is not None:
            grace = float(pod.metadata.deletionGracePeriodSeconds)
        if known is not None and self.sandbox is not None:
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
        if not any(view.running for view in views.values()):
            return
        await self._ending.stop(pod, views, grace, self.place.address)
        views = await self._observer.views(pod)
        failed = any(v.latest and v.latest.exit_code for v in views.values())
        self._write(pod, views, Plan(initialized=True, finished=True, failed=failed))

    async def _release(self, *, remove: bool) -> None:
        self._prober.retain(())
        await self.place.release(remove=remove)
