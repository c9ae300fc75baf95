"""How long a Job waits after failed pods: 10, 20, 40 … 360 seconds from the last failure; a success ends it. Pure.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lightkube.resources.core_v1 import Pod

from .common import condition, epoch
from .job_tracking import failures_of

FIRST_DELAY, LAST_DELAY = 10.0, 360.0  # seconds


@dataclass(frozen=True)
class Backoff:
    """Failures since the last success, and when the last of them was."""

    failures: int = 0
    last: float = 0.0

    def after(self, succeeded: Iterable[Pod], failed: Iterable[Pod]) -> Backoff:
        """Pods that have ended since."""
        success = max((ended_at(p) for p in succeeded), default=None)
        ends = [ended_at(p) for p in failed]
        if success is not None:
            ends = [end for end in ends if end > success]
            return Backoff(len(ends), max(ends, default=0.0))
        return Backoff(self.failures + len(ends), max([self.last, *ends]))

    def left(self, now: float) -> float:
        """Seconds until the next pod may start."""
        if not self.failures:
            return 0.0
        delay: float = min(FIRST_DELAY * 2.0 ** min(self.failures - 1, 10), LAST_DELAY)
        return max(0.0, self.last + delay - now)


def of_index(pod: Pod) -> Backoff:
    """That of a completion index of which `pod` failed last: with backoffLimitPerIndex each has its own."""
    return Backoff(failures_of(pod) + 1, ended_at(pod))


def ended_at(pod: Pod) -> float:
    """When its last container ended; else when it ceased to be ready, was deleted, was made."""
    assert pod.metadata
    statuses = (pod.status.containerStatuses if pod.status else None) or ()
    ends = [s.state.terminated.finishedAt if s.state and s.state.terminated else None for s in statuses]
    if ends and all(ends):
        return max(map(epoch, ends))
    ready = condition(pod, "Ready")
    if ready is not None and ready.status == "False" and ready.lastTransitionTime:
        return epoch(ready.lastTransitionTime)
    if pod.metadata.deletionTimestamp:
        return epoch(pod.metadata.deletionTimestamp) - (pod.metadata.deletionGracePeriodSeconds or 0)
    return epoch(pod.metadata.creationTimestamp)
