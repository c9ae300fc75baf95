"""Jobs: pods that are to succeed so many times. Which pods to start is decided in `job_plan.py`.

https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from __future__ import annotations

import time
from typing import Any

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from ..api.errors import StatusError, is_not_found
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder, timestamp
from .children import Children, Key, create_pod, delete_pod, pod_from
from .common import condition, epoch, is_ready, phase, random_suffix
from .job_plan import INDEX, Tally, ranges


class JobController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "job-controller")
        self._loop: Reconciler[Key] = Reconciler("job", self._reconcile)
        self._pods = Children(client, Pod, "Job", self._loop.mark)

    async def run(self) -> None:
        """Until cancelled."""
        ends = [self._pods.watch(), self.client.watch(Job, self._on_job)]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _on_job(self, change: Change[Job]) -> None:
        if change.type != "DELETED" and change.new.metadata:
            self._loop.mark((change.new.metadata.namespace or "", change.new.metadata.name or ""))

    async def _reconcile(self, key: Key) -> None:
        job: Any = self.client.find(Job, key[1], key[0])
        if job is None or job.metadata.deletionTimestamp:
            return
        if _ended(job):
            self._expire(job, key)
            return
        tally = Tally.of(job, self._pods.of(job))
        end = tally.verdict() or self._overdue(job, key)
        if end is not None or job.spec.suspend:
            self._stop(job, tally.active)
        else:
            self._start(job, tally, key)
        self._write_status(job, end)

    def _start(self, job: Any, tally: Tally, key: Key) -> None:
        surplus = len(tally.active) - tally.wanted
        if surplus > 0:  # parallelism was lowered: those that got least far go
            self._stop(job, sorted(tally.active, key=is_ready)[:surplus])
            return
        slots = tally.to_start()
        if slots and (wait := tally.delay(time.time())) > 0:
            self._loop.mark_after(key, wait)
            return
        for slot in slots:
            if create_pod(self.client, self.events, job, job_pod(job, slot)) is None:
                return

    def _stop(self, job: Any, pods: list[Pod]) -> None:
        for pod in pods:
            delete_pod(self.client, self.events, job, pod)

    def _overdue(self, job: Any, key: Key) -> Json | None:
        """activeDeadlineSeconds, counted from the (last) start."""
        deadline = job.spec.activeDeadlineSeconds
        if deadline is None or job.spec.suspend:
            return None
        began = epoch(job.status.startTime) if job.status and job.status.startTime else time.time()
        left = began + deadline - time.time()
        if left > 0:
            self._loop.mark_after(key, left + 0.05)
            return None
        text = "Job was active longer than specified deadline"
        return {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": text}

    def _write_status(self, job: Any, end: Json | None) -> None:
        pods, now = self._pods.of(job), timestamp()
        tally = Tally.of(job, pods)
        status: Json = {
            "active": len(tally.active) or None,
            "ready": sum(map(is_ready, tally.active)),
            "terminating": sum(1 for p in pods if p.metadata and p.metadata.deletionTimestamp and not _over(p)),
            "succeeded": tally.succeeded or None,
            "failed": len(tally.failures) or None,
            "uncountedTerminatedPods": {},
            **self._start_and_suspension(job, now),
        }
        if tally.indexed:
            status["completedIndexes"] = ranges(tally.done) or None
            if job.spec.backoffLimitPerIndex is not None:
                status["failedIndexes"] = ranges(tally.lost)
        if end is not None:
            status |= self._end(job, end, now)
        name, namespace = job.metadata.name, job.metadata.namespace
        self.client.patch(Job, name, {"status": status}, namespace, subresource="status")

    def _start_and_suspension(self, job: Any, now: str) -> Json:
        was = condition(job, "Suspended")
        suspended = was is not None and was.status == "True"
        if job.spec.suspend:
            if suspended:
                return {}
            self.events.normal(job, "Suspended", "Job suspended")
            return {"startTime": None, "conditions": [_suspended("True", "JobSuspended", "Job suspended", now)]}
        if suspended:
            self.events.normal(job, "Resumed", "Job resumed")
            return {"startTime": now, "conditions": [_suspended("False", "JobResumed", "Job resumed", now)]}
        return {} if job.status and job.status.startTime else {"startTime": now}

    def _end(self, job: Any, end: Json, now: str) -> Json:
        timed = {**end, "lastProbeTime": now, "lastTransitionTime": now}
        before = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[end["type"]]
        kept = [c.to_dict() for c in (job.status.conditions if job.status else None) or ()]
        if end["type"] == "Complete":
            self.events.normal(job, "Completed", "Job completed")
        else:
            self.events.warning(job, end["reason"], end["message"])
        ended = {"completionTime": now} if end["type"] == "Complete" else {}
        return {"conditions": [*kept, {**timed, "type": before}, timed], **ended}

    def _expire(self, job: Any, key: Key) -> None:
        ttl = job.spec.ttlSecondsAfterFinished
        if ttl is None:
            return
        ended = max(epoch(c.lastTransitionTime) for c in job.status.conditions)
        if (left := ended + ttl - time.time()) > 0:
            self._loop.mark_after(key, left + 0.05)
            return
        try:
            self.client.delete(Job, key[1], key[0], uid=job.metadata.uid)
        except StatusError as error:
            if not is_not_found(error):
                raise


def job_pod(job: Any, slot: str) -> Json:
    """A pod of the job; with `slot`, its completion index and the variable that names it."""
    template = job.spec.template.to_dict()
    if not slot:
        return pod_from(template, job)
    name = f"{job.metadata.name}-{slot}-{random_suffix()}"
    tree = pod_from(template, job, name, labels={INDEX: slot}, annotations={INDEX: slot})
    spec = {**tree["spec"], "hostname": f"{job.metadata.name}-{slot}"}
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{INDEX}']"}}
    variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}
    for group in ("initContainers", "containers"):
        if group in spec:
            spec[group] = [{**c, "env": [*(c.get("env") or ()), variable]} for c in spec[group]]
    return {**tree, "spec": spec}


def _suspended(status: str, reason: str, message: str, now: str) -> Json:
    times = {"lastProbeTime": now, "lastTransitionTime": now}
    return {"type": "Suspended", "status": status, "reason": reason, "message": message, **times}


def _over(pod: Pod) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def _ended(job: Any) -> bool:
    conditions = (job.status.conditions if job.status else None) or ()
    return any(c.type in ("Complete", "Failed") and c.status == "True" for c in conditions)
