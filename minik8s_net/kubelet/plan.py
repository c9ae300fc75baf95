"""What to do next for one pod: which containers to start, which to stop, and whether the pod is done. Pure.

Init containers run one after the other; those with restartPolicy Always are sidecars, which only have to be started
before the next one's turn and run as long as the pod does.
https://kubernetes.io/docs/concepts/workloads/pods/init-containers/
https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightkube.models.core_v1 import Container, PodSpec
from lightkube.resources.core_v1 import Pod

from ..runtime.cri import ContainerStatus

Latest = Mapping[str, ContainerStatus]  # by container name: its newest attempt in the present sandbox


@dataclass
class Plan:
    """`start`: names in order. `initialized`: all init containers are done. `finished`: nothing will run again."""

    start: list[str] = field(default_factory=list)
    initialized: bool = False
    finished: bool = False
    failed: bool = False


def is_sidecar(container: Container) -> bool:
    """Whether an init container goes on beside the others (restartPolicy Always)."""
    return container.restartPolicy == "Always"


def containers_of(pod: Pod) -> list[Container]:
    """Init, ordinary and ephemeral containers (which have the same fields), in this order."""
    assert pod.spec
    ephemeral: Any = pod.spec.ephemeralContainers or ()
    return [*(pod.spec.initContainers or ()), *pod.spec.containers, *ephemeral]


def container_of(pod: Pod, name: str) -> Container:
    """The container's spec by its name, of whichever kind."""
    return next(c for c in containers_of(pod) if c.name == name)


def runs_again(pod: Pod, container: Container, ended: ContainerStatus) -> bool:
    """Whether a container that has ended will be started again, by the pod's restartPolicy or its own."""
    assert pod.spec
    policy = pod.spec.restartPolicy or "Always"
    if is_sidecar(container):
        return True
    if any(c.name == container.name for c in pod.spec.initContainers or ()):
        return policy != "Never" and ended.exit_code != 0
    if not any(c.name == container.name for c in pod.spec.containers):
        return False  # an ephemeral container runs once
    return _wants_start(ended, policy)


def plan(spec: PodSpec, latest: Latest, started: Collection[str]) -> Plan:
    """`started` are the names of running containers whose startup probe (if any) has succeeded."""
    result = _plan(spec, latest, started)
    if not result.finished:  # an ephemeral container runs once, for as long as the pod lives
        result.start += [c.name for c in spec.ephemeralContainers or () if c.name not in latest]
    return result


def _plan(spec: PodSpec, latest: Latest, started: Collection[str]) -> Plan:
    inits, policy = spec.initContainers or [], spec.restartPolicy or "Always"
    if any(c.name in latest for c in spec.containers):
        result = Plan(initialized=True)
        result.start = [c.name for c in inits if is_sidecar(c) and _dead(latest.get(c.name))]
    else:
        result = _init_plan(inits, policy, latest, started)
        if not result.initialized:
            return result
    wanted = [c.name for c in spec.containers if _wants_start(latest.get(c.name), policy)]
    running = [c.name for c in spec.containers if c.name in latest and latest[c.name].state != "exited"]
    if not wanted and not running:
        codes = [latest[c.name].exit_code for c in spec.containers]
        return Plan(initialized=True, finished=True, failed=any(codes))
    result.start += wanted
    return result


def _init_plan(inits: list[Container], policy: str, latest: Latest, started: Collection[str]) -> Plan:
    result = Plan()
    for container in inits:
        status = latest.get(container.name)
        if is_sidecar(container):
            if _dead(status):
                result.start.append(container.name)
            if container.name not in started:
                return result
        elif status is None:
            result.start.append(container.name)
            return result
        elif status.state != "exited":
            return result
        elif status.exit_code:
            if policy == "Never":
                return Plan(finished=True, failed=True)
            result.start.append(container.name)
            return result
    result.initialized = True
    return result


def _dead(status: ContainerStatus | None) -> bool:
    return status is None or status.state == "exited"


def _wants_start(status: ContainerStatus | None, policy: str) -> bool:
    if status is None:
        return True
    if status.state != "exited":
        return False
    return policy == "Always" or (policy == "OnFailure" and status.exit_code != 0)
