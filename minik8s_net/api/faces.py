"""One object, two kinds: events.k8s.io's Events are core's, autoscaling/v1's autoscalers are v2's.

A face is what is read and written; home is what is stored. In Kubernetes: conversion through the internal version.
"""

from __future__ import annotations

from typing import Any

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
        return _renamed(kind, home, names)
    spec, status = dict(home.get("spec", {})), dict(home.get("status", {}))
    spec.pop("behavior", None)
    for metric in spec.pop("metrics", ()):
        if _is_cpu(metric):
            spec[CPU_PERCENT] = metric["resource"]["target"]["averageUtilization"]
    for metric in status.pop("currentMetrics", None) or ():
        percent = metric.get("resource", {}).get("current", {}).get("averageUtilization")
        if percent is not None and metric["resource"].get("name") == "cpu":
            status[CURRENT_PERCENT] = percent
    status.pop("conditions", None)
    return {**home, "apiVersion": kind.api_version, "spec": spec, "status": status}


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
    status = {name: value for name, value in face.get("status", {}).items() if name != CURRENT_PERCENT}
    return {**face, "apiVersion": kind.home.api_version, "spec": spec, "status": status}


def _is_cpu(metric: Json) -> bool:
    resource = metric.get("resource", {})
    return resource.get("name") == "cpu" and "averageUtilization" in resource.get("target", {})


def _renamed(kind: Kind, tree: Json, names: dict[str, str]) -> Json:
    return {names.get(name, name): value for name, value in tree.items()} | {"apiVersion": kind.api_version}
