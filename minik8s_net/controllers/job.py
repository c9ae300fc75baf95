"""Jobs: pods that are to succeed so many times.

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
from .common import epoch, is_active, is_ready, phase, random_suffix

FIRST_DELAY, LAST_DELAY = 10.0, 360.0  # seconds between failed pods
INDEX = "batch.kubernetes.io/job-completion-index"


class JobController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "job-controller")
        self._loop: Reconciler[Key] = Reconciler("job", self._reconcile)
        self._pods = Children(client, Pod, "Job", self._loop.mark)

    async def run(self) -> None:
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
        pods = self._pods.of(job)
        end = self._verdict(job, pods, key)
        if end is not None or job.spec.suspend:
            for pod in pods:
                if is_active(pod):
                    delete_pod(self.client, self.events, job, pod)
        else:
            self._start(job, pods, key)
        self._write_status(job, end)

    def _start(self, job: Any, pods: list[Pod], key: Key) -> None:
        active = [p for p in pods if is_active(p)]
        done = {_slot(p) for p in pods if phase(p) == "Succeeded"}
        failures = [p for p in pods if phase(p) == "Failed"]
        total = job.spec.completions
        succeeded = sum(phase(p) == "Succeeded" for p in pods)
        parallel = 1 if job.spec.parallelism is None else int(job.spec.parallelism)
        wanted = parallel if total is None else min(parallel, total - succeeded)
        if total is None and succeeded:
            wanted = len(active)  # a work queue: one success ends the creation of more
        missing = wanted - len(active)
        if missing > 0 and failures and (wait := _delay(failures)) > 0:
            self._loop.mark_after(key, wait)
            return
        free = [i for i in range(total or 0) if str(i) not in done and str(i) not in {_slot(p) for p in active}]
        for number in range(missing):
            slot = str(free[number]) if job.spec.completionMode == "Indexed" and number < len(free) else ""
            if create_pod(self.client, self.events, job, job_pod(job, slot)) is None:
                return

    def _verdict(self, job: Any, pods: list[Pod], key: Key) -> Json | None:
        """The condition that ends the job, if it has ended."""
        succeeded = sum(phase(p) == "Succeeded" for p in pods)
        active = sum(is_active(p) for p in pods)
        failed = sum(phase(p) == "Failed" for p in pods) + sum(_restarts(p) for p in pods if is_active(p))
        total = job.spec.completions
        if (total is not None and succeeded >= total) or (total is None and succeeded and not active):
            text = "Reached expected number of succeeded pods"
            return {"type": "Complete", "status": "True", "reason": "CompletionsReached", "message": text}
        limit = 6 if job.spec.backoffLimit is None else job.spec.backoffLimit
        if failed > limit:
            text = "Job has reached the specified backoff limit"
            return {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": text}
        deadline = job.spec.activeDeadlineSeconds
        began = epoch(job.status.startTime) if job.status and job.status.startTime else time.time()
        if deadline is not None:
            if time.time() - began >= deadline:
                text = "Job was active longer than specified deadline"
                return {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": text}
            self._loop.mark_after(key, began + deadline - time.time() + 0.05)
        return None

    def _write_status(self, job: Any, end: Json | None) -> None:
        pods, now = self._pods.of(job), timestamp()
        active = [p for p in pods if is_active(p)]
        status: Json = {
            "active": len(active) or None,
            "ready": sum(map(is_ready, active)),
            "terminating": sum(1 for p in pods if p.metadata and p.metadata.deletionTimestamp),
            "succeeded": sum(phase(p) == "Succeeded" for p in pods) or None,
            "failed": sum(phase(p) == "Failed" for p in pods) or None,
            "uncountedTerminatedPods": {},
        }
        if not (job.status and job.status.startTime) and not job.spec.suspend:
            status["startTime"] = now
        if job.spec.completionMode == "Indexed":
            indexes = sorted(int(_slot(p)) for p in pods if phase(p) == "Succeeded" and _slot(p))
            status["completedIndexes"] = ",".join(map(str, indexes)) or None
        if end is not None:
            timed = {**end, "lastProbeTime": now, "lastTransitionTime": now}
            before = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[end["type"]]
            status["conditions"] = [{**timed, "type": before}, timed]
            if end["type"] == "Complete":
                status["completionTime"] = now
                self.events.normal(job, "Completed", "Job completed")
            else:
                self.events.warning(job, end["reason"], end["message"])
        name, namespace = job.metadata.name, job.metadata.namespace
        self.client.patch(Job, name, {"status": status}, namespace, subresource="status")

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
    variable = {"name": "JOB_COMPLETION_INDEX", "value": slot}
    spec["containers"] = [{**c, "env": [*(c.get("env") or ()), variable]} for c in spec["containers"]]
    return {**tree, "spec": spec}


def _slot(pod: Pod) -> str:
    notes: dict[str, str] = (pod.metadata.annotations if pod.metadata else None) or {}
    return notes.get(INDEX, "")


def _ended(job: Any) -> bool:
    conditions = (job.status.conditions if job.status else None) or ()
    return any(c.type in ("Complete", "Failed") and c.status == "True" for c in conditions)


def _restarts(pod: Pod) -> int:
    return sum(s.restartCount or 0 for s in (pod.status.containerStatuses if pod.status else None) or ())


def _delay(failures: list[Pod]) -> float:
    """Seconds until the next try, counted from the last failure."""
    ends: list[float] = [
        epoch(s.state.terminated.finishedAt)
        for p in failures
        for s in (p.status.containerStatuses if p.status else None) or ()
        if s.state and s.state.terminated
    ]
    delay: float = min(FIRST_DELAY * 2 ** (len(failures) - 1), LAST_DELAY)
    last: float = max(ends, default=0.0)
    return last + delay - time.time()
