"""How a lab's check is written: what is expected, what was observed, and one hint.

    @check("the Service has endpoints", hint="compare the selector with the pods' labels")
    def endpoints(c: Cluster) -> Verdict:
        return Verdict(expected="2 addresses", observed=f"{n} addresses", ok=n == 2)

A check looks at cluster and kernel state only, may be asked any number of times, and leaves the cluster as it found it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..cluster import Cluster

SETTLE = 10.0  # seconds a check gives the cluster to follow the student's last change


@dataclass(frozen=True)
class Verdict:
    """What one look showed."""

    expected: str
    observed: str
    ok: bool


@dataclass(frozen=True)
class Check:
    """One step of a lab."""

    name: str
    hint: str
    look: Callable[[Cluster], Verdict]


@dataclass(frozen=True)
class Result:
    """A check and its last verdict."""

    name: str
    hint: str
    verdict: Verdict


def check(name: str, *, hint: str) -> Callable[[Callable[[Cluster], Verdict]], Check]:
    """Make a function a check. In a lab's `checks.py` they run in the order in which they stand."""
    return lambda look: Check(name, hint, look)


def run(checks: list[Check], cluster: Cluster, settle: float = SETTLE) -> list[Result]:
    """Run in order, up to and including the first that fails once the cluster had `settle` seconds to settle."""
    results = []
    for one in checks:
        verdict = _settled(one, cluster, settle)
        results.append(Result(one.name, one.hint, verdict))
        if not verdict.ok:
            break
    return results


def _settled(one: Check, cluster: Cluster, settle: float) -> Verdict:
    deadline = time.monotonic() + settle
    while True:
        try:
            verdict = one.look(cluster)
        except Exception as error:  # a missing object is an observation, not a crash
            verdict = Verdict("an answer", f"{error}", False)
        if verdict.ok or time.monotonic() > deadline:
            return verdict
        time.sleep(0.1)
