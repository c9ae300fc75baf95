"""Defaults of Deployment, ReplicaSet, ReplicationController, StatefulSet, DaemonSet, Job and CronJob."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minik8s_net.api.defaults.pod import default_template, fill

Json = dict[str, Any]


def default_deployment(obj: Json) -> None:
    """One replica, a rolling update by quarters, ten revisions, ten minutes."""
    spec = obj.setdefault("spec", {})
    default_template(spec)
    fill(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec["strategy"]
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy, rollingUpdate={})
        fill(strategy["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")


def default_replica_set(obj: Json) -> None:
    """One replica; labels from its template."""
    spec = obj.setdefault("spec", {})
    default_template(spec)
    fill(spec, replicas=1)


def default_replication_controller(obj: Json) -> None:
    """Labels and selector come from the template where they are not given."""
    spec = obj.setdefault("spec", {})
    default_template(spec)
    fill(spec, replicas=1)
    if labels := spec["template"]["metadata"].get("labels"):
        fill(spec, selector=dict(labels))
        fill(obj.setdefault("metadata", {}), labels=dict(labels))


def default_stateful_set(obj: Json) -> None:
    """One replica, in order, a rolling update; its claims' defaults."""
    spec = obj.setdefault("spec", {})
    default_template(spec)
    fill(spec, replicas=1, podManagementPolicy="OrderedReady", revisionHistoryLimit=10, updateStrategy={})
    strategy = spec["updateStrategy"]
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy, rollingUpdate={})
        fill(strategy["rollingUpdate"], partition=0)
    fill(spec, persistentVolumeClaimRetentionPolicy={})
    fill(spec["persistentVolumeClaimRetentionPolicy"], whenDeleted="Retain", whenScaled="Retain")
    for claim in spec.get("volumeClaimTemplates", []):
        fill(claim, apiVersion="v1", kind="PersistentVolumeClaim", status={})
        fill(claim.setdefault("spec", {}), volumeMode="Filesystem")
        fill(claim["status"], phase="Pending")


def default_daemon_set(obj: Json) -> None:
    """A rolling update, one node at a time."""
    spec = obj.setdefault("spec", {})
    default_template(spec)
    fill(spec, revisionHistoryLimit=10, updateStrategy={})
    strategy = spec["updateStrategy"]
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy, rollingUpdate={})
        fill(strategy["rollingUpdate"], maxUnavailable=1, maxSurge=0)


def default_job(obj: Json) -> None:
    """The selector and the controller-uid labels are the registry's business (they need the uid)."""
    default_job_spec(obj.setdefault("spec", {}))


def default_job_spec(spec: Json) -> None:
    """One completion, six tries, not suspended."""
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    limit = 2**31 - 1 if "backoffLimitPerIndex" in spec else 6
    fill(
        spec,
        parallelism=1,
        backoffLimit=limit,
        completionMode="NonIndexed",
        suspend=False,
        manualSelector=False,
    )
    failure_policy = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    fill(spec, podReplacementPolicy=failure_policy)
    if not spec["manualSelector"]:
        del spec["manualSelector"]
    template = spec.setdefault("template", {})
    fill(template, metadata={}, spec={})
    restart = template["spec"].get("restartPolicy")
    default_template(spec)
    if restart is None:
        template["spec"]["restartPolicy"] = "Always"  # as Kubernetes does: validation then asks for one


def default_cron_job(obj: Json) -> None:
    """Runs may overlap; three successes and one failure are kept."""
    spec = obj.setdefault("spec", {})
    fill(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    template = spec.setdefault("jobTemplate", {})
    fill(template, metadata={}, spec={})
    default_template(template["spec"])


DEFAULTS: dict[tuple[str, str], Callable[[Json], None]] = {
    ("apps", "Deployment"): default_deployment,
    ("apps", "ReplicaSet"): default_replica_set,
    ("apps", "StatefulSet"): default_stateful_set,
    ("apps", "DaemonSet"): default_daemon_set,
    ("", "ReplicationController"): default_replication_controller,
    ("batch", "Job"): default_job,
    ("batch", "CronJob"): default_cron_job,
}
