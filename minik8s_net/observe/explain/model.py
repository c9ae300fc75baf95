"""What an explanation says: plain data, the same in Python, JSON and the terminal."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from typing import Any

from ...drawn import Drawn

Json = dict[str, Any]

KINDS = (
    "pod-not-running", "name", "service-port", "selector", "no-endpoints", "readiness", "target-port", "listener",
    "traffic-policy", "policy-egress", "policy-ingress", "dns-policy", "dns-dead", "dns-slow", "proxy-stopped",
    "rule-missing", "route-missing", "wrong-gateway", "link-down", "node-lost", "partition", "forwarding-off", "mtu",
    "loss", "delay", "bandwidth", "drift", "no-way-out", "unknown",
)  # fmt: skip
"""What a cause may be. drift: the kernel differs from what was written, in another way. no-way-out: source or target
is no part of the cluster. unknown: the reasoning finds nothing, and yet the connection fails."""
DEGRADED = {"loss", "delay", "bandwidth", "mtu", "dns-slow"}
"""Beside these it works, but not as it should: a single packet may well be answered."""
FAULT = "if it was broken on purpose: minik8s fault clear"
"""For causes that `fault inject` can make: whether it did is not looked up."""


@dataclass(frozen=True)
class Step:
    """One question of the ladder. `ok` None: told, but no matter of right or wrong."""

    question: str
    ok: bool | None
    because: str
    object: str = ""
    """Whom it is about: "Service default/web"."""


@dataclass(frozen=True)
class Cause:
    """The one thing to mend first."""

    kind: str
    """One of KINDS."""
    object: str
    sentence: str
    mend: str
    """What to type, or to look at."""


@dataclass
class Explanation(Drawn):
    """`verdict`: reachable, degraded, or unreachable. `differences`: where the kernel did not do as reasoned."""

    source: str
    target: str
    verdict: str = "reachable"
    steps: list[Step] = field(default_factory=list)
    cause: Cause | None = None
    differences: list[str] = field(default_factory=list)

    def to_dict(self) -> Json:
        """Plain JSON; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> Explanation:
        """The inverse of to_dict."""
        steps, cause = [Step(**s) for s in data["steps"]], data["cause"] and Cause(**data["cause"])
        return cls(data["source"], data["target"], data["verdict"], steps, cause, list(data["differences"]))

    def __str__(self) -> str:
        lines = [f"{self.source} ─► {self.target}: {self.verdict}", ""]
        for step in self.steps:
            mark = {True: "✓", False: "✗", None: "·"}[step.ok]
            lines += _wrapped(f" {mark} {step.question} ", f"{step.because}")
        if self.cause:
            lines += ["", *_wrapped("Cause: ", f"{self.cause.sentence} ({self.cause.kind}, {self.cause.object})")]
            lines += _wrapped("Mend:  ", self.cause.mend)
        for difference in (d for d in self.differences if self.cause is None or d != self.cause.sentence):
            lines += _wrapped("But:   ", difference)
        return "\n".join(lines)


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(f"{head}{text}", 80, subsequent_indent="     ", break_on_hyphens=False)
