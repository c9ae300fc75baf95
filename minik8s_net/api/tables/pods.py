"""`kubectl get pods`: the STATUS column's logic."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from minik8s_net.api import times
from minik8s_net.api.tables.columns import NONE, age_of, columns, condition, container_cells, labels, name_of

Json = dict[str, Any]
COMPLETED = {
    "type": "Completed",
    "status": "True",
    "reason": "Succeeded",
    "message": "The pod has completed successfully.",
}
POD_COLUMNS = columns(
    "Name", "Ready", "Status", "Restarts", "Age", also=("IP", "Node", "Nominated Node", "Readiness Gates")
)


def finished(kind: str, obj: Json) -> bool:
    """Whether an object is a pod that has ended."""
    return kind == "Pod" and obj.get("status", {}).get("phase") in ("Succeeded", "Failed")


def pod_cells(pod: Json, now: datetime) -> list[Any]:
    """`kubectl get pods`."""
    spec, status = pod.get("spec", {}), pod.get("status", {})
    restartable = {c.get("name") for c in spec.get("initContainers", []) if c.get("restartPolicy") == "Always"}
    counted = [s for s in status.get("initContainerStatuses", []) if s.get("name") in restartable]
    counted += status.get("containerStatuses", [])
    reason, initializing = _init_reason(pod, restartable)
    shown = [*status.get("initContainerStatuses", [])] if initializing else counted
    if not initializing:
        reason = _container_reason(pod, reason)
    if pod.get("metadata", {}).get("deletionTimestamp"):
        reason = "Unknown" if status.get("reason") == "NodeLost" else reason if _over(status) else "Terminating"
    ready = sum(1 for s in counted if s.get("ready") and "running" in s.get("state", {}))
    total = len(spec.get("containers", [])) + len(restartable)
    ips = status.get("podIPs") or []
    address = (ips[0].get("ip") if ips else None) or status.get("podIP") or NONE
    return [name_of(pod), f"{ready}/{total}", reason, _restarts(shown, now), age_of(pod, now), address,
            spec.get("nodeName") or NONE, status.get("nominatedNodeName") or NONE, _gates(pod)]  # fmt: skip


def _over(status: Json) -> bool:
    return status.get("phase") in ("Succeeded", "Failed")


def _init_reason(pod: Json, restartable: set[Any]) -> tuple[str, bool]:
    """(the pod's reason so far, is an init container still to finish?)"""
    status = pod.get("status", {})
    reason = status.get("reason") or status.get("phase") or "Unknown"
    if any(c.get("reason") == "SchedulingGated" for c in status.get("conditions", [])):
        reason = "SchedulingGated"
    total = len(pod.get("spec", {}).get("initContainers", []))
    for i, container in enumerate(status.get("initContainerStatuses", [])):
        state = container.get("state", {})
        ended, waiting = state.get("terminated"), state.get("waiting", {}).get("reason", "")
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if container.get("name") in restartable and container.get("started"):
            continue
        if ended is not None:
            return f"Init:{ended.get('reason') or _exit(ended)}", True
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}", True
        return f"Init:{i}/{total}", True
    return reason, False


def _exit(ended: Json) -> str:
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _container_reason(pod: Json, reason: str) -> str:
    """The first container with something to say wins; `Completed` yields to one that still runs."""
    running = False
    for container in reversed(pod.get("status", {}).get("containerStatuses", [])):
        state = container.get("state", {})
        ended = state.get("terminated")
        if waiting := state.get("waiting", {}).get("reason"):
            reason = waiting
        elif ended is not None:
            reason = ended.get("reason") or _exit(ended)
        elif container.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        return "Running" if condition(pod, "Ready").get("status") == "True" else "NotReady"
    return reason


def _restarts(statuses: list[Json], now: datetime) -> str:
    count = sum(s.get("restartCount", 0) for s in statuses)
    ends = [s.get("lastState", {}).get("terminated", {}).get("finishedAt") for s in statuses]
    last = max(filter(None, ends), default=None)
    return f"{count} ({times.age(last, now)} ago)" if count and last else str(count)


def _gates(pod: Json) -> str:
    gates = pod.get("spec", {}).get("readinessGates", [])
    met = sum(condition(pod, g.get("conditionType", "")).get("status") == "True" for g in gates)
    return f"{met}/{len(gates)}" if gates else NONE


def _template_cells(obj: Json, now: datetime) -> list[Any]:
    template = obj.get("template", {})
    return [name_of(obj), *container_cells(template), labels(template.get("metadata", {}).get("labels"))]


PRINTERS = {
    ("", "Pod"): (POD_COLUMNS, pod_cells),
    ("", "PodTemplate"): (columns("Name", "Containers", "Images", "Pod Labels"), _template_cells),
}
