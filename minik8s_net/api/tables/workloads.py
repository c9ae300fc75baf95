"""Deployments, sets and jobs as tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from minik8s_net.api import times
from minik8s_net.api.tables.columns import (
    NONE,
    age_of,
    columns,
    condition,
    container_cells,
    labels,
    name_of,
    selector,
)  # fmt: skip

Json = dict[str, Any]
POD_WIDE = ("Containers", "Images", "Selector")


def _template(obj: Json) -> list[Any]:
    return [*container_cells(obj.get("spec", {}).get("template", {}))]


def _number(obj: Json, name: str) -> int:
    return int(obj.get("status", {}).get(name) or 0)


def deployment_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get deployments`."""
    spec = obj.get("spec", {})
    ready = f"{_number(obj, 'readyReplicas')}/{spec.get('replicas', 1)}"
    return [name_of(obj), ready, _number(obj, "updatedReplicas"), _number(obj, "availableReplicas"), age_of(obj, now),
            *_template(obj), selector(spec.get("selector"))]  # fmt: skip


def replica_set_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get replicasets`, and replicationcontrollers."""
    spec = obj.get("spec", {})
    wanted = spec.get("selector")
    shown = labels(wanted) if obj.get("kind") == "ReplicationController" else selector(wanted)
    return [name_of(obj), spec.get("replicas", 1), _number(obj, "replicas"), _number(obj, "readyReplicas"),
            age_of(obj, now), *_template(obj), shown]  # fmt: skip


def stateful_set_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get statefulsets`."""
    ready = f"{_number(obj, 'readyReplicas')}/{obj.get('spec', {}).get('replicas', 1)}"
    return [name_of(obj), ready, age_of(obj, now), *_template(obj)]


def daemon_set_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get daemonsets`."""
    spec = obj.get("spec", {})
    counts = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    nodes = labels(spec.get("template", {}).get("spec", {}).get("nodeSelector"))
    return [name_of(obj), *(_number(obj, c) for c in counts), nodes, age_of(obj, now), *_template(obj),
            selector(spec.get("selector"))]  # fmt: skip


def job_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get jobs`."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    wanted, parallel = spec.get("completions"), spec.get("parallelism", 0)
    done = f"{_number(obj, 'succeeded')}/{wanted}"
    if wanted is None:
        done = f"{_number(obj, 'succeeded')}/1 of {parallel}" if parallel > 1 else f"{_number(obj, 'succeeded')}/1"
    duration = ""
    if start := status.get("startTime"):
        end = status.get("completionTime")
        duration = times.duration(((times.parse(end) if end else now) - times.parse(start)).total_seconds())
    return [name_of(obj), _job_status(obj), done, duration, age_of(obj, now), *_template(obj),
            selector(spec.get("selector"))]  # fmt: skip


def _job_status(obj: Json) -> str:
    for kind, shown in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended"),
                        ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet")):  # fmt: skip
        if condition(obj, kind).get("status") == "True":
            return shown
    return "Terminating" if obj.get("metadata", {}).get("deletionTimestamp") else "Running"


def cron_job_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get cronjobs`."""
    spec, status = obj.get("spec", {}), obj.get("status", {})
    last = times.age(status["lastScheduleTime"], now) if status.get("lastScheduleTime") else NONE
    template = spec.get("jobTemplate", {}).get("spec", {})
    return [name_of(obj), spec.get("schedule", ""), spec.get("timeZone") or NONE, str(bool(spec.get("suspend"))),
            len(status.get("active", [])), last, age_of(obj, now), *container_cells(template.get("template", {})),
            selector(template.get("selector"))]  # fmt: skip


def revision_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get controllerrevisions`."""
    owners = obj.get("metadata", {}).get("ownerReferences", [])
    owner = next((o for o in owners if o.get("controller")), None)
    group = str(owner.get("apiVersion", "")).rpartition("/")[0] if owner else ""
    shown = f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}" if owner else NONE
    return [name_of(obj), shown, obj.get("revision", 0), age_of(obj, now)]


_SET = columns("Name", "Desired:integer", "Current:integer", "Ready:integer", "Age", also=POD_WIDE)
PRINTERS = {
    ("apps", "Deployment"): (
        columns("Name", "Ready", "Up-to-date", "Available", "Age", also=POD_WIDE), deployment_cells),
    ("apps", "ReplicaSet"): (_SET, replica_set_cells),
    ("", "ReplicationController"): (_SET, replica_set_cells),
    ("apps", "StatefulSet"): (columns("Name", "Ready", "Age", also=POD_WIDE[:2]), stateful_set_cells),
    ("apps", "DaemonSet"): (
        columns("Name", "Desired:integer", "Current:integer", "Ready:integer", "Up-to-date:integer",
                "Available:integer", "Node Selector", "Age", also=POD_WIDE), daemon_set_cells),
    ("apps", "ControllerRevision"): (columns("Name", "Controller", "Revision", "Age"), revision_cells),
    ("batch", "Job"): (columns("Name", "Status", "Completions", "Duration", "Age", also=POD_WIDE), job_cells),
    ("batch", "CronJob"): (
        columns("Name", "Schedule", "Timezone", "Suspend", "Active:integer", "Last Schedule", "Age", also=POD_WIDE),
        cron_job_cells),
}  # fmt: skip
