"""How far a Job is, whether it has ended, and which pods to start next. Pure.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
https://kubernetes.io/docs/concepts/workloads/controllers/job/#handling-pod-and-container-failures
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lightkube.resources.core_v1 import Pod

from ..store.client import Json
from .common import epoch, is_active, phase

INDEX = "batch.kubernetes.io/job-completion-index"
FIRST_DELAY, LAST_DELAY = 10.0, 360.0  # seconds between failed pods
BACKOFF_LIMIT = 6
UNLIMITED = 2**31 - 1


@dataclass(frozen=True)
class Tally:
    """A Job's pods, counted. `done` and `lost` are completion indexes (of an Indexed Job)."""

    spec: Any
    active: list[Pod]
    failures: list[Pod]
    succeeded: int
    done: frozenset[int]
    lost: frozenset[int]

    @classmethod
    def of(cls, job: Any, pods: list[Pod]) -> Tally:
        """Count a Job's pods."""
        succeeded = [p for p in pods if phase(p) == "Succeeded"]
        failures = [p for p in pods if phase(p) == "Failed"]
        done = frozenset(int(s) for p in succeeded if (s := slot_of(p)))
        per_index = job.spec.backoffLimitPerIndex
        tries = Counter(slot_of(p) for p in failures)
        lost = {int(s) for s, n in tries.items() if s and per_index is not None and n > per_index} - done
        indexed = job.spec.completionMode == "Indexed"
        count = len(done) if indexed else len(succeeded)
        return cls(job.spec, [p for p in pods if is_active(p)], failures, count, done, frozenset(lost))

    @property
    def indexed(self) -> bool:
        return bool(self.spec.completionMode == "Indexed")

    @property
    def wanted(self) -> int:
        """How many pods may be active now."""
        parallel = 1 if self.spec.parallelism is None else int(self.spec.parallelism)
        if self.spec.completions is not None:
            return min(parallel, max(0, int(self.spec.completions) - self.succeeded - len(self.lost)))
        # a work queue: one success ends the creation of more
        return min(parallel, len(self.active)) if self.succeeded else parallel

    def to_start(self) -> list[str]:
        """A completion index ("" where they have none) for each pod to start."""
        missing = max(0, self.wanted - len(self.active))
        if not self.indexed:
            return [""] * missing
        taken = {slot_of(p) for p in self.active}
        gone = self.done | self.lost
        free = [i for i in range(self.spec.completions or 0) if i not in gone and str(i) not in taken]
        return [str(i) for i in free[:missing]]

    def verdict(self) -> Json | None:
        """The condition that ends the Job by what its pods did, if it has ended."""
        total = self.spec.completions
        if (total is not None and self.succeeded >= total) or (total is None and self.succeeded and not self.active):
            text = "Reached expected number of succeeded pods"
            return _end("Complete", "CompletionsReached", text)
        if self.spec.backoffLimitPerIndex is not None:
            most = self.spec.maxFailedIndexes
            if most is not None and len(self.lost) > most:
                return _end(
                    "Failed",
                    "MaxFailedIndexesExceeded",
                    "Job has exceeded the specified maximal number of failed indexes",
                )
            if total is not None and self.lost and len(self.lost) + self.succeeded >= total and not self.active:
                return _end("Failed", "FailedIndexes", "Job has failed indexes")
        failed = len(self.failures) + sum(_restarts(p) for p in self.active)
        if failed > self._limit():
            return _end("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        return None

    def delay(self, now: float) -> float:
        """Seconds until the next try, counted from the last failure: 10, 20, 40 … 360."""
        if not self.failures:
            return 0.0
        ends: list[float] = [
            epoch(s.state.terminated.finishedAt)
            for p in self.failures
            for s in (p.status.containerStatuses if p.status else None) or ()
            if s.state and s.state.terminated
        ]
        delay: float = min(FIRST_DELAY * 2.0 ** min(len(self.failures) - 1, 10), LAST_DELAY)
        last: float = max(ends, default=0.0)
        return last + delay - now

    def _limit(self) -> int:
        if self.spec.backoffLimit is not None:
            return int(self.spec.backoffLimit)
        return BACKOFF_LIMIT if self.spec.backoffLimitPerIndex is None else UNLIMITED


def slot_of(pod: Pod) -> str:
    """The pod's completion index, "" for none."""
    notes: dict[str, str] = (pod.metadata.annotations if pod.metadata else None) or {}
    return notes.get(INDEX, "")


def ranges(numbers: Iterable[int]) -> str:
    """{1, 3, 4, 5, 7} -> `1,3-5,7`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" if b > a + 1 else f"{a},{b}" for a, b in runs)


def _end(kind: str, reason: str, message: str) -> Json:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def _restarts(pod: Pod) -> int:
    return sum(s.restartCount or 0 for s in (pod.status.containerStatuses if pod.status else None) or ())
