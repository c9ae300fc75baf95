"""Which rules are meant: by chain, by the line a tool printed, or by any part of it. Pure but for what it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...policy.enforcer import Enforcer
from ...policy.render import base_chains
from ...policy.table import Program
from ...proxy.nfttables import FIRST, where
from ...proxy.proxier import Proxier

IPTABLES = ("nat", "filter")
_APPENDED = re.compile(r"^(?:-t \w+ )?-[AI] (\S+)(?: (.*))?$")
_COUNTERS = re.compile(r"counter packets \d+ bytes \d+ |\[\d+:\d+\] ")


@dataclass(frozen=True)
class Written:
    """One rule, or one element of a map, as one of our agents wrote it."""

    node: str
    agent: str  # proxy, policy
    part: str  # a Service's namespace/name, a pod's, "base"
    table: str  # nat, filter; nftables: chain, map, set
    chain: str
    rule: str
    key: str = ""
    """Of an element: what it is looked up by."""
    within: str = ""
    """The further table of nftables' (kube-proxy-2, …) that it is in."""

    @property
    def place(self) -> str:
        return " ".join(filter(None, (self.table, self.within, self.chain)))


def of_proxy(node: str, proxier: Proxier) -> Iterator[Written]:
    """Every rule of kube-proxy's on a node."""
    for part, rules in proxier.parts().items():
        for (table, place), body in rules.chains.items():
            within, chain = _split(place)
            for rule in body or ("",):
                yield Written(node, "proxy", part, table, chain, rule, within=within)
        for first, second, third in rules.entries:
            if first in IPTABLES:
                yield Written(node, "proxy", part, first, second, third)
            else:
                within, name = _split(first)
                yield Written(node, "proxy", part, "map", name, f"{second} {third}".strip(), second, within)


def of_policies(node: str, enforcer: Enforcer, cidr: str) -> Iterator[Written]:
    """Every rule of the policy enforcer's on a node."""
    for chain, rules in base_chains(cidr).items():
        for rule in rules or ("",):
            yield Written(node, "policy", "base", "filter", chain, rule)
    for program in enforcer.programs():
        part = _pod(program)
        for chains in (program.chains, program.dispatch):
            for chain, rules in chains.items():
                for rule in rules:
                    yield Written(node, "policy", part, "filter", chain, rule)


def matching(asked: str, there: list[Written]) -> list[Written]:
    """A chain finds its rules and the jumps to it, a printed line itself, any other text what holds it."""
    text = _COUNTERS.sub("", " ".join(asked.split()))
    line = _APPENDED.match(text)
    if line:
        chain, rule = line[1], line[2] or ""
        return [w for w in there if w.chain == chain and rule in w.rule]
    if any(w.chain == text for w in there):
        leads = re.compile(rf"(?:-[jg]|goto|jump) {re.escape(text)}(?![\w/.-])")
        return [w for w in there if w.chain == text or leads.search(w.rule)]
    return [w for w in there if text in w.rule]


def _split(place: str) -> tuple[str, str]:
    table, name = where(place)
    return ("" if table == FIRST else table), name


def _pod(program: Program) -> str:
    return f"{program.pod.namespace}/{program.pod.name}"
