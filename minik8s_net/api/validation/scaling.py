"""HorizontalPodAutoscalers, PodDisruptionBudgets and PriorityClasses: how many pods, and which go first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minik8s_net.api.errors import FieldError, bad_value, prohibited, required, unsupported
from minik8s_net.api.validation import names
from minik8s_net.api.validation.meta import immutable, one_of, validate_selector
from minik8s_net.api.validation.workloads import count_or_percent

Json = dict[str, Any]
SOURCES = {"ContainerResource": "containerResource", "External": "external", "Object": "object", "Pods": "pods",
           "Resource": "resource"}  # fmt: skip
TARGETS = ("AverageValue", "Utilization", "Value")
HIGHEST_PRIORITY = 1_000_000_000  # a user may define


def validate_autoscaler(obj: Json) -> list[FieldError]:
    """autoscaling/v1 and v2."""
    spec = obj.get("spec", {})
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    errors: list[FieldError] = []
    if least < 1:
        errors.append(bad_value("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(bad_value("spec.maxReplicas", most, "must be greater than 0"))
    if most < least:
        errors.append(bad_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef", {})
    for field in ("kind", "name"):
        at, value = f"spec.scaleTargetRef.{field}", target.get(field, "")
        errors += [bad_value(at, value, e) for e in names.path_segment(value)] if value else [required(at)]
    percent = spec.get("targetCPUUtilizationPercentage", 1)
    if percent < 1:
        errors.append(bad_value("spec.targetCPUUtilizationPercentage", percent, "must be greater than 0"))
    for i, metric in enumerate(spec.get("metrics", [])):
        errors += _metric(metric, f"spec.metrics[{i}]")
    return errors


def _metric(metric: Json, path: str) -> list[FieldError]:
    kind, errors = metric.get("type", ""), []
    if not kind:
        errors.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in SOURCES:
        errors.append(unsupported(f"{path}.type", kind, tuple(SOURCES)))
    given = [field for field in SOURCES.values() if field in metric]
    wanted = SOURCES.get(kind, "")
    for field in ("resource", "containerResource"):
        if field in metric:
            errors += _resource(metric[field], f"{path}.{field}")
    if wanted not in given:
        errors.append(required(f"{path}.{wanted}", "must populate information for the given metric source"))
    if len(given) != 1:
        detail = "must populate the given metric source only"
        errors += [prohibited(f"{path}.{field}", detail) for field in given if field != wanted]
    return errors


def _resource(source: Json, path: str) -> list[FieldError]:
    target, errors = source.get("target", {}), []
    if not source.get("name"):
        errors.append(required(f"{path}.name", "must specify a resource name"))
    kind = target.get("type", "")
    errors += (
        one_of(f"{path}.target.type", kind, TARGETS)
        if kind
        else [required(f"{path}.target.type", "must specify a metric target type")]
    )
    percent, value = target.get("averageUtilization"), target.get("averageValue")
    if percent is not None and percent < 1:
        errors.append(bad_value(f"{path}.target.averageUtilization", percent, "must be greater than 0"))
    if percent is None and value is None:
        detail = "must set either a target raw value or a target utilization"
        errors.append(required(f"{path}.target.averageUtilization", detail))
    if percent is not None and value is not None:
        detail = "may not set both a target raw value and a target utilization"
        errors.append(prohibited(f"{path}.target.averageValue", detail))
    return errors


def validate_budget(obj: Json) -> list[FieldError]:
    """A PodDisruptionBudget: a number or a share, not both."""
    spec = obj.get("spec", {})
    both = [field for field in ("minAvailable", "maxUnavailable") if field in spec]
    errors: list[FieldError] = []
    if len(both) == 2:
        errors.append(bad_value("spec", "", "minAvailable and maxUnavailable cannot be both set"))
    for field in both:
        value = spec[field]
        wrong = count_or_percent(value, f"spec.{field}")
        if not wrong and isinstance(value, str) and int(value[:-1]) > 100:
            wrong = [bad_value(f"spec.{field}", value, "must not be greater than 100%")]
        errors += wrong
    errors += validate_selector(spec.get("selector", {}), "spec.selector")
    if (policy := spec.get("unhealthyPodEvictionPolicy")) is not None:
        errors += one_of("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))
    return errors


def validate_priority(obj: Json) -> list[FieldError]:
    """A PriorityClass."""
    name, value, errors = obj.get("metadata", {}).get("name", ""), obj.get("value", 0), []
    if name.startswith("system-"):
        detail = (
            "priority class names with 'system-' prefix are reserved for system use only. "
            f"error: {name} is not a known system priority class"
        )
        errors.append(prohibited("metadata.name", detail))
    elif value > HIGHEST_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}"
        errors.append(prohibited("value", detail))
    if (policy := obj.get("preemptionPolicy")) is not None:
        errors += one_of("preemptionPolicy", policy, ("Never", "PreemptLowerPriority"))
    return errors


def _priority_change(new: Json, old: Json) -> list[FieldError]:
    errors = [] if new.get("value") == old.get("value") else [prohibited("value", "may not be changed in an update.")]
    return errors + immutable("preemptionPolicy", of="")(new, old)


VALIDATORS: dict[tuple[str, str], Callable[[Json], list[FieldError]]] = {
    ("autoscaling", "HorizontalPodAutoscaler"): validate_autoscaler,
    ("policy", "PodDisruptionBudget"): validate_budget,
    ("scheduling.k8s.io", "PriorityClass"): validate_priority,
}
CHANGE_VALIDATORS: dict[tuple[str, str], Callable[[Json, Json], list[FieldError]]] = {
    ("scheduling.k8s.io", "PriorityClass"): _priority_change,
}
