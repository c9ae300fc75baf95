"""A pod's status from what the runtime says of its containers. Pure.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightkube.models.core_v1 import Container, PodSpec
from lightkube.resources.core_v1 import Pod

from ..runtime.cri import ContainerStatus
from ..store.client import Json
from ..store.events import timestamp
from .fields import quantity
from .plan import Plan, is_sidecar


@dataclass
class View:
    """What is known of one container: its newest attempt, the one that ended before it, and our verdicts."""

    latest: ContainerStatus | None = None
    last_state: Json | None = None  # of the attempt before, as the API says it
    waiting: tuple[str, str] | None = None  # reason, message: why there is no running attempt
    started: bool = False
    ready: bool = False
    restarts: int = 0

    @property
    def running(self) -> bool:
        return self.latest is not None and self.latest.state == "running"


@dataclass(frozen=True)
class Verdict:
    """Why a pod was ended by the kubelet and not by itself (DeadlineExceeded)."""

    reason: str
    message: str


def terminated(status: ContainerStatus) -> Json:
    """A ContainerStateTerminated."""
    reason = status.reason or ("Completed" if status.exit_code == 0 else "Error")
    state: Json = {"exitCode": status.exit_code, "reason": reason}
    if status.message:
        state["message"] = status.message
    state["startedAt"] = timestamp(status.started_at or status.created_at)
    state["finishedAt"] = timestamp(status.finished_at or status.created_at)
    return {**state, "containerID": container_id(status)}


def container_id(status: ContainerStatus) -> str:
    """As in a ContainerStatus: `minik8s://…`."""
    return f"minik8s://{status.id}"


def container_status(container: Container, view: View, initialized: bool, is_init: bool) -> Json:
    """One entry of containerStatuses or initContainerStatuses."""
    latest, last = view.latest, view.last_state
    if view.waiting and not view.running:
        if latest is not None and latest.state == "exited":
            last = {"terminated": terminated(latest)}
        reason, message = view.waiting
        state: Json = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    elif latest is None or latest.state == "created":
        default = "ContainerCreating" if initialized or (is_init and not last) else "PodInitializing"
        state = {"waiting": {"reason": default}}
    elif latest.state == "running":
        state = {"running": {"startedAt": timestamp(latest.started_at)}}
    else:
        state = {"terminated": terminated(latest)}
    entry: Json = {"name": container.name, "state": state, "lastState": last or {}}
    done_init = is_init and not is_sidecar(container) and "terminated" in state and latest and not latest.exit_code
    entry["ready"] = bool(view.ready and view.running) or bool(done_init)
    entry["restartCount"] = view.restarts
    entry["image"] = container.image or ""
    entry["imageID"] = f"minik8s://{container.image}" if latest else ""
    if latest:
        entry["containerID"] = container_id(latest)
    entry["started"] = view.started and view.running
    return entry


def phase(spec: PodSpec, views: Mapping[str, View], plan: Plan) -> str:
    """A pod's phase by its containers' states."""
    if plan.finished:
        return "Failed" if plan.failed else "Succeeded"
    if not plan.initialized:
        return "Pending"
    for container in spec.containers:
        view = views[container.name]
        ever_ran = view.restarts or (view.latest is not None and view.latest.state != "created")
        if not ever_ran:
            return "Pending"
    return "Running"


def conditions(pod: Pod, views: Mapping[str, View], plan: Plan, *, sandbox: bool) -> list[Json]:
    """The five conditions, without their times."""
    spec = pod.spec
    assert spec
    done = plan.finished and not plan.failed
    names = [c.name for c in spec.containers] + [c.name for c in spec.initContainers or () if is_sidecar(c)]
    unready = [n for n in names if not (views[n].ready and views[n].running)]
    incomplete = [c.name for c in spec.initContainers or () if not _init_done(c, views[c.name])]
    ready: Json = {"status": "True"}
    if done:
        ready = {"status": "False", "reason": "PodCompleted"}
    elif plan.finished:
        ready = {"status": "False", "reason": "PodFailed" if plan.failed else "ContainersNotReady"}
    elif unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        ready = {"status": "False", "reason": "ContainersNotReady", "message": message}
    initialized: Json = {"status": "True"}
    if done:
        initialized["reason"] = "PodCompleted"
    elif not plan.initialized:
        message = f"containers with incomplete status: [{' '.join(incomplete)}]"
        initialized = {"status": "False", "reason": "ContainersNotInitialized", "message": message}
    gates = {c.type: c.status for c in (pod.status.conditions if pod.status else None) or ()}
    closed = [g.conditionType for g in spec.readinessGates or () if gates.get(g.conditionType) != "True"]
    pod_ready = ready
    if closed and ready["status"] == "True":
        message = f'the status of pod readiness gate "{closed[0]}" is not "True", but {gates.get(closed[0], "False")}'
        pod_ready = {"status": "False", "reason": "ReadinessGatesNotReady", "message": message}
    own: list[Json] = [
        {"type": "PodReadyToStartContainers", "status": str(sandbox)},
        {"type": "Initialized", **initialized},
        {"type": "Ready", **pod_ready},
        {"type": "ContainersReady", **ready},
        {"type": "PodScheduled", "status": "True"},
    ]
    mine = {c["type"] for c in own}
    others = [c.to_dict() for c in (pod.status.conditions if pod.status else None) or () if c.type not in mine]
    return own + others


def _init_done(container: Container, view: View) -> bool:
    if is_sidecar(container):
        return view.started
    return view.latest is not None and view.latest.state == "exited" and view.latest.exit_code == 0


def with_times(pod: Pod, new: list[Json]) -> list[Json]:
    """Give each condition the time of its last change, and lastProbeTime null as the kubelet does."""
    before = {c.type: c for c in (pod.status.conditions if pod.status else None) or ()}
    now, timed = timestamp(), []
    for entry in new:
        old = before.get(entry["type"])
        kept = old.to_dict().get("lastTransitionTime") if old and old.status == entry["status"] else None
        timed.append({**entry, "lastTransitionTime": entry.get("lastTransitionTime") or kept or now})
    return timed


def pod_status(
    pod: Pod,
    views: Mapping[str, View],
    plan: Plan,
    *,
    addresses: tuple[str, str],
    verdict: Verdict | None = None,
) -> Json:
    """The whole status, as a merge patch: what no longer holds is null."""
    spec = pod.spec
    assert spec
    pod_ip, host_ip = addresses
    started = pod.status.to_dict().get("startTime") if pod.status else None
    status: Json = {
        "phase": "Failed" if verdict else phase(spec, views, plan),
        "reason": verdict.reason if verdict else None,
        "message": verdict.message if verdict else None,
        "conditions": with_times(pod, conditions(pod, views, plan, sandbox=bool(pod_ip))),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": started or timestamp(),
        "qosClass": qos_class(spec),
    }
    if pod_ip:
        status["podIP"], status["podIPs"] = pod_ip, [{"ip": pod_ip}]
    if spec.initContainers:
        status["initContainerStatuses"] = [container_status(c, views[c.name], True, True) for c in spec.initContainers]
    simple = plan.initialized or not spec.initContainers
    status["containerStatuses"] = [container_status(c, views[c.name], simple, False) for c in spec.containers]
    if spec.ephemeralContainers:
        ephemeral: Any = spec.ephemeralContainers
        told = [container_status(c, views[c.name], True, False) for c in ephemeral]
        status["ephemeralContainerStatuses"] = [{**entry, "ready": False} for entry in told]
    return status


def qos_class(spec: PodSpec) -> str:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/"""
    guaranteed, any_at_all = True, False
    for container in [*spec.containers, *(spec.initContainers or ())]:
        resources = container.resources
        limits = (resources.limits if resources else None) or {}
        requests = (resources.requests if resources else None) or {}
        for name in ("cpu", "memory"):
            limit, request = (quantity(str(q.get(name, "0"))) for q in (limits, {**limits, **requests}))
            any_at_all = any_at_all or bool(limit or request)
            guaranteed = guaranteed and bool(limit) and limit == request
    if not any_at_all:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
