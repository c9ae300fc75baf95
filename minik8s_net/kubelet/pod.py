"""One pod's life on this node, from sandbox to removal. `sync` looks at what is wanted and what runs, and mends.

The order is the contract: volumes, sandbox, CNI ADD, status.podIP written, policy programmed (`network_ready`),
only then containers. On the way out: preStop, TERM, KILL, last status, CNI DEL, sandbox, volumes, API object.
"""

from __future__ import annotations

import asyncio
import logging
import time

from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from ..api.errors import StatusError, is_not_found
from ..runtime.cri import ContainerStatus, CriError, Sandbox, SandboxConfig
from . import dnsconfig
from .containers import ContainerManager, Waiting, field_path
from .host import Host
from .plan import Plan, is_sidecar, plan
from .prober import Prober
from .probes import Looker
from .status import Verdict, View, pod_status, terminated
from .volumes import VolumeError

log = logging.getLogger(__name__)
NETWORK_TIMEOUT = 30.0  # seconds until a pod whose policy was not programmed is tried again
TOKEN_REFRESH = 2400.0  # seconds after which projected tokens are written anew
FORCED_GRACE = 1.0  # seconds for a pod whose object is already gone


class PodWorker:
    """Owns one pod (by uid) on this node. `sync` is never run twice at once."""

    def __init__(self, host: Host, uid: str) -> None:
        self.host, self.uid = host, uid
        self.sandbox: Sandbox | None = None
        self.address = ""
        self.done = False  # nothing of the pod is left on this node
        self.pod: Pod | None = None  # its newest known object
        self._manager = ContainerManager(host, uid)
        self._prober = Prober(lambda: host.mark(uid), self._unhealthy)
        self._waiting: dict[str, tuple[str, str]] = {}
        self._attempts = 0  # of sandboxes
        self._stale_at = 0.0  # when the volumes must be looked at again
        self._hurry = asyncio.Event()

    def adopt(self, sandbox: Sandbox) -> None:
        """Take over a sandbox found at start (of a kubelet before us)."""
        self.sandbox, self._attempts = sandbox, sandbox.config.attempt + 1

    def refresh_volumes(self) -> None:
        self._stale_at = 0.0

    def hurry(self) -> None:
        """The object is gone from the API: don't wait out a grace period."""
        self._hurry.set()

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
        pod = await self._prepare(pod)
        try:
            if verdict := self._overdue(pod):
                await self._end(pod, verdict)
            else:
                await self._live(pod)
        except CriError as error:
            if error.reason != "NotFound":
                raise
            await self._forget_sandbox()  # it died under us: a new one, in the next round
            self.host.mark(self.uid)

    async def _live(self, pod: Pod) -> None:
        assert pod.spec
        views = await self._views(pod)
        if await self._restart_sick(pod, views):
            views = await self._views(pod)
        todo = self._plan(pod, views)
        for name in todo.start:
            await self._start(pod, _container(pod, name), views[name])
        if todo.start:
            views = await self._views(pod)
            todo = self._plan(pod, views)
        if todo.finished:
            await self._stop_all(pod, views, float(pod.spec.terminationGracePeriodSeconds or 30))
            views = await self._views(pod)
        self._write(pod, views, todo)
        if todo.finished:
            await self._release(remove=False)

    async def _prepare(self, pod: Pod) -> Pod:
        """Volumes, sandbox and network: each only where it is missing."""
        assert pod.metadata and pod.spec
        now = time.time()
        if now >= self._stale_at:
            try:
                self._manager.volumes.set_up(pod, self.address)
            except VolumeError as error:
                self.host.events.warning(pod, "FailedMount", str(error))
                if self.sandbox is None:
                    self._write_pending(pod)
                raise
            self._stale_at = now + TOKEN_REFRESH
            self.host.mark_after(self.uid, TOKEN_REFRESH + 1)
        if self.sandbox is None:
            self.sandbox = await self._make_sandbox(pod)
        if not self.address:
            pod = await self._plug_in(pod, self.sandbox)
        return pod

    async def _make_sandbox(self, pod: Pod) -> Sandbox:
        host, meta, spec = self.host, pod.metadata, pod.spec
        assert meta and spec
        config = SandboxConfig(
            namespace=meta.namespace or "default",
            name=meta.name or "",
            uid=self.uid,
            attempt=self._attempts,
            hostname=dnsconfig.hostname(pod, host.node_name),
            netns=host.netns.name if spec.hostNetwork else None,
            resolv_conf=dnsconfig.resolv_conf(pod, host.config),
            node=host.node_name,
        )
        self._attempts += 1
        try:
            return await host.runtime.run_pod_sandbox(config)
        except CriError as error:
            host.events.warning(pod, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error.message}")
            raise

    async def _plug_in(self, pod: Pod, sandbox: Sandbox) -> Pod:
        """CNI ADD, the address made known, and the wait until policy lets nothing slip."""
        host = self.host
        on_host = bool(pod.spec and pod.spec.hostNetwork)
        try:
            address = host.node_ip if on_host else await host.network.add(sandbox.netns, sandbox.id)
        except Exception as error:
            text = f'Failed to create pod sandbox: plugin type="bridge" failed (add): {error}'
            host.events.warning(pod, "FailedCreatePodSandBox", text)
            raise
        hosts = host.pods_root / self.uid / "etc-hosts"
        hosts.parent.mkdir(parents=True, exist_ok=True)
        hosts.write_text(dnsconfig.hosts(pod, host.node_name, address))
        self.address = address
        try:
            pod = self._write_pending(pod)
            if not on_host:
                async with asyncio.timeout(NETWORK_TIMEOUT):
                    await host.network_ready(pod)
        except BaseException:
            self.address = ""  # not ready: do it all again
            raise
        return pod

    def _plan(self, pod: Pod, views: dict[str, View]) -> Plan:
        assert pod.spec
        latest = {name: view.latest for name, view in views.items() if view.latest is not None}
        return plan(pod.spec, latest, {name for name, view in views.items() if view.started and view.running})

    async def _views(self, pod: Pod) -> dict[str, View]:
        """What runs now. Raises CriError NotFound where the sandbox is no more."""
        attempts: dict[str, list[ContainerStatus]] = {}
        if self.sandbox is not None:
            for status in await self.host.runtime.list_containers(self.sandbox.id):
                attempts.setdefault(status.config.name, []).append(status)
        looker = Looker(self.host.runtime, self.host.netns, self.address)
        views, running = {}, []
        for container in _containers(pod):
            found = sorted(attempts.get(container.name, ()), key=lambda s: s.config.attempt)
            view = views[container.name] = self._view(pod, container, found)
            if view.running and view.latest:
                running.append(view.latest.id)
                health = self._prober.health(container, view.latest, looker)
                view.started, view.ready = health.started, health.ready
        self._prober.retain(running)
        return views

    def _view(self, pod: Pod, container: Container, found: list[ContainerStatus]) -> View:
        said = _said(pod, container.name)
        if not found:
            return View(None, said.get("lastState"), self._waiting.get(container.name), restarts=said["restartCount"])
        latest = found[-1]
        if latest.state == "running":
            self._waiting.pop(container.name, None)
        last = {"terminated": terminated(found[-2])} if len(found) > 1 else said.get("lastState")
        return View(latest, last, self._waiting.get(container.name), restarts=latest.config.attempt)

    async def _start(self, pod: Pod, container: Container, view: View) -> None:
        assert self.sandbox
        said = _said(pod, container.name)
        if view.latest is not None:
            attempt = view.latest.config.attempt + 1
        else:
            ran = said.get("containerID") or said.get("lastState")  # in a sandbox before this one
            attempt = said["restartCount"] + 1 if ran else said["restartCount"]
        try:
            await self._manager.start(pod, container, self.sandbox.id, self.address, attempt, view.latest)
        except Waiting as reason:
            self._waiting[container.name] = (reason.reason, reason.message)
            self.host.mark_after(self.uid, reason.seconds)
        else:
            self._waiting.pop(container.name, None)
        if view.latest is not None:
            await self._drop_before(container.name, view.latest.config.attempt)

    async def _drop_before(self, name: str, attempt: int) -> None:
        """Keep the present attempt and the one before: older ones go, with their logs."""
        assert self.sandbox
        for status in await self.host.runtime.list_containers(self.sandbox.id):
            if status.config.name == name and status.config.attempt < attempt:
                await self.host.runtime.remove_container(status.id)
                (self.host.pods_root / self.uid / "logs" / name / f"{status.config.attempt}.log").unlink(
                    missing_ok=True
                )

    async def _restart_sick(self, pod: Pod, views: dict[str, View]) -> bool:
        """Stop what its liveness or startup probe condemned; the plan then starts it again."""
        stopped = False
        looker = Looker(self.host.runtime, self.host.netns, self.address)
        for container in _containers(pod):
            view = views[container.name]
            if not view.running or view.latest is None:
                continue
            sick = self._prober.health(container, view.latest, looker).sick
            if sick:
                probe = container.livenessProbe or container.startupProbe
                own = probe.terminationGracePeriodSeconds if probe else None
                grace = own or (pod.spec.terminationGracePeriodSeconds if pod.spec else None) or 30
                await self._manager.stop(pod, container, view.latest.id, float(grace), self.address, sick)
                stopped = True
        return stopped

    def _unhealthy(self, name: str, message: str) -> None:
        if self.pod is not None:
            self.host.events.warning(self.pod, "Unhealthy", message, field_path(self.pod, _container(self.pod, name)))

    # -- status --------------------------------------------------------------------------------------------------
    def _write(self, pod: Pod, views: dict[str, View], todo: Plan, verdict: Verdict | None = None) -> Pod:
        assert pod.metadata and pod.metadata.name
        status = pod_status(pod, views, todo, addresses=(self.address, self.host.node_ip), verdict=verdict)
        try:
            patch = {"metadata": {"uid": self.uid}, "status": status}
            return self.host.client.patch(Pod, pod.metadata.name, patch, pod.metadata.namespace, subresource="status")
        except StatusError as error:
            if is_not_found(error) or error.code == 409:  # gone meanwhile, or another pod of that name
                return pod
            raise

    def _write_pending(self, pod: Pod) -> Pod:
        """The status before any container of this sandbox runs."""
        views = {c.name: self._view(pod, c, []) for c in _containers(pod)}
        assert pod.spec
        return self._write(pod, views, Plan(initialized=not pod.spec.initContainers))

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
        grace = float((pod.spec.terminationGracePeriodSeconds if pod.spec else None) or 30)
        await self._stop_all(pod, await self._views(pod), grace)
        self._write(pod, await self._views(pod), Plan(initialized=True, finished=True, failed=True), verdict)
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
        views = await self._views(pod)
        if not any(view.running for view in views.values()):
            return
        stops = asyncio.create_task(self._stop_all(pod, views, grace))
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait({stops, hurry}, return_when=asyncio.FIRST_COMPLETED)
            if not stops.done():
                ids = [view.latest.id for view in views.values() if view.latest and view.running]
                await asyncio.gather(*(self.host.runtime.stop_container(i, FORCED_GRACE) for i in ids))
            await stops
        finally:
            hurry.cancel()
            stops.cancel()
        views = await self._views(pod)
        failed = any(v.latest and v.latest.exit_code for v in views.values())
        self._write(pod, views, Plan(initialized=True, finished=True, failed=failed))

    async def _stop_all(self, pod: Pod, views: dict[str, View], grace: float) -> None:
        """The containers together, then the sidecars, last started first."""
        began = time.monotonic()

        async def stop(container: Container) -> None:
            view = views[container.name]
            if view.latest is not None and view.latest.state != "exited":
                left = max(0.0, grace - (time.monotonic() - began))
                await self._manager.stop(pod, container, view.latest.id, left, self.address)

        sidecars = [c for c in _containers(pod) if is_sidecar(c)]
        await asyncio.gather(*(stop(c) for c in _containers(pod) if not is_sidecar(c)))
        for container in reversed(sidecars):
            await stop(container)

    async def _forget_sandbox(self) -> None:
        if self.pod is not None:
            self.host.events.normal(
                self.pod, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created."
            )
        await self._release(remove=True)
        self.sandbox, self.address = None, ""

    async def _release(self, *, remove: bool) -> None:
        """Give back the network; with `remove` also the sandbox and what ran in it. Can be called many times."""
        self._prober.retain(())
        sandbox = self.sandbox
        if sandbox is None:
            return
        if self.address or remove:
            if sandbox.config.netns is None:
                await self.host.network.delete(sandbox.netns, sandbox.id)
            self.address = ""
        try:
            await self.host.runtime.stop_pod_sandbox(sandbox.id)
            if remove:
                await self.host.runtime.remove_pod_sandbox(sandbox.id)
                self.sandbox = None
        except CriError as error:
            if error.reason != "NotFound":
                raise


def _containers(pod: Pod) -> list[Container]:
    assert pod.spec
    return [*(pod.spec.initContainers or ()), *pod.spec.containers]


def _container(pod: Pod, name: str) -> Container:
    return next(c for c in _containers(pod) if c.name == name)


def _said(pod: Pod, name: str) -> dict:  # type: ignore[type-arg]
    """What the API says of a container: restartCount, containerID, lastState (a lost attempt counts as its last)."""
    status = pod.status
    entries = [
        *((status.initContainerStatuses if status else None) or ()),
        *((status.containerStatuses if status else None) or ()),
    ]
    for entry in entries:
        if entry.name != name:
            continue
        said = {"restartCount": entry.restartCount or 0, "containerID": entry.containerID, "lastState": None}
        state = entry.state.to_dict() if entry.state else {}
        if "terminated" in state:
            said["lastState"] = {"terminated": state["terminated"]}
        elif "running" in state:
            lost = {"exitCode": 137, "reason": "ContainerStatusUnknown", "containerID": entry.containerID}
            lost |= {"message": "The container could not be located when the pod was terminated"}
            said["lastState"] = {"terminated": {**lost, "startedAt": state["running"].get("startedAt")}}
        elif entry.lastState:
            said["lastState"] = entry.lastState.to_dict()
        return said
    return {"restartCount": 0}
