"""Deployment, ReplicaSet, ReplicationController, StatefulSet, DaemonSet, Job and CronJob."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from zoneinfo import available_timezones

from minik8s_net.api.errors import FieldError, Go, bad_value, prohibited, required, unsupported
from minik8s_net.api.selectors import matches
from minik8s_net.api.validation import cron
from minik8s_net.api.validation.meta import immutable, not_negative, one_of, validate_selector
from minik8s_net.api.validation.pod import validate_template

Json = dict[str, Any]
_PERCENT = re.compile(r"[0-9]+%")
MAX_CRON_NAME = 52  # its Jobs add 11 characters


def _workload(obj: Json, restart_policies: tuple[str, ...] = ("Always",)) -> list[FieldError]:
    """What all controllers of pods have in common: selector, template, their match, counts."""
    spec = obj.get("spec", {})
    selector, template = spec.get("selector"), spec.get("template", {})
    errors = not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        errors += validate_selector(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            errors.append(bad_value("spec.selector", Go("{}"), "empty selector is invalid for deployment"))
    labels = template.get("metadata", {}).get("labels", {})
    if selector is None or not matches(selector, labels):
        detail = "`selector` does not match template `labels`"
        errors.append(bad_value("spec.template.metadata.labels", Go.map(labels), detail))
    errors += validate_template(template, "spec.template")
    policy = template.get("spec", {}).get("restartPolicy")
    if policy in ("OnFailure", "Never") and policy not in restart_policies:
        errors.append(unsupported("spec.template.spec.restartPolicy", policy, restart_policies))
    return errors


def validate_deployment(obj: Json) -> list[FieldError]:
    """Selector, template, strategy."""
    spec = obj.get("spec", {})
    errors = _workload(obj)
    strategy = spec.get("strategy", {})
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") not in ("Recreate", "RollingUpdate"):
        shown = Go(
            f'apps.DeploymentStrategy{{Type:"{strategy.get("type", "")}", '
            "RollingUpdate:(*apps.RollingUpdateDeployment)(nil)}"
        )
        errors.append(unsupported("spec.strategy", shown, ("Recreate", "RollingUpdate")))
    elif strategy["type"] == "Recreate" and rolling is not None:
        detail = "may not be specified when strategy `type` is 'Recreate'"
        errors.append(prohibited("spec.strategy.rollingUpdate", detail))
    elif rolling is not None:
        errors += _rolling(rolling, "spec.strategy.rollingUpdate")
    deadline = spec.get("progressDeadlineSeconds", 600)
    errors += not_negative(spec, "spec", "progressDeadlineSeconds")
    if deadline <= spec.get("minReadySeconds", 0):
        errors.append(bad_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors


def _rolling(rolling: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in ("maxUnavailable", "maxSurge"):
        errors += count_or_percent(rolling.get(field, 0), f"{path}.{field}")
    zero = all(str(rolling.get(f, 0)) in ("0", "0%") for f in ("maxUnavailable", "maxSurge"))
    if not errors and zero:
        value = rolling.get("maxUnavailable", 0)
        errors.append(bad_value(f"{path}.maxUnavailable", value, "may not be 0 when `maxSurge` is 0"))
    return errors


def _rolling_daemons(rolling: Json, path: str) -> list[FieldError]:
    """A daemon's node has the new pod first (maxSurge) or loses the old one first (maxUnavailable), never both."""
    errors: list[FieldError] = []
    for field in ("maxUnavailable", "maxSurge"):
        value = rolling.get(field, 0)
        wrong = count_or_percent(value, f"{path}.{field}")
        if not wrong and isinstance(value, str) and int(value.rstrip("%")) > 100:
            wrong = [bad_value(f"{path}.{field}", value, "must not be greater than 100%")]
        errors += wrong
    surges, misses = (str(rolling.get(f, 0)) not in ("0", "0%") for f in ("maxSurge", "maxUnavailable"))
    if surges and misses:
        detail = "may not be set when maxUnavailable is non-zero"
        errors.append(bad_value(f"{path}.maxSurge", rolling["maxSurge"], detail))
    if not surges and not misses:
        errors.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return errors


def count_or_percent(value: int | str, path: str) -> list[FieldError]:
    """A number from 0, or `50%`."""
    if isinstance(value, int):
        return [bad_value(path, value, "must be greater than or equal to 0")] if value < 0 else []
    if not _PERCENT.fullmatch(value):
        detail = (
            "a valid percent string must be a numeric string followed by an ending '%' "
            "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
        )
        return [bad_value(path, value, detail)]
    return []


def validate_replica_set(obj: Json) -> list[FieldError]:
    """Selector and template."""
    return _workload(obj)


def validate_replication_controller(obj: Json) -> list[FieldError]:
    """Its selector is a plain map."""
    spec = obj.get("spec", {})
    errors = not_negative(spec, "spec", "minReadySeconds", "replicas")
    selector, template = spec.get("selector", {}), spec.get("template", {})
    if not selector:
        errors.append(required("spec.selector"))
    labels = template.get("metadata", {}).get("labels", {})
    if selector and any(labels.get(k) != v for k, v in selector.items()):
        detail = "`selector` does not match template `labels`"
        errors.append(bad_value("spec.template.metadata.labels", Go.map(labels), detail))
    return errors + validate_template(template, "spec.template")


def validate_stateful_set(obj: Json) -> list[FieldError]:
    """Selector, template, update strategy."""
    spec = obj.get("spec", {})
    errors = one_of("spec.podManagementPolicy", spec.get("podManagementPolicy"), ("OrderedReady", "Parallel"))
    kind = spec.get("updateStrategy", {}).get("type")
    errors += one_of("spec.updateStrategy", kind, ("OnDelete", "RollingUpdate"))
    rolling = spec.get("updateStrategy", {}).get("rollingUpdate", {})
    errors += not_negative(rolling, "spec.updateStrategy.rollingUpdate", "partition")
    return errors + _workload(_with_claims(obj))


def _with_claims(obj: Json) -> Json:
    """As its pods will be: what `volumeClaimTemplates` names may be mounted. (The claims are judged when made.)"""
    spec = obj.get("spec", {})
    template = spec.get("template", {})
    pod = template.get("spec", {})
    names = [claim.get("metadata", {}).get("name", "") for claim in spec.get("volumeClaimTemplates", [])]
    volumes = [volume for volume in pod.get("volumes", []) if volume.get("name") not in names]
    volumes += [{"name": name, "emptyDir": {}} for name in names]
    return {**obj, "spec": {**spec, "template": {**template, "spec": {**pod, "volumes": volumes}}}}


def validate_daemon_set(obj: Json) -> list[FieldError]:
    """Selector, template, update strategy."""
    strategy = obj.get("spec", {}).get("updateStrategy", {})
    errors = _workload(obj)
    errors += one_of("spec.updateStrategy.type", strategy.get("type"), ("OnDelete", "RollingUpdate"))
    if strategy.get("type") == "RollingUpdate":
        errors += _rolling_daemons(strategy.get("rollingUpdate", {}), "spec.updateStrategy.rollingUpdate")
    return errors


def validate_job(obj: Json) -> list[FieldError]:
    """Counts, completion mode, template."""
    return _job_spec(obj.get("spec", {}), "spec")


def _job_spec(spec: Json, path: str) -> list[FieldError]:
    fields = (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    )
    errors = not_negative(spec, path, *fields)
    errors += validate_selector(spec.get("selector", {}), f"{path}.selector")
    if "completionMode" in spec:
        errors += one_of(f"{path}.completionMode", spec["completionMode"], ("Indexed", "NonIndexed"))
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    errors += _index_limits(spec, path)
    replacement = ("Failed",) if "podFailurePolicy" in spec else ("Failed", "TerminatingOrFailed")
    if "podReplacementPolicy" in spec:
        errors += one_of(f"{path}.podReplacementPolicy", spec["podReplacementPolicy"], replacement)
    errors += validate_template(spec.get("template", {}), f"{path}.template")
    policy = spec.get("template", {}).get("spec", {}).get("restartPolicy")
    if policy == "Always":
        errors.append(required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    return errors


def _index_limits(spec: Json, path: str) -> list[FieldError]:
    """Failures are counted per index only where there are indexes."""
    if spec.get("completionMode") != "Indexed":
        fields = [f for f in ("backoffLimitPerIndex", "maxFailedIndexes") if f in spec]
        return [bad_value(f"{path}.{f}", spec[f], "requires indexed completion mode") for f in fields]
    errors: list[FieldError] = []
    if "maxFailedIndexes" in spec:
        if "backoffLimitPerIndex" not in spec:
            errors.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
        if spec["maxFailedIndexes"] > (spec.get("completions") or 0):
            detail = "must be less than or equal to completions"
            errors.append(bad_value(f"{path}.maxFailedIndexes", spec["maxFailedIndexes"], detail))
    return errors


def validate_cron_job(obj: Json) -> list[FieldError]:
    """Schedule, time zone, and its Jobs."""
    spec, errors = obj.get("spec", {}), []
    schedule, zone = spec.get("schedule", ""), spec.get("timeZone")
    name = obj.get("metadata", {}).get("name", "")
    if len(name) > MAX_CRON_NAME:
        errors.append(bad_value("metadata.name", name, f"must be no more than {MAX_CRON_NAME} characters"))
    if not schedule:
        errors.append(required("spec.schedule"))
    elif wrong := cron.complaint(schedule):
        errors.append(bad_value("spec.schedule", schedule, wrong))
    if zone is not None and (not zone or zone.lower() == "local" or zone not in available_timezones()):
        errors.append(bad_value("spec.timeZone", zone, f"unknown time zone {zone}"))
    errors += one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"))
    fields = ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    errors += not_negative(spec, "spec", *fields)
    return errors + _job_spec(spec.get("jobTemplate", {}).get("spec", {}), "spec.jobTemplate.spec")


def _stateful_set_change(new: Json, old: Json) -> list[FieldError]:
    allowed = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
               "persistentVolumeClaimRetentionPolicy", "minReadySeconds")  # fmt: skip
    spec, was = new.get("spec", {}), old.get("spec", {})
    changed = {f for f in {*spec, *was} if spec.get(f) != was.get(f)}
    if changed <= set(allowed):
        return []
    shown = ", ".join(f"'{f}'" for f in allowed[:-1])
    detail = f"updates to statefulset spec for fields other than {shown} and '{allowed[-1]}' are forbidden"
    return [prohibited("spec", detail)]


VALIDATORS: dict[tuple[str, str], Callable[[Json], list[FieldError]]] = {
    ("apps", "Deployment"): validate_deployment,
    ("apps", "ReplicaSet"): validate_replica_set,
    ("", "ReplicationController"): validate_replication_controller,
    ("apps", "StatefulSet"): validate_stateful_set,
    ("apps", "DaemonSet"): validate_daemon_set,
    ("batch", "Job"): validate_job,
    ("batch", "CronJob"): validate_cron_job,
}
CHANGE_VALIDATORS: dict[tuple[str, str], Callable[[Json, Json], list[FieldError]]] = {
    ("apps", "Deployment"): immutable("selector"),
    ("apps", "ReplicaSet"): immutable("selector"),
    ("apps", "DaemonSet"): immutable("selector"),
    ("apps", "StatefulSet"): _stateful_set_change,
    ("batch", "Job"): immutable(
        "completions", "selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"
    ),
}
