"""The DNS explorer: a look-up as a pod's C library does it, one question after the other down the search path."""

from __future__ import annotations

from ...api.errors import is_not_found
from ...cluster import Cluster
from .base import Face, Json, twin

TYPES = ["A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "NS", "SOA"]


class Names(Face):
    """`Names(cluster, "client", "my-service")`."""

    VIEW = "names"

    def __init__(self, cluster: Cluster, pod: str | None = None, name: str = "kubernetes") -> None:
        self._cluster = cluster
        there = [p.metadata.name for p in twin(cluster).get("pods") if p.status and p.status.podIP]
        super().__init__(pods=there or ["(no pod runs)"], pod=pod or "", name=name, types=TYPES)

    def resolve(self, pod: str, name: str, type: str = "A") -> Json:
        """`{"resolver": …, "steps": [{name, type, suffix, said, found, when}]}`."""
        try:
            answer = twin(self._cluster).api.verb("resolve", source=pod, name=name, type=type)
        except Exception as error:
            if is_not_found(error) and "verb" in str(error):
                raise LookupError("only a cluster of ours can be asked from a pod's own namespace") from None
            raise
        search, ndots = " ".join(answer["searches"]) or "(none)", answer["ndots"]
        told = f"nameserver {' '.join(answer['servers']) or '(none)'}; search {search}; ndots {ndots}"
        return {"resolver": f"/etc/resolv.conf of {pod}: {told}", "steps": [_step(q) for q in answer["questions"]]}

    def on_resolve(self, asked: Json) -> Json:
        """The button."""
        return self.resolve(str(asked["pod"]), str(asked["name"]), str(asked["type"]))


def _step(question: Json) -> Json:
    if question["rcode"] is None:
        said = question["error"] or "no answer"
    elif question["answers"]:
        said = ", ".join(f"{kind} {value}" for kind, value in question["answers"])
    else:
        said = "the name exists, but has no such record" if question["rcode"] == "NOERROR" else question["rcode"]
    when = f"{question['milliseconds']:.1f} ms, asked of {question['server']}"
    kept = {key: question[key] for key in ("name", "type", "suffix")}
    return {**kept, "said": said, "found": bool(question["answers"]), "when": when}
