"""A Job's count of its finished pods, which outlives the pods. Pure.

Each pod of a Job has a finalizer, so that none can go unseen. A finished pod is counted by three writes, in this order:
its uid goes to status.uncountedTerminatedPods; its finalizer is taken off; its uid becomes one more in status.succeeded
or status.failed. A controller that dies between two of them leaves a state that tells the next one how far it came: a
uid whose pod has the finalizer is already noted, a uid whose pod has it no more (or is gone) is yet to be added. A
success of an Indexed Job needs no uid: its index stands in completedIndexes, once.
https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from lightkube.resources.core_v1 import Pod

from ..store.client import Json
from .common import is_finished, phase

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"


@dataclass(frozen=True)
class Counted:
    """What a Job's status says of its finished pods. The two `new_` are uids that are not in the numbers yet."""

    succeeded: int
    failed: int
    new_succeeded: tuple[str, ...]
    new_failed: tuple[str, ...]
    done: frozenset[int]  # completion indexes
    lost: frozenset[int]

    @classmethod
    def of(cls, job: Any) -> Counted:
        """As the status has it."""
        status = job.status
        new = status.uncountedTerminatedPods if status else None
        return cls(
            (status and status.succeeded) or 0,
            (status and status.failed) or 0,
            tuple((new and new.succeeded) or ()),
            tuple((new and new.failed) or ()),
            numbers((status and status.completedIndexes) or ""),
            numbers((status and status.failedIndexes) or ""),
        )

    def with_new(self, succeeded: Iterable[Pod], failed: Iterable[Pod]) -> Counted:
        """These pods noted too."""
        more = (tuple(uid(p) for p in pods) for pods in (succeeded, failed))
        return replace(self, new_succeeded=self.new_succeeded + next(more), new_failed=self.new_failed + next(more))

    def settled(self, held: Collection[str]) -> Counted:
        """The noted uids added to the numbers, but those whose pods are still `held` by the finalizer."""
        succeeded = tuple(u for u in self.new_succeeded if u in held)
        failed = tuple(u for u in self.new_failed if u in held)
        return replace(
            self,
            succeeded=self.succeeded + len(self.new_succeeded) - len(succeeded),
            failed=self.failed + len(self.new_failed) - len(failed),
            new_succeeded=succeeded,
            new_failed=failed,
        )

    def knows(self, pod: Pod) -> bool:
        """Whether it is noted."""
        return uid(pod) in self.new_succeeded or uid(pod) in self.new_failed

    def status(self, spec: Any) -> Json:
        """The fields of the Job's status, as a merge patch."""
        indexed = spec.completionMode == "Indexed"
        fields: Json = {
            "succeeded": (len(self.done) if indexed else self.succeeded) or None,
            "failed": self.failed or None,
            "uncountedTerminatedPods": {
                "succeeded": list(self.new_succeeded) or None,
                "failed": list(self.new_failed) or None,
            },
        }
        if indexed:
            fields["completedIndexes"] = ranges(self.done) or None
            if spec.backoffLimitPerIndex is not None:
                fields["failedIndexes"] = ranges(self.lost)
        return fields


def is_tracked(pod: Pod) -> bool:
    """Whether it has the finalizer: it is not counted yet."""
    return FINALIZER in ((pod.metadata.finalizers if pod.metadata else None) or ())


def has_failed(pod: Pod, spec: Any) -> bool:
    """A pod that is being deleted counts as failed, unless the Job waits for its end (podReplacementPolicy Failed)."""
    if phase(pod) == "Failed":
        return True
    return not waits_for_end(spec) and is_leaving(pod)


def is_leaving(pod: Pod) -> bool:
    """Being deleted, and not over yet."""
    return bool(pod.metadata and pod.metadata.deletionTimestamp) and not is_finished(pod)


def waits_for_end(spec: Any) -> bool:
    """Whether a pod is replaced only when it has ended."""
    return spec.podReplacementPolicy == "Failed" or spec.podFailurePolicy is not None


def index_of(pod: Pod, spec: Any) -> int | None:
    """The pod's completion index, None for none that the Job has."""
    text = _notes(pod).get(INDEX, "")
    number = int(text) if text.isdigit() else None
    return number if number is not None and number < (spec.completions or 0) else None


def failures_of(pod: Pod) -> int:
    """How many pods of the same index failed before this one."""
    text = _notes(pod).get(FAILURES, "")
    return int(text) if text.isdigit() else 0


def uid(pod: Pod) -> str:
    """The pod's uid."""
    return (pod.metadata.uid if pod.metadata else "") or ""


def ranges(numbers: Iterable[int]) -> str:
    """{1, 3, 4, 5, 7} -> `1,3-5,7`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" if b > a + 1 else f"{a},{b}" for a, b in runs)


def numbers(text: str) -> frozenset[int]:
    """The reverse of `ranges`. What is no range is left out."""
    found: set[int] = set()
    for part in text.split(","):
        begin, _, end = part.partition("-")
        if begin.isdigit() and (end or begin).isdigit():
            found.update(range(int(begin), int(end or begin) + 1))
    return frozenset(found)


def _notes(pod: Pod) -> dict[str, str]:
    return (pod.metadata.annotations if pod.metadata else None) or {}
