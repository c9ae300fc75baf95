"""How far a Job is, whether it has ended, and which pods to start next. Pure.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
https://kubernetes.io/docs/concepts/workloads/controllers/job/#handling-pod-and-container-failures
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from lightkube.resources.core_v1 import Pod

from ..store.client import Json
from .common import is_active, phase
from .job_backoff import Backoff, ended_at, of_index
from .job_tracking import Counted, failures_of, has_failed, index_of, is_leaving, is_tracked, uid, waits_for_end

BACKOFF_LIMIT = 6
UNLIMITED = 2**31 - 1


@dataclass(frozen=True)
class Tally:
    """A Job's pods, those that are gone too. `done` and `lost` are completion indexes (of an Indexed Job)."""

    spec: Any
    pods: list[Pod]
    counted: Counted
    fresh_succeeded: list[Pod]  # finished, and neither counted nor noted
    fresh_failed: list[Pod]
    done: frozenset[int]
    lost: frozenset[int]

    @classmethod
    def of(cls, job: Any, pods: list[Pod]) -> Tally:
        """Count a Job's pods."""
        spec, counted = job.spec, Counted.of(job)
        tracked = [p for p in pods if is_tracked(p)]
        if spec.completionMode == "Indexed":
            tracked = [p for p in tracked if index_of(p, spec) is not None]
        good = [p for p in tracked if phase(p) == "Succeeded" and uid(p) not in counted.new_failed]
        bad = [p for p in tracked if has_failed(p, spec)]
        limit = spec.backoffLimitPerIndex
        lost = _indexes((p for p in bad if limit is not None and failures_of(p) >= limit), spec)
        return cls(
            spec,
            pods,
            counted,
            [p for p in good if not counted.knows(p)],
            [p for p in bad if not counted.knows(p)],
            counted.done | _indexes(good, spec),
            counted.lost | lost,
        )

    @property
    def active(self) -> list[Pod]:
        """Neither finished nor being deleted."""
        return [p for p in self.pods if is_active(p)]

    @property
    def leaving(self) -> list[Pod]:
        """Being deleted, and not over yet."""
        return [p for p in self.pods if is_leaving(p)]

    @property
    def succeeded(self) -> int:
        """Pods, or indexes, that succeeded."""
        if self.spec.completionMode == "Indexed":
            return len(self.done)
        return self.counted.succeeded + len(self.counted.new_succeeded) + len(self.fresh_succeeded)

    @property
    def failed(self) -> int:
        """Pods that failed."""
        return self.counted.failed + len(self.counted.new_failed) + len(self.fresh_failed)

    @property
    def wanted(self) -> int:
        """How many pods may be active now."""
        parallel = 1 if self.spec.parallelism is None else int(self.spec.parallelism)
        if self.spec.completions is not None:
            return min(parallel, max(0, int(self.spec.completions) - self.succeeded - len(self.lost)))
        # a work queue: one success ends the creation of more
        return min(parallel, len(self.active)) if self.succeeded else parallel

    # -- what to start -----------------------------------------------------------------------------------------------
    def to_start(self, backoff: Backoff, now: float) -> tuple[list[int | None], float]:
        """A completion index (None where there are none) for each pod to start; seconds until more may be (0: none).

        With backoffLimitPerIndex an index that failed waits alone: others start before it.
        """
        staying = [*self.active, *(self.leaving if waits_for_end(self.spec) else ())]
        missing = max(0, self.wanted - len(staying))
        per_index = self.spec.backoffLimitPerIndex is not None
        if missing and not per_index and (wait := backoff.left(now)) > 0:
            return [], wait
        if self.spec.completionMode != "Indexed":
            return [None] * missing, 0.0
        closed = self.done | self.lost | _indexes(staying, self.spec)
        free = [i for i in range(self.spec.completions or 0) if i not in closed]
        failures = self.last_failures() if per_index else {}
        waits = {i: wait for i in free if i in failures and (wait := of_index(failures[i]).left(now)) > 0}
        start = [i for i in free if i not in waits][:missing]
        return [*start], min(waits.values(), default=0.0) if len(start) < missing else 0.0

    def last_failures(self) -> dict[int, Pod]:
        """With backoffLimitPerIndex, by index: the failed pod that the next one of its index continues the count of.

        It keeps its finalizer until then, or the count would be lost with it.
        """
        if self.spec.backoffLimitPerIndex is None:
            return {}
        closed = self.done | self.lost | _indexes(self.active, self.spec)
        found: dict[int, Pod] = {}
        for pod in sorted(self.fresh_failed, key=lambda p: (failures_of(p), ended_at(p))):
            if (index := index_of(pod, self.spec)) is not None and index not in closed:
                found[index] = pod
        return found

    # -- the end -----------------------------------------------------------------------------------------------------
    def exceeded(self) -> Json | None:
        """The condition that ends the Job because too many pods failed, or were restarted too often."""
        if self.failed > self._limit() or self._restarted_too_often():
            return _end("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        return None

    def outcome(self) -> Json | None:
        """The condition that ends the Job by what its pods and indexes have come to."""
        total = self.spec.completions
        if self.spec.backoffLimitPerIndex is not None:
            most = self.spec.maxFailedIndexes
            if most is not None and len(self.lost) > most:
                text = "Job has exceeded the specified maximal number of failed indexes"
                return _end("Failed", "MaxFailedIndexesExceeded", text)
            if total is not None and self.lost and len(self.lost | self.done) >= total:
                return _end("Failed", "FailedIndexes", "Job has failed indexes")
        if (total is not None and self.succeeded >= total) or (total is None and self.succeeded and not self.active):
            return _end("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        return None

    def _limit(self) -> int:
        if self.spec.backoffLimit is not None:
            return int(self.spec.backoffLimit)
        return BACKOFF_LIMIT if self.spec.backoffLimitPerIndex is None else UNLIMITED

    def _restarted_too_often(self) -> bool:
        """With restartPolicy OnFailure, restarts count: init containers' too, and as many as the limit are too many."""
        if self.spec.template.spec.restartPolicy != "OnFailure":
            return False
        restarts = sum(_restarts(p) for p in self.pods if phase(p) in ("Pending", "Running"))
        return restarts >= max(1, self._limit())

    # -- counting ----------------------------------------------------------------------------------------------------
    def note(self, end: Json | None) -> tuple[Counted, list[Pod]]:
        """What the status is to say, and whose finalizer may be taken off when it says so.

        When the Job has failed, what is still running counts as failed; when it is complete, as nothing.
        """
        kept = [uid(p) for p in self.last_failures().values()] if end is None else []
        failed = [p for p in self.fresh_failed if uid(p) not in kept]
        if end is not None and end["type"] == "Failed":
            over = {uid(p) for p in (*self.fresh_succeeded, *failed)}
            failed += [p for p in self._running() if uid(p) not in over]
        succeeded = self.fresh_succeeded if self.spec.completionMode != "Indexed" else []
        counted = replace(self.counted.with_new(succeeded, failed), done=self.done, lost=self.lost)
        free = [p for p in self.pods if is_tracked(p) and (end is not None or self._is_over(p)) and uid(p) not in kept]
        return counted, free

    def _running(self) -> list[Pod]:
        tracked = [p for p in self.pods if is_tracked(p) and phase(p) != "Succeeded" and not self.counted.knows(p)]
        return [p for p in tracked if self.spec.completionMode != "Indexed" or index_of(p, self.spec) is not None]

    def _is_over(self, pod: Pod) -> bool:
        return phase(pod) == "Succeeded" or has_failed(pod, self.spec)


def _indexes(pods: Iterable[Pod], spec: Any) -> frozenset[int]:
    return frozenset(i for p in pods if (i := index_of(p, spec)) is not None)


def _end(kind: str, reason: str, message: str) -> Json:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def _restarts(pod: Pod) -> int:
    status = pod.status
    statuses = [*((status and status.initContainerStatuses) or ()), *((status and status.containerStatuses) or ())]
    return sum(s.restartCount or 0 for s in statuses)
