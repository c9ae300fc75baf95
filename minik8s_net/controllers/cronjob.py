"""CronJobs: a Job at each time of a schedule.

A time that was missed (the cluster was down) is made up for once, unless startingDeadlineSeconds has passed.
https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from lightkube.resources.batch_v1 import CronJob, Job

from ..api.errors import StatusError, is_not_found
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder, timestamp
from .children import Children, Key
from .common import condition, epoch, ref
from .cron import Schedule

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
BY_HAND = "cronjob.kubernetes.io/instantiate"  # `kubectl create job --from=cronjob/…`
KEEP_SUCCESSFUL, KEEP_FAILED = 3, 1


class CronJobController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "cronjob-controller")
        self._loop: Reconciler[Key] = Reconciler("cronjob", self._reconcile)
        self._jobs = Children(client, Job, "CronJob", self._loop.mark)

    async def run(self) -> None:
        """Until cancelled."""
        ends = [self._jobs.watch(), self.client.watch(CronJob, self._on_cron_job)]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _on_cron_job(self, change: Change[CronJob]) -> None:
        if change.type != "DELETED" and change.new.metadata:
            self._loop.mark((change.new.metadata.namespace or "", change.new.metadata.name or ""))

    async def _reconcile(self, key: Key) -> None:
        cron: Any = self.client.find(CronJob, key[1], key[0])
        if cron is None or cron.metadata.deletionTimestamp:
            return
        jobs = self._jobs.of(cron)
        self._note_ends(cron, jobs)
        self._drop_old(cron, jobs)
        started = None if cron.spec.suspend else self._start_due(cron, key)
        self._write_status(cron, started)

    def _start_due(self, cron: Any, key: Key) -> datetime | None:
        """Start the Job whose time has come and ask to be woken for the next; the time that was served."""
        try:
            schedule = Schedule.parse(cron.spec.schedule)
            zone = _zone(cron)
        except ValueError as error:
            text = f"unparseable schedule: {cron.spec.schedule!r} : {error}"
            self.events.warning(cron, "UnparseableSchedule", text)
            return None
        now = datetime.now(UTC)
        if following := schedule.next(now, zone):
            # timers are days at most: a longer one is looked at again
            self._loop.mark_after(key, min((following - now).total_seconds() + 0.05, 86400.0))
        since = epoch(cron.status.lastScheduleTime if cron.status else None) or epoch(cron.metadata.creationTimestamp)
        due = schedule.last(datetime.fromtimestamp(since, UTC), now, zone)
        if due is None:
            return None
        deadline = cron.spec.startingDeadlineSeconds
        if deadline is not None and due + timedelta(seconds=deadline) < now:
            text = f"Missed scheduled time to start a job: {due:%a, %d %b %Y %H:%M:%S +0000}"
            self.events.warning(cron, "MissSchedule", text)
            return None
        return due if self._start(cron, due) else None

    def _start(self, cron: Any, due: datetime) -> bool:
        active = _active(self._jobs.of(cron))
        if active and cron.spec.concurrencyPolicy == "Forbid":
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self.events.normal(cron, "JobAlreadyActive", text)
            return False
        if cron.spec.concurrencyPolicy == "Replace":
            for job in active:
                self._delete(cron, job)
        tree = job_from(cron, due)
        try:
            self.client.create(Job, tree)
        except StatusError as error:
            if error.reason == "AlreadyExists":
                return True  # our predecessor started it and could not say so any more
            self.events.warning(cron, "FailedCreate", f"Error creating job: {error.message}")
            return False
        self.events.normal(cron, "SuccessfulCreate", f"Created job {tree['metadata']['name']}")
        return True

    def _note_ends(self, cron: Any, jobs: list[Any]) -> None:
        known = {entry.uid for entry in (cron.status.active if cron.status else None) or ()}
        for job in jobs:
            end = _end(job)
            if end is not None and job.metadata.uid in known:
                text = f"Saw completed job: {job.metadata.name}, condition: {end.type}"
                self.events.normal(cron, "SawCompletedJob", text)

    def _drop_old(self, cron: Any, jobs: list[Any]) -> None:
        for kind, limit, default in (
            ("Complete", cron.spec.successfulJobsHistoryLimit, KEEP_SUCCESSFUL),
            ("Failed", cron.spec.failedJobsHistoryLimit, KEEP_FAILED),
        ):
            ended = [j for j in jobs if (end := _end(j)) is not None and end.type == kind]
            keep = default if limit is None else int(limit)
            for job in ended[: max(0, len(ended) - keep)]:
                self._delete(cron, job)

    def _delete(self, cron: Any, job: Any) -> None:
        try:
            self.client.delete(Job, job.metadata.name, job.metadata.namespace, uid=job.metadata.uid)
        except StatusError as error:
            if is_not_found(error) or error.code == 409:
                return
            raise
        self.events.normal(cron, "SuccessfulDelete", f"Deleted job {job.metadata.name}")

    def _write_status(self, cron: Any, started: datetime | None) -> None:
        jobs = self._jobs.of(cron)
        ends = [epoch(j.status.completionTime) for j in jobs if j.status and j.status.completionTime]
        status: Json = {"active": [_reference(j) for j in _active(jobs)] or None}
        if started is not None:
            status["lastScheduleTime"] = timestamp(started.timestamp())
        last = epoch(cron.status.lastSuccessfulTime if cron.status else None)
        if ends and max(ends) > last:
            status["lastSuccessfulTime"] = timestamp(max(ends))
        name, namespace = cron.metadata.name, cron.metadata.namespace
        self.client.patch(CronJob, name, {"status": status}, namespace, subresource="status")


def job_from(cron: Any, due: datetime) -> Json:
    """The Job for one time: its name counts minutes, so that the same time never starts two."""
    template = cron.spec.jobTemplate.to_dict()
    meta = template.get("metadata") or {}
    name = f"{cron.metadata.name}-{int(due.timestamp()) // 60}"
    if Schedule.parse(cron.spec.schedule).every:
        name = f"{cron.metadata.name}-{int(due.timestamp())}"
    stamp = {SCHEDULED_AT: due.astimezone(_zone(cron)).isoformat().replace("+00:00", "Z")}
    tree = {
        "name": name,
        "namespace": cron.metadata.namespace,
        "labels": meta.get("labels") or {},
        "annotations": {**(meta.get("annotations") or {}), **stamp},
        "ownerReferences": [ref(cron)],
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": tree, "spec": template["spec"]}


def _zone(cron: Any) -> tzinfo:
    return ZoneInfo(cron.spec.timeZone) if cron.spec.timeZone else UTC


def _end(job: Any) -> Any:
    """The condition that ended the Job, None while it goes on."""
    for kind in ("Complete", "Failed"):
        found = condition(job, kind)
        if found is not None and found.status == "True":
            return found
    return None


def _active(jobs: list[Any]) -> list[Any]:
    """Those that go on. One that somebody started by hand is no run of the schedule: it holds up none."""
    return [j for j in jobs if _end(j) is None and BY_HAND not in (j.metadata.annotations or {})]


def _reference(job: Any) -> Json:
    meta = job.metadata
    where = {"apiVersion": "batch/v1", "kind": "Job", "name": meta.name, "namespace": meta.namespace}
    return {**where, "uid": meta.uid, "resourceVersion": meta.resourceVersion}


__all__ = ["CronJobController", "job_from"]
