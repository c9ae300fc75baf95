"""What a trace says: plain data, the same in Python, in JSON, in the terminal and in a notebook's drawing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .difference import Difference

from ...drawn import Drawn

Json = dict[str, Any]

VERDICTS = ("delivered", "refused", "dropped", "no-answer", "error")
"""delivered: an answer came back. refused: somebody said no (RST, ICMP, NXDOMAIN). dropped: a rule of the kernel
dropped it. no-answer: nobody said anything, and no rule of ours did it. error: it could not be sent at all."""

LAYERS = (
    "name", "route", "interface", "bridge", "rule", "nat", "conntrack", "policy", "tunnel", "socket", "gap",
)  # fmt: skip
"""gap: evidence is missing here, and the trace says so rather than guess."""

IDLE = ", where nothing matched"
"""How `what` ends for a jump into chains that had nothing to say of the packet: pictures and texts may fold them."""


@dataclass(frozen=True)
class Station:
    """One thing the kernel said about the packet, in the order of the packet's way."""

    number: int
    direction: str
    """"out" on the way to the target, "back" for the answer."""
    place: str
    """The namespace: "default/client" (a pod), "node-1", "fabric", "outside"."""
    layer: str
    """One of LAYERS."""
    what: str
    """One line for people."""
    detail: str = ""
    """The evidence: the rule's text, the DNS answer, the conntrack entry …; may have several lines."""
    written_by: str = ""
    """The Kubernetes object a rule was written for: "Service default/web", "NetworkPolicy shop/deny", or ""."""
    before: str = ""
    """Where an address is translated: "address:port -> address:port" before …"""
    after: str = ""
    """… and after."""
    interface: str = ""
    at_ms: float | None = None
    """Milliseconds since the trace began, by the kernel's clock for packets; None where nothing was timed."""


@dataclass(frozen=True)
class Trace(Drawn):
    """One packet exchange. `str(trace)` is the text of `minik8s trace`."""

    source: str
    """"default/client", "outside" or "node-1"."""
    target: str
    """As it was asked for."""
    verdict: str
    """One of VERDICTS."""
    stations: list[Station] = field(default_factory=list)
    milliseconds: float = 0.0
    """From the first record to the last, set-up included: what the caller waited."""
    gaps: list[str] = field(default_factory=list)
    """What could not be seen, a sentence each; empty if the kernel's records join up."""
    because: str = ""
    """One sentence: where and why it ended so."""

    def to_dict(self) -> Json:
        """Plain JSON; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> Trace:
        """The inverse of to_dict; unknown keys of newer versions are left out."""
        stations = [Station(**_known(Station, s)) for s in data.get("stations", ())]
        return cls(**{**_known(cls, data), "stations": stations})

    @property
    def delivered(self) -> bool:
        """Whether an answer came back."""
        return self.verdict == "delivered"

    def beside(self, other: Trace) -> Difference:
        """Both side by side, the first difference marked: `print(works.beside(fails))`."""
        from .difference import compare

        return compare(self, other)

    def __str__(self) -> str:
        from .text import text

        return text(self)


def _known(cls: type, data: Json) -> Json:
    names = {f.name for f in fields(cls)}
    return {key: value for key, value in data.items() if key in names}
