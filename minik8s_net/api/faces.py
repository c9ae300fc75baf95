"""One object, two kinds: events.k8s.io's Events are core's, autoscaling/v1's autoscalers are v2's.

A face is what is read and written; home is what is stored. In Kubernetes: conversion through the internal version.
"""

from __future__ import annotations

from typing import Any

from minik8s_net.api import times
from minik8s_net.api.kinds import Kind

Json = dict[str, Any]
# events.k8s.io/v1 -> v1
EVENT_FIELDS = {
    "note": "message", "regarding": "involvedObject", "reportingController": "reportingComponent",
    "deprecatedSource": "source", "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp", "deprecatedCount": "count",
}  # fmt: skip
CPU_PERCENT, CURRENT_PERCENT = "targetCPUUtilizationPercentage", "currentCPUUtilizationPercentage"


def show(kind: Kind, home: Json) -> Json:
    """A stored tree as `kind` (itself where that is how it is stored)."""
    if kind.home is kind:
        return home
    if kind.kind == "Event":
        names = {there: here for here, there in EVENT_FIELDS.items()}
        began = home.get("firstTimestamp") or home["metadata"].get("creationTimestamp")
        if not home.get("eventTime") and began:  # required there
            home = {**home, "eventTime": times.canonical_micro(began)}
        return _renamed(kind, home, names)
    shown = {**home, "apiVersion": kind.api_version, "spec": _old_spec(home.get("spec", {}))}
    return shown | ({"status": _old_status(home["status"])} if "status" in home else {})


def _old_spec(spec: Json) -> Json:
    kept = {name: value for name, value in spec.items() if name not in ("behavior", "metrics")}
    for metric in filter(_is_cpu, spec.get("metrics", ())):
        kept[CPU_PERCENT] = metric["resource"]["target"]["averageUtilization"]
    return kept


def _old_status(status: Json) -> Json:
    kept = {name: value for name, value in status.items() if name not in ("conditions", "currentMetrics")}
    for metric in status.get("currentMetrics") or ():
        resource = metric.get("resource", {})
        if resource.get("name") == "cpu" and "averageUtilization" in resource.get("current", {}):
            kept[CURRENT_PERCENT] = resource["current"]["averageUtilization"]
    return {"currentReplicas": 0, "desiredReplicas": 0, **kept}


def store(kind: Kind, face: Json, old: Json | None) -> Json:
    """What to store for a tree of `kind`. What the face cannot say is kept from `old`, the stored tree."""
    if kind.home is kind:
        return face
    if kind.kind == "Event":
        return _renamed(kind.home, face, EVENT_FIELDS)
    spec, before = dict(face.get("spec", {})), (old or {}).get("spec", {})
    percent = spec.pop(CPU_PERCENT, None)
    metrics = [metric for metric in before.get("metrics", ()) if not _is_cpu(metric)]
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    spec |= {"metrics": metrics} if metrics else {}
    spec |= {"behavior": before["behavior"]} if "behavior" in before else {}
    stored = {**face, "apiVersion": kind.home.api_version, "spec": spec}
    if "status" in face:
        stored["status"] = {name: value for name, value in face["status"].items() if name != CURRENT_PERCENT}
    return stored


def _is_cpu(metric: Json) -> bool:
    resource = metric.get("resource", {})
    return resource.get("name") == "cpu" and "averageUtilization" in resource.get("target", {})


def _renamed(kind: Kind, tree: Json, names: dict[str, str]) -> Json:
    return {names.get(name, name): value for name, value in tree.items()} | {"apiVersion": kind.api_version}
