"""The walk of one lookup along the search path: each name the resolver tried, and what it was told. Pure.

nameserver 10.96.0.10
search default.svc.cluster.local svc.cluster.local cluster.local, ndots:5
1  nosuch.default.svc.cluster.local.  A    NXDOMAIN  0.4 ms
2  nosuch.svc.cluster.local.          A    NXDOMAIN  0.3 ms
3  nosuch.cluster.local.              A    NXDOMAIN  0.3 ms
4  nosuch.                            A    NXDOMAIN  0.3 ms
Found nowhere, after 4 tries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

NONE = """Nodes and outside have no nameserver: ask from a pod. A pod gets one by its
dnsPolicy: ClusterFirst, or ClusterFirstWithHostNet on the host network."""
SILENT = """Do the servers run, and does a policy let the pod ask them?
kubectl -n kube-system get pods -l k8s-app=kube-dns; minik8s explain POD NAME"""
LOGS = "Why: kubectl -n kube-system logs -l k8s-app=kube-dns"


@dataclass(frozen=True)
class Try:
    """One question. `rcode` None: nobody answered, and `error` says why. `suffix`: what the search path added."""

    name: str
    type: str
    suffix: str
    server: str
    rcode: str | None
    answers: list[tuple[str, str]]  # (type, data)
    milliseconds: float
    error: str = ""

    @property
    def found(self) -> bool:
        """Whether there are records of this type: an alias that leads to none is no answer."""
        return any(kind == self.type or self.type == "ANY" for kind, _ in self.answers)

    @property
    def said(self) -> str:
        """NOERROR, NODATA (the name exists, without records of this type), NXDOMAIN … or what went wrong."""
        if self.rcode is None:
            return self.error or "no answer"
        return "NODATA" if self.rcode == "NOERROR" and not self.found else self.rcode


@dataclass(frozen=True)
class Walk:
    """All tries of one lookup, in order, and the resolv.conf they follow from."""

    servers: list[str]
    searches: list[str]
    ndots: int
    tries: list[Try]

    @property
    def found(self) -> bool:
        """Whether a try was answered with records of the type that was asked for."""
        return any(t.found for t in self.tries)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Walk:
        """What the verb "resolve" answers, or `to_dict` gave."""
        tries = [Try(**{**each, "answers": [tuple(a) for a in each["answers"]]}) for each in told["questions"]]
        return cls(list(told["servers"]), list(told["searches"]), int(told["ndots"]), tries)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        head = {"servers": self.servers, "searches": self.searches, "ndots": self.ndots}
        return {**head, "questions": [asdict(t) for t in self.tries]}

    def __str__(self) -> str:
        width = max((len(t.name) + 1 for t in self.tries), default=0)
        search = f"search {' '.join(self.searches)}, ndots:{self.ndots}" if self.searches else "no search path"
        asked = self.tries[-1].server if self.tries else "nobody"
        lines = [f"nameserver {' '.join(self.servers)}" if self.servers else f"no nameserver: {asked} is asked", search]
        several = len({t.server for t in self.tries}) > 1
        for number, t in enumerate(self.tries, 1):
            name, whom = f"{t.name.rstrip('.')}.", f"  at {t.server}" if several else ""
            lines.append(f"{number}  {name:{width}}  {t.type:4} {t.said:9} {t.milliseconds:.1f} ms{whom}")
            lines += [f"      {kind:5} {data}" for kind, data in t.answers]
        return "\n".join([*lines, self._moral()])

    def _moral(self) -> str:
        wrong = [t for t in self.tries if t.rcode is None]
        if self.found:
            late = (
                f"\nNobody answered at {wrong[0].server}: the next nameserver was asked, after a wait." if wrong else ""
            )
            return f"Found at try {len(self.tries)}.{late}"
        if wrong and not self.servers:
            return f"Nobody answered at {wrong[-1].server}, and so there are no names here.\n{NONE}"
        if wrong:
            return f"Nobody answered at {wrong[-1].server}.\n{SILENT}"
        if unknown := next((t for t in self.tries if t.rcode in ("SERVFAIL", "REFUSED")), None):
            return f"{unknown.server} could not find out ({unknown.rcode}).\n{LOGS}"
        return f"Found nowhere, after {len(self.tries)} {'tries' if len(self.tries) > 1 else 'try'}."
