"""What is known of each container of a pod: the runtime's word, the probes' verdict, and what the API remembers."""

from __future__ import annotations

from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from ..runtime.cri import ContainerStatus
from ..store.client import Json
from .host import Host
from .lastwords import with_last_words
from .plan import containers_of
from .prober import Prober, Word
from .probes import Looker
from .sandbox import PodSandbox
from .status import LOST, View, container_id, terminated


class Observer:
    """The containers of one pod as they are now. `waiting`: container -> why it can't be started (reason, message)."""

    def __init__(self, host: Host, uid: str, prober: Prober, sandbox: PodSandbox) -> None:
        self.host, self.uid, self._prober, self._sandbox = host, uid, prober, sandbox
        self.waiting: dict[str, tuple[str, str]] = {}

    async def views(self, pod: Pod) -> dict[str, View]:
        """What runs now. Raises CriError NotFound where the sandbox is no more."""
        attempts = await self._sandbox.attempts()
        looker = self.looker()
        views, running = {}, []
        for container in containers_of(pod):
            view = views[container.name] = self._view(pod, container, attempts.get(container.name, []))
            if view.running and view.latest:
                running.append(view.latest.id)
                health = self._prober.health(container, view.latest, looker, _was(pod, view.latest))
                view.started, view.ready = health.started, health.ready
        self._prober.retain(running)
        return views

    def before_start(self, pod: Pod) -> dict[str, View]:
        """The views of a pod none of whose containers runs in this sandbox."""
        return {c.name: self._view(pod, c, []) for c in containers_of(pod)}

    def looker(self) -> Looker:
        return Looker(self.host.runtime, self.host.netns, self._sandbox.address)

    def next_attempt(self, pod: Pod, container: Container, view: View) -> int:
        """The number of the attempt that comes after all that ever ran, also in sandboxes before this one."""
        if view.latest is not None:
            return view.latest.config.attempt + 1
        said = _said(pod, container.name)
        ran = said.get("containerID") or said.get("lastState")
        return int(said["restartCount"]) + (1 if ran else 0)

    async def drop_before(self, name: str, attempt: int) -> None:
        """Keep the present attempt and the one before: older ones go, with their logs."""
        for status in (await self._sandbox.attempts()).get(name, []):
            if status.config.attempt < attempt:
                await self.host.runtime.remove_container(status.id)
                log = self.host.pods_root / self.uid / "logs" / name / f"{status.config.attempt}.log"
                log.unlink(missing_ok=True)

    def _view(self, pod: Pod, container: Container, found: list[ContainerStatus]) -> View:
        said = _said(pod, container.name)
        if not found:
            return View(None, said.get("lastState"), self.waiting.get(container.name), restarts=said["restartCount"])
        found = [with_last_words(container, status) for status in found]
        latest = found[-1]
        if latest.state == "running":
            self.waiting.pop(container.name, None)
        last = {"terminated": terminated(found[-2])} if len(found) > 1 else said.get("lastState")
        if len(found) == 1 and not latest.config.attempt:
            last = None  # the API's newest ended state is this very attempt's
        return View(latest, last, self.waiting.get(container.name), restarts=latest.config.attempt)


def has_run(pod: Pod) -> bool:
    """Whether the API knows of an attempt of any container but an ephemeral one."""
    assert pod.spec
    names = [c.name for c in (*(pod.spec.initContainers or ()), *pod.spec.containers)]
    return any(said.get("containerID") or said.get("lastState") for said in (_said(pod, name) for name in names))


def _was(pod: Pod, running: ContainerStatus) -> Word:
    """What the API says of this very attempt."""
    entries = [
        *((pod.status.initContainerStatuses if pod.status else None) or ()),
        *((pod.status.containerStatuses if pod.status else None) or ()),
    ]
    for entry in entries:
        if entry.containerID == container_id(running):
            return Word(bool(entry.started), bool(entry.ready))
    return Word()


def _said(pod: Pod, name: str) -> Json:
    """What the API says of a container: restartCount, containerID, lastState (a lost attempt counts as its last)."""
    status = pod.status
    entries = [
        *((status.initContainerStatuses if status else None) or ()),
        *((status.containerStatuses if status else None) or ()),
        *((status.ephemeralContainerStatuses if status else None) or ()),
    ]
    for entry in entries:
        if entry.name != name:
            continue
        said = {"restartCount": entry.restartCount or 0, "containerID": entry.containerID, "lastState": None}
        state = entry.state.to_dict() if entry.state else {}
        if "terminated" in state:
            said["lastState"] = {"terminated": state["terminated"]}
        elif "running" in state:
            lost = {**LOST, "containerID": entry.containerID, "startedAt": state["running"].get("startedAt")}
            said["lastState"] = {"terminated": lost}
        elif entry.lastState:
            said["lastState"] = entry.lastState.to_dict()
        return said
    return {"restartCount": 0}
