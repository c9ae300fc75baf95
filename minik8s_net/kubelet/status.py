"""A pod's status from what the runtime says of its containers. Pure.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightkube.models.core_v1 import Container, PodSpec
from lightkube.resources.core_v1 import Pod

from ..api import quantity
from ..runtime.cri import ContainerStatus
from ..store.client import Json
from ..store.events import timestamp
from .plan import Plan, is_sidecar, runs_again


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
    state["startedAt"] = timestamp(status.started_at)  # 1970 of one that could not start, as containerd has it
    state["finishedAt"] = timestamp(status.finished_at or status.created_at)
    return {**state, "containerID": container_id(status)}


def container_id(status: ContainerStatus) -> str:
    """As in a ContainerStatus: `minik8s://…`."""
    return f"minik8s://{status.id}"


CREATING = "ContainerCreating"
LOST: Json = {
    "exitCode": 137,
    "reason": "ContainerStatusUnknown",
    "message": "The container could not be located when the pod was terminated",
}


def container_status(pod: Pod, container: Container, view: View, *, over: bool, lost: bool) -> Json:
    """One entry of containerStatuses, initContainerStatuses or ephemeralContainerStatuses. `over`: nothing of the pod
    will run any more; `lost`: and the runtime doesn't know how this container ended."""
    latest = view.latest
    assert pod.spec
    is_init = any(c.name == container.name for c in pod.spec.initContainers or ())
    if lost:
        state, last = view.last_state or {"terminated": dict(LOST)}, None
    else:
        state, last = _states(pod, container, view, over)
    entry: Json = {"name": container.name, "state": state, "lastState": last or {}}
    done_init = is_init and not is_sidecar(container) and "terminated" in state and latest and not latest.exit_code
    entry["ready"] = bool(view.ready and view.running) or bool(done_init)
    entry["restartCount"] = view.restarts
    entry["image"] = latest.config.image if latest else container.image or ""
    entry["imageID"] = f"minik8s://{entry['image']}" if latest else ""
    if latest:
        entry["containerID"] = container_id(latest)
    entry["started"] = view.started and view.running
    return entry


def _states(pod: Pod, container: Container, view: View, over: bool) -> tuple[Json, Json | None]:
    """state and lastState. Of containers that have ended only those wait that are to run again: not in a pod that is
    over, and not where the restartPolicy says no."""
    latest, last = view.latest, view.last_state
    if latest is not None and latest.state == "running":
        return {"running": {"startedAt": timestamp(latest.started_at)}}, last
    if latest is not None and latest.state == "exited":
        ended: Json = {"terminated": terminated(latest)}
        if view.waiting is None or over or not runs_again(pod, container, latest):
            return ended, last
        last = ended
    reason, message = view.waiting or ("PodInitializing" if pod.spec and pod.spec.initContainers else CREATING, "")
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}, last


def _lost(spec: PodSpec, views: Mapping[str, View], plan: Plan) -> set[str]:
    """The containers of a pod that is over that have had their turn, and of which nothing says how they ended."""
    if not plan.finished:
        return set()
    inits = [c.name for c in spec.initContainers or ()]
    tried = [n for n, name in enumerate(inits) if views[name].latest or views[name].last_state]
    due = inits[: 1 + max(tried, default=0)]
    if plan.initialized or not inits:
        due += [c.name for c in spec.containers]
    return {name for name in due if (latest := views[name].latest) is None or latest.state == "created"}


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
    closed = [_closed_gate(g.conditionType, gates) for g in spec.readinessGates or ()]
    pod_ready = ready
    if any(closed) and ready["status"] == "True":
        pod_ready = {"status": "False", "reason": "ReadinessGatesNotReady", "message": ", ".join(filter(None, closed))}
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


def _closed_gate(name: str, gates: Mapping[str, str]) -> str:
    """Why this readiness gate holds the pod back; "" where it doesn't."""
    if name not in gates:
        return f'corresponding condition of pod readiness gate "{name}" does not exist.'
    return (
        "" if gates[name] == "True" else f'the status of pod readiness gate "{name}" is not "True", but {gates[name]}'
    )


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
    lost = _lost(spec, views, plan)

    def told(containers: Any) -> list[Json]:
        return [
            container_status(pod, c, views[c.name], over=plan.finished, lost=c.name in lost) for c in containers or ()
        ]

    if spec.initContainers:
        status["initContainerStatuses"] = told(spec.initContainers)
    status["containerStatuses"] = told(spec.containers)
    if spec.ephemeralContainers:
        status["ephemeralContainerStatuses"] = [{**e, "ready": False} for e in told(spec.ephemeralContainers)]
    return status


def qos_class(spec: PodSpec) -> str:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/"""
    guaranteed, any_at_all = True, False
    for container in [*spec.containers, *(spec.initContainers or ())]:
        resources = container.resources
        limits = (resources.limits if resources else None) or {}
        requests = (resources.requests if resources else None) or {}
        for name in ("cpu", "memory"):
            limit, request = (quantity.parse(str(q.get(name, "0"))) for q in (limits, {**limits, **requests}))
            any_at_all = any_at_all or bool(limit or request)
            guaranteed = guaranteed and bool(limit) and limit == request
    if not any_at_all:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
