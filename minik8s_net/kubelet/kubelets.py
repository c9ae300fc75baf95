"""All nodes' kubelets behind one face: logs, exec and connections into pods, for the API server.

In Kubernetes the API server asks each node's kubelet on port 10250; the refusals' words are the real ones.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator

from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Pod

from ..api.errors import StatusError, bad_request, not_found
from ..apiserver.kubelets import LogOptions
from ..runtime.cri import CriError, ExecStreams
from ..store.client import Client
from .kubelet import Kubelet
from .logs import read
from .probes import dial

DIAL_TIMEOUT = 30.0  # seconds
_PULL = ("ErrImagePull", "ImagePullBackOff")


class NodeKubelets:
    """Implements `apiserver.kubelets.Kubelets`. Nodes come and go by `add` and `remove`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kubelets: dict[str, Kubelet] = {}

    def add(self, node: str, kubelet: Kubelet) -> None:
        """A node has joined."""
        self._kubelets[node] = kubelet

    def remove(self, node: str) -> None:
        """A node has left."""
        self._kubelets.pop(node, None)

    def logs(self, namespace: str, pod: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Refuses at once (StatusError), before the first chunk is asked for."""
        found = self._client.get(Pod, pod, namespace)
        name = _container_name(found, options.container)
        kubelet = self._kubelet(found)
        status = _status(found, name)
        attempt = self._attempt(found, name, status, options)
        uid = (found.metadata.uid if found.metadata else "") or ""
        path = kubelet.host.pods_root / uid / "logs" / name / f"{attempt}.log"

        def running() -> bool:
            now = self._client.find(Pod, pod, namespace)
            if now is None or not now.metadata or now.metadata.uid != uid:
                return False
            state = _status(now, name)
            return bool(state and state.restartCount == attempt and state.state and state.state.running)

        return read(path, options, running)

    async def exec(
        self, namespace: str, pod: str, container: str | None, command: list[str], *, tty: bool, stdin: bool
    ) -> ExecStreams:
        """Raises StatusError: no such container, not running, or the command can't be started."""
        found = self._client.get(Pod, pod, namespace)
        phase = (found.status.phase if found.status else "") or ""
        if phase in ("Succeeded", "Failed"):
            raise bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
        name = _container_name(found, container)
        kubelet = self._kubelet(found)
        status = _status(found, name)
        if status is None or not status.containerID or not (status.state and status.state.running):
            raise StatusError(404, "NotFound", f'container not found ("{name}")')
        try:
            return await kubelet.runtime.exec(status.containerID.partition("://")[2], command, tty=tty, stdin=stdin)
        except CriError as error:
            if error.reason == "ContainerCannotRun":
                return _not_run(error.message)
            raise StatusError(500, "InternalError", error.message) from None

    async def dial(self, namespace: str, pod: str, port: int) -> socket.socket:
        """Raises StatusError 503 where nobody answers."""
        found = self._client.get(Pod, pod, namespace)
        kubelet = self._kubelet(found)
        address = found.status.podIP if found.status else None
        if not address:
            raise StatusError(503, "ServiceUnavailable", f'pod "{pod}" has no address yet')
        try:
            return await dial(kubelet.netns, address, port, DIAL_TIMEOUT)
        except OSError as error:
            text = f"error trying to reach service: dial tcp {address}:{port}: connect: {_words(error)}"
            raise StatusError(503, "ServiceUnavailable", text) from None

    def _kubelet(self, pod: Pod) -> Kubelet:
        node = pod.spec.nodeName if pod.spec else None
        name = pod.metadata.name if pod.metadata else ""
        if not node:
            raise bad_request(f"pod {name} does not have a host assigned")
        if node not in self._kubelets:
            raise not_found("nodes", node)
        return self._kubelets[node]

    def _attempt(self, pod: Pod, name: str, status: ContainerStatus | None, options: LogOptions) -> int:
        """Which attempt's log: the newest, or with `previous` the one before it."""
        pod_name = pod.metadata.name if pod.metadata else ""
        if options.previous:
            last = status.lastState.terminated if status and status.lastState else None
            if status is None or last is None:
                raise bad_request(f'previous terminated container "{name}" in pod "{pod_name}" not found')
            ended = status.state.terminated if status.state else None
            waits = status.state.waiting if status.state else None
            if waits is not None and ended is None:
                return status.restartCount  # the newest attempt is the one that ended
            return max(0, status.restartCount - 1)
        waiting = status.state.waiting if status and status.state else None
        if status is None or (waiting and not status.containerID):
            reason = (waiting.reason if waiting else None) or "ContainerCreating"
            why = "trying and failing to pull image" if reason in _PULL else reason
            raise bad_request(f'container "{name}" in pod "{pod_name}" is waiting to start: {why}')
        return status.restartCount


def _not_run(message: str) -> ExecStreams:
    """A command that could not be started, told as shells do: its message on stderr, and 127 (not found) or 126."""
    missing = "executable file not found" in message or "no such file" in message
    ends = []
    for text in ("", message + "\n", "127" if missing else "126"):
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.write(theirs, text.encode())
        os.close(theirs)
        ends.append(ours)
    return ExecStreams(pid=0, stdin=None, stdout=ends[0], stderr=ends[1], status=ends[2])


def _container_name(pod: Pod, wanted: str | None) -> str:
    """The container meant. Raises StatusError in the API server's words."""
    assert pod.spec and pod.metadata
    names = [c.name for c in pod.spec.containers]
    inits = [c.name for c in pod.spec.initContainers or ()]
    if wanted:
        if wanted not in names + inits + [c.name for c in pod.spec.ephemeralContainers or ()]:
            raise bad_request(f"container {wanted} is not valid for pod {pod.metadata.name}")
        return wanted
    if len(names) == 1:
        return names[0]
    text = f"a container name must be specified for pod {pod.metadata.name}, choose one of: [{' '.join(names)}]"
    if inits:
        text += f" or one of the init containers: [{' '.join(inits)}]"
    raise bad_request(text)


def _status(pod: Pod, container: str) -> ContainerStatus | None:
    if pod.status is None:
        return None
    status = pod.status
    groups = (status.initContainerStatuses, status.containerStatuses, status.ephemeralContainerStatuses)
    return next((s for group in groups for s in group or () if s.name == container), None)


def _words(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if number else "i/o timeout"
