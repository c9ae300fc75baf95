"""What is told of a rule: plain data, the same in Python, JSON and the terminal."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from typing import Any

from ...drawn import Drawn

Json = dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """The field of an object that a rule follows from: `spec.ports[0].port` of "Service default/web"."""

    kind: str
    namespace: str
    name: str
    field: str
    line: int | None = None
    """Of `kubectl get … -o yaml`, from 1; None until looked up, or where the field is a default."""
    text: str = ""
    """That line."""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Source:
    """The line of ours that made the rule's text: "minik8s_net/proxy/iptables.py", from 1, and the line itself."""

    file: str
    line: int
    code: str
    function: str


@dataclass(frozen=True)
class Told:
    """One rule (or element of a map or set), the same on all of `nodes`."""

    nodes: list[str]
    place: str
    """"nat KUBE-SERVICES"; nftables: "chain services", "map service-ips" or "map kube-proxy-2 service-ips"."""
    rule: str
    origins: list[Origin] = field(default_factory=list)
    """None for rules that serve every object."""
    source: Source | None = None


@dataclass
class RuleOrigins(Drawn):
    """All rules that were asked for."""

    asked: str
    told: list[Told] = field(default_factory=list)

    def to_dict(self) -> Json:
        """Plain JSON; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> RuleOrigins:
        """The inverse of to_dict."""
        return cls(data["asked"], [_told(each) for each in data["told"]])

    def __str__(self) -> str:
        lines: list[str] = []
        for told in self.told:
            lines += _wrapped(f"{told.place}  ", told.rule or "(the chain itself)", "    ")
            lines += _wrapped("  on      ", ", ".join(told.nodes), " " * 10)
            for origin in told.origins:
                lines += _wrapped("  for     ", f"{origin}: {origin.field}", " " * 10)
                if origin.line:
                    lines += _wrapped(f"  yaml    {origin.line}: ", origin.text.strip(), " " * 10)
            if not told.origins:
                lines.append("  for     every object: it is there before any Service or policy")
            if s := told.source:
                lines += _wrapped("  source  ", f"{s.file}:{s.line} in {s.function}()", " " * 10)
                lines += _wrapped(" " * 10, s.code, " " * 12)
            lines.append("")
        return "\n".join(lines).rstrip()


def _told(data: Json) -> Told:
    source = data["source"] and Source(**data["source"])
    return Told(**{**data, "origins": [Origin(**o) for o in data["origins"]], "source": source})


def _wrapped(head: str, text: str, indent: str) -> list[str]:
    return textwrap.wrap(f"{head}{text}", 80, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True)
