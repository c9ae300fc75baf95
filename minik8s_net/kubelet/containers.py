"""Starting and stopping one container: image, configuration, hooks, and the events that tell of it.

https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from lightkube.models.core_v1 import Container, LifecycleHandler
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service

from ..runtime.cri import ContainerConfig, ContainerStatus, CriError, Mount
from .backoff import BackOff
from .env import ConfigError, command, decoded, environment, expand
from .host import Host
from .identity import identity
from .probes import Looker
from .volumes import VolumeError

DEFAULT_GRACE = 30.0  # seconds
MIN_STOP = 2.0  # seconds a container is given after TERM even where its preStop hook took all the time


class Waiting(Exception):
    """The container can't run yet: `reason` and `message` of its waiting state; try again after `seconds`."""

    def __init__(self, reason: str, message: str, seconds: float = 10.0) -> None:
        super().__init__(message)
        self.reason, self.message, self.seconds = reason, message, seconds


class ContainerManager:
    """The containers of one pod."""

    def __init__(self, host: Host, uid: str) -> None:
        self.host, self.uid = host, uid
        self.volumes = host.volumes(uid)
        self.backoff, self.pulls = BackOff(), BackOff()  # of restarts, of images that were refused
        self._refused: dict[str, float] = {}  # image -> when it was refused last
        self._prepared: set[str] = set()  # ids of containers whose preStop hook has ended: it runs once

    # -- start ---------------------------------------------------------------------------------------------------
    async def start(
        self,
        pod: Pod,
        container: Container,
        sandbox_id: str,
        address: str,
        attempt: int,
        last: ContainerStatus | None,
    ) -> None:
        """Create and start attempt `attempt`, after `last`. Raises Waiting."""
        path = field_path(pod, container)
        if last is not None:
            self._crash_loop(pod, container, last)
        self._image_back_off(pod, container)
        try:
            config = self.configure(pod, container, address, attempt)
        except (ConfigError, VolumeError, ValueError, OSError) as error:  # OSError: a subPath that is a file
            self.host.events.warning(pod, "Failed", f"Error: {error}", path)
            raise Waiting("CreateContainerConfigError", str(error)) from None
        container_id = await self._create(pod, container, sandbox_id, config)
        try:
            await self.host.runtime.start_container(container_id)
        except CriError as error:
            self.host.events.warning(pod, "Failed", f"Error: {error.message}", path)
            raise Waiting("RunContainerError", error.message) from None
        self.host.events.normal(pod, "Started", f"Started container {container.name}", path)
        hook = container.lifecycle.postStart if container.lifecycle else None
        if hook is not None:
            looker = Looker(self.host.runtime, self.host.netns, address)
            done, seen = await looker.hook(hook, container, container_id)
            if not done:
                self.host.events.warning(pod, "FailedPostStartHook", f"PostStartHook failed: {seen}", path)
                await self.stop(pod, container, container_id, grace_of(pod), address, "FailedPostStartHook")
                raise Waiting("PostStartHookError", seen)

    def _crash_loop(self, pod: Pod, container: Container, last: ContainerStatus) -> None:
        now = time.time()
        key = container.name, container.image  # a container with another image is another one
        wait = self.backoff.remaining(key, now, last.finished_at)
        if wait > 0:
            meta = pod.metadata
            assert meta
            text = f"restarting failed container={container.name} pod={meta.name}_{meta.namespace}({self.uid})"
            delay = self.backoff.delay(key)
            pretty = f"{delay:g}s" if delay < 60 else f"{int(delay // 60)}m{int(delay % 60)}s"
            spoken = (
                f"Back-off restarting failed container {container.name} in pod {meta.name}_{meta.namespace}({self.uid})"
            )
            self.host.events.warning(pod, "BackOff", spoken, field_path(pod, container))
            raise Waiting("CrashLoopBackOff", f"back-off {pretty} {text}", wait)
        self.backoff.next(key, now, last.finished_at)

    def _image_back_off(self, pod: Pod, container: Container) -> None:
        image = container.image or ""
        refused = self._refused.get(image)
        if refused is None:
            return
        wait = self.pulls.remaining(image, time.time(), refused)
        if wait > 0:
            path, text = field_path(pod, container), f'Back-off pulling image "{image}"'
            self.host.events.normal(pod, "BackOff", text, path)
            self.host.events.warning(pod, "Failed", "Error: ImagePullBackOff", path)
            raise Waiting("ImagePullBackOff", text, wait)

    async def _create(self, pod: Pod, container: Container, sandbox_id: str, config: ContainerConfig) -> str:
        image, path, events = container.image or "", field_path(pod, container), self.host.events
        try:
            container_id = await self.host.runtime.create_container(sandbox_id, config)
        except CriError as error:
            if error.reason in ("NotFound", "Unavailable"):
                raise  # not the container's fault: the sandbox or the runtime is gone
            raise self._not_created(pod, container, error) from None
        self._refused.pop(image, None)
        events.normal(pod, "Pulled", f'Container image "{image}" already present on machine', path)
        events.normal(pod, "Created", f"Created container: {container.name}", path)
        return container_id

    def _not_created(self, pod: Pod, container: Container, error: CriError) -> Waiting:
        """Tell by events why, and say for how long to wait."""
        image, path, events = container.image or "", field_path(pod, container), self.host.events
        if error.reason == "InvalidImageName":
            text = f'Failed to apply default image tag "{image}": {error.message}'
            events.warning(pod, "InspectFailed", text, path)
            events.warning(pod, "Failed", "Error: InvalidImageName", path)
            return Waiting("InvalidImageName", text)
        if error.reason != "ErrImagePull":
            events.warning(pod, "Failed", f"Error: {error.message}", path)
            return Waiting("CreateContainerError", error.message)
        if container.imagePullPolicy == "Never":
            text = f'Container image "{image}" is not present with pull policy of Never'
            events.warning(pod, "ErrImageNeverPull", text, path)
            events.warning(pod, "Failed", "Error: ErrImageNeverPull", path)
            return Waiting("ErrImageNeverPull", text)
        self._refused[image] = time.time()
        self.pulls.next(image, time.time())
        events.normal(pod, "Pulling", f'Pulling image "{image}"', path)
        events.warning(pod, "Failed", f'Failed to pull image "{image}": {error.message}', path)
        events.warning(pod, "Failed", "Error: ErrImagePull", path)
        return Waiting("ErrImagePull", error.message, 2.0)

    def configure(self, pod: Pod, container: Container, address: str, attempt: int) -> ContainerConfig:
        """The runtime's configuration of one attempt. Raises env.ConfigError, VolumeError."""
        host = self.host
        env = environment(pod, container, self._services(pod), self._lookup(pod), (address, host.node_ip))
        argv, args = command(container, env)
        security, who = container.securityContext, identity(pod, container)
        if who.denied:
            host.events.warning(pod, "SecurityContextIgnored", who.denied, field_path(pod, container))
        capabilities = security.capabilities if security else None
        mounts: list[Mount] = self.volumes.mounts(pod, container, lambda text: expand(text, env))
        log = host.pods_root / self.uid / "logs" / container.name / f"{attempt}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return ContainerConfig(
            name=container.name,
            attempt=attempt,
            image=container.image or "",
            log_path=str(log),
            command=argv,
            args=args,
            env=env,
            working_dir=container.workingDir or "",
            mounts=mounts,
            tty=bool(container.tty),
            stdin=bool(container.stdin),
            privileged=bool(security and security.privileged),
            add_capabilities=list((capabilities.add if capabilities else None) or ()),
            drop_capabilities=list((capabilities.drop if capabilities else None) or ()),
            termination_message_path=container.terminationMessagePath or "/dev/termination-log",
            user=who.user,
            group=who.group,
            groups=who.groups,
            read_only_root=bool(security and security.readOnlyRootFilesystem),
        )

    def _lookup(self, pod: Pod):  # type: ignore[no-untyped-def]
        namespace = pod.metadata.namespace if pod.metadata else None

        def lookup(kind: str, name: str) -> dict[str, str] | None:
            if kind == "ConfigMap":
                config = self.host.client.find(ConfigMap, name, namespace)
                return None if config is None else dict(config.data or {})
            secret = self.host.client.find(Secret, name, namespace)
            return None if secret is None else decoded(secret.data)

        return lookup

    def _services(self, pod: Pod) -> list[Service]:
        """`kubernetes` always; the pod's namespace's own unless enableServiceLinks is false."""
        namespace = pod.metadata.namespace if pod.metadata else "default"
        master = self.host.client.find(Service, "kubernetes", "default")
        links = pod.spec is None or pod.spec.enableServiceLinks is not False
        own = self.host.client.list(Service, namespace) if links else []
        return ([master] if master else []) + own

    # -- stop ----------------------------------------------------------------------------------------------------
    async def stop(
        self,
        pod: Pod | None,
        container: Container,
        container_id: str,
        grace: float,
        address: str,
        why: str = "",
        turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """preStop hook, TERM once `turn` has come, and KILL at the end of the grace period (seconds)."""
        began = time.monotonic()
        if pod is not None and why != "FailedPostStartHook":
            text = why or f"Stopping container {container.name}"
            self.host.events.normal(pod, "Killing", text, field_path(pod, container))
        hook = container.lifecycle.preStop if container.lifecycle else None
        if hook is not None and grace > 0 and container_id not in self._prepared:
            await self._pre_stop(pod, hook, container, container_id, grace, address)
            self._prepared.add(container_id)
        if turn is not None:
            await turn()
        left = max(MIN_STOP, grace - (time.monotonic() - began)) if grace > 0 else 0.0
        try:
            await self.host.runtime.stop_container(container_id, left)
        except CriError as error:
            if error.reason != "NotFound":
                raise

    async def _pre_stop(
        self,
        pod: Pod | None,
        hook: LifecycleHandler,
        container: Container,
        container_id: str,
        grace: float,
        address: str,
    ) -> None:
        looker = Looker(self.host.runtime, self.host.netns, address)
        try:
            async with asyncio.timeout(grace):
                done, seen = await looker.hook(hook, container, container_id)
        except TimeoutError:
            done, seen = False, f"did not end within {grace:g}s"
        if not done and pod is not None:
            self.host.events.warning(pod, "FailedPreStopHook", f"PreStopHook failed: {seen}")


def grace_of(pod: Pod) -> float:
    """terminationGracePeriodSeconds, in seconds; 0 is 0."""
    asked = pod.spec.terminationGracePeriodSeconds if pod.spec else None
    return DEFAULT_GRACE if asked is None else float(asked)


def field_path(pod: Pod, container: Container) -> str:
    """Which container an event is about, as `describe` shows it."""
    for group in ("initContainers", "ephemeralContainers"):
        if any(c.name == container.name for c in getattr(pod.spec, group, None) or ()):
            return f"spec.{group}{{{container.name}}}"
    return f"spec.containers{{{container.name}}}"
