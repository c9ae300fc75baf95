"""Jobs: pods that are to succeed so many times. Which pods to start is decided in `job_plan.py`.

How finished pods are counted, so that none is counted twice or forgotten, is told in `job_tracking.py`.
https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from ..api.errors import StatusError, is_not_found
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder, timestamp
from .children import Key, create_pod, delete_pod, pod_from
from .claims import Claims
from .common import condition, controller_of, epoch, is_finished, is_ready, phase, random_suffix
from .job_backoff import Backoff
from .job_plan import Tally
from .job_tracking import FAILURES, FINALIZER, INDEX, failures_of, is_tracked, uid
from .replicaset import rank

INTERIM = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}  # said until the last pod has gone


class JobController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events = EventRecorder(client, "job-controller")
        self._loop: Reconciler[Key] = Reconciler("job", self._reconcile)
        self._strays: Reconciler[Key] = Reconciler("job-strays", self._let_go)
        self._pods = Claims(client, Pod, Job, self._loop.mark, finalizer=FINALIZER)
        self._backoffs: dict[str, Backoff] = {}  # by the Job's uid; made again from the pods there are

    async def run(self) -> None:
        """Until cancelled."""
        ends = [self._pods.watch(), self.client.watch(Job, self._on_job), self.client.watch(Pod, self._on_pod)]
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._loop.run())
                loops.create_task(self._strays.run())
        finally:
            for end in ends:
                end()

    def _on_job(self, change: Change[Job]) -> None:
        assert change.new.metadata
        if change.type != "DELETED":
            self._loop.mark((change.new.metadata.namespace or "", change.new.metadata.name or ""))
            return
        self._backoffs.pop(change.new.metadata.uid or "", None)
        for pod in self._pods.of(change.new):
            self._strays.mark((pod.metadata.namespace, pod.metadata.name))

    def _on_pod(self, change: Change[Pod]) -> None:
        meta = change.new.metadata
        if change.type != "DELETED" and meta and is_tracked(change.new) and not self._has_job(change.new):
            self._strays.mark((meta.namespace or "", meta.name or ""))

    def _has_job(self, pod: Pod) -> bool:
        owner = controller_of(pod)
        if owner is None or owner.kind != "Job" or pod.metadata is None:
            return False
        job = self.client.find(Job, owner.name, pod.metadata.namespace)
        return job is not None and job.metadata is not None and job.metadata.uid == owner.uid

    async def _let_go(self, key: Key) -> None:
        """Nobody counts a pod without Job: nothing may hold it."""
        pod = self.client.find(Pod, key[1], key[0])
        if pod is not None and is_tracked(pod) and not self._has_job(pod):
            self._untrack(pod)

    async def _reconcile(self, key: Key) -> None:
        job: Any = self.client.find(Job, key[1], key[0])
        if job is None:
            return
        if job.metadata.deletionTimestamp or _ended(job):
            for pod in self._pods.of(job):
                self._untrack(pod)
            if not job.metadata.deletionTimestamp:
                self._backoffs.pop(job.metadata.uid, None)
                self._expire(job, key)
            return
        self._pods.claim(job)
        self._track_active(job)
        tally = Tally.of(job, self._pods.of(job))
        backoff = self._backoff(job, tally)
        end = _foretold(job) or tally.exceeded() or self._overdue(job, key) or tally.outcome()
        if end is not None and end["type"] == "Failed":
            self._stop(job, tally.active)
        elif end is not None or job.spec.suspend:
            self._stop(job, tally.active, uncounted=True)
        else:
            self._start(job, tally, backoff, key)
        self._count(job, end)
        self._backoffs[job.metadata.uid] = backoff

    def _backoff(self, job: Any, tally: Tally) -> Backoff:
        known = self._backoffs.get(job.metadata.uid)
        if known is None:  # new, or a controller before us knew
            fresh = {uid(p) for p in (*tally.fresh_succeeded, *tally.fresh_failed)}
            over = [p for p in tally.pods if is_finished(p) and uid(p) not in fresh]
            known = Backoff().after(*([p for p in over if phase(p) == end] for end in ("Succeeded", "Failed")))
        return known.after(tally.fresh_succeeded, tally.fresh_failed)

    def _start(self, job: Any, tally: Tally, backoff: Backoff, key: Key) -> None:
        surplus = len(tally.active) - tally.wanted
        if surplus > 0:  # parallelism was lowered: those that got least far go
            self._stop(job, sorted(tally.active, key=rank)[:surplus], uncounted=True)
            return
        indexes, wait = tally.to_start(backoff, time.time())
        if wait > 0:
            self._loop.mark_after(key, wait + 0.01)
        failures = tally.last_failures()
        for index in indexes:
            before = failures.get(index) if index is not None else None
            if create_pod(self.client, self.events, job, job_pod(job, index, before)) is None:
                return

    def _stop(self, job: Any, pods: list[Pod], *, uncounted: bool = False) -> None:
        """Delete pods, which counts as their failure; `uncounted`: it is not their fault."""
        for pod in pods:
            if uncounted:
                self._untrack(pod)
            delete_pod(self.client, self.events, job, pod)

    def _track_active(self, job: Any) -> None:
        """Pods of ours that ought to have the finalizer: one died between taking it off and deleting the pod."""
        for pod in Tally.of(job, self._pods.of(job)).active:
            if not is_tracked(pod):
                self._set_finalizers(pod, [*(pod.metadata.finalizers or ()), FINALIZER])  # type: ignore[union-attr]

    def _untrack(self, pod: Pod) -> None:
        if is_tracked(pod) and pod.metadata:
            self._set_finalizers(pod, [f for f in pod.metadata.finalizers or () if f != FINALIZER])

    def _set_finalizers(self, pod: Pod, finalizers: list[str]) -> None:
        assert pod.metadata and pod.metadata.name
        patch = {"metadata": {"uid": pod.metadata.uid, "finalizers": finalizers or None}}
        try:
            self.client.patch(Pod, pod.metadata.name, patch, pod.metadata.namespace)
        except StatusError as error:
            if not is_not_found(error) and error.code != 409:
                raise

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

    # -- counting and the status -------------------------------------------------------------------------------------
    def _count(self, job: Any, end: Json | None) -> None:
        """The three writes of `job_tracking`; then the Job's end, when nothing of it is left to be counted or to go."""
        pods, now = self._pods.of(job), timestamp()
        tally = Tally.of(job, pods)
        counted, free = tally.note(end)
        status: Json = {
            "active": len(tally.active) or None,
            "ready": sum(map(is_ready, tally.active)),
            "terminating": len(tally.leaving),
            **self._start_and_suspension(job, now),
            **counted.status(job.spec),
        }
        if end is not None and condition(job, INTERIM[end["type"]]) is None:
            status["conditions"] = [*_conditions(job), _timed({**end, "type": INTERIM[end["type"]]}, now)]
        self._write(job, status)
        for pod in free:
            self._untrack(pod)
        pods = self._pods.of(job)
        counted = counted.settled({uid(p) for p in pods if is_tracked(p)})
        status = counted.status(job.spec)
        over = not counted.new_succeeded and not counted.new_failed and not Tally.of(job, pods).leaving
        if end is not None and over:
            status |= self._end(job, end, now)
        self._write(job, status)

    def _write(self, job: Any, status: Json) -> None:
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
        if end["type"] == "Complete":
            self.events.normal(job, "Completed", "Job completed")
        else:
            self.events.warning(job, end["reason"], end["message"])
        present: Any = self.client.get(Job, job.metadata.name, job.metadata.namespace)
        ended = {"completionTime": now} if end["type"] == "Complete" else {}
        return {"conditions": [*_conditions(present), _timed(end, now)], "terminating": 0, **ended}

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


def job_pod(job: Any, index: int | None, before: Pod | None = None) -> Json:
    """A pod of the job; with `index`, its completion index and the variable that names it.

    With backoffLimitPerIndex it says how many of its index failed: one more than `before`, the last of them, knew of.
    """
    template = job.spec.template.to_dict()
    if index is None:
        tree = pod_from(template, job)
    else:
        slot = str(index)
        notes = {INDEX: slot}
        if job.spec.backoffLimitPerIndex is not None:
            notes[FAILURES] = str(failures_of(before) + 1 if before else 0)
        name = f"{job.metadata.name}-{slot}-{random_suffix()}"
        tree = pod_from(template, job, name, labels={INDEX: slot}, annotations=notes)
    meta = tree["metadata"]
    meta["finalizers"] = [*(f for f in meta.get("finalizers") or () if f != FINALIZER), FINALIZER]
    return tree if index is None else {**tree, "spec": _with_index(job, tree["spec"], index)}


def _with_index(job: Any, spec: Json, index: int) -> Json:
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{INDEX}']"}}
    variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}
    spec = {**spec, "hostname": f"{job.metadata.name}-{index}"}
    for group in ("initContainers", "containers"):
        if group in spec:
            spec[group] = [{**c, "env": [*(c.get("env") or ()), variable]} for c in spec[group]]
    return spec


def _foretold(job: Any) -> Json | None:
    """The end that an earlier round found, and that waits for the last pods."""
    for kind, interim in INTERIM.items():
        found = condition(job, interim)
        if found is not None and found.status == "True":
            return {"type": kind, "status": "True", "reason": found.reason, "message": found.message}
    return None


def _conditions(job: Any) -> list[Json]:
    return [c.to_dict() for c in (job.status.conditions if job.status else None) or ()]


def _timed(entry: Json, now: str) -> Json:
    return {**entry, "lastProbeTime": now, "lastTransitionTime": now}


def _suspended(status: str, reason: str, message: str, now: str) -> Json:
    times = {"lastProbeTime": now, "lastTransitionTime": now}
    return {"type": "Suspended", "status": status, "reason": reason, "message": message, **times}


def _ended(job: Any) -> bool:
    conditions = (job.status.conditions if job.status else None) or ()
    return any(c.type in ("Complete", "Failed") and c.status == "True" for c in conditions)
