"""Rules of Services and policies on one node: what differs from what was written, and putting it back.

Both agents know what they wrote; here the kernel is read again and compared. A student's own rules and chains beside
ours are not ours to mend, a rule of his inside one of our chains is an alteration of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..kernel import ipset, iptables, nft
from ..policy import apply, entry
from ..policy.render import BASE_CHAINS, DISPATCH, JUMPS, OWN_PREFIXES, jump_rule
from ..policy.sets import OWN_SETS, PODS
from ..policy.table import Group, SetContent, Steps, Table
from ..proxy.rules import Difference, Entry
from .drift import MISSING, Drift

if TYPE_CHECKING:
    from ..boot.live import Live
    from ..policy.enforcer import Enforcer

TABLES = ("nat", "filter")
SHOWN = 3  # differences named of one Service
Spared = Callable[[Drift], bool]


async def rule_drift(live: Live, node: str) -> list[Drift]:
    """Rules of kube-proxy and of the policy enforcer on a node."""
    agents = live.nodes.agents(node)
    found = [service_drift(node, part, d) for part, d in (await agents.proxier.differences()).items()]
    if agents.proxier.halted:
        found.append(Drift("proxy", node, "kube-proxy", "running", "stopped", f"Node {node}"))
    if (written := await agents.enforcer.written()) is not None:
        found += policy_drift(node, written, await agents.netns.run(look), agents.enforcer)
    return found


async def mend_rules(live: Live, node: str, spared: Spared) -> None:
    """Put back what is missing or altered, but for what is `spared`. A halted proxy mends nothing."""
    agents = live.nodes.agents(node)
    if not agents.proxier.halted:
        parts = await agents.proxier.differences()
        if todo := [d for part, d in parts.items() if not spared(service_drift(node, part, d))]:
            await agents.proxier.mend(todo)
    if (written := await agents.enforcer.written()) is not None:
        enforcer = agents.enforcer
        await enforcer.mend(lambda: _mend_policies(node, written, enforcer, spared))


# -- Services ----------------------------------------------------------------------------------------------------------
def service_drift(node: str, part: str, difference: Difference) -> Drift:
    """`part` as `Proxier.differences` names it."""
    what, whom = "rules of kube-proxy", f"Node {node}"
    if "/" in part:
        what, whom = f"service {part}", f"Service {part}"
    said = list(_said(difference))
    more = f" and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
    return Drift("proxy", node, what, "as written", "; ".join(said[:SHOWN]) + more, whom)


def _said(d: Difference) -> Iterator[str]:
    yield from (f"no {_entry_says(each)}" for each in d.add)
    for _, chain in d.write:
        yield f"chain {chain} altered or missing"
    yield from (f"too many: {_entry_says(each)}" for each in d.remove)
    for _, chain in d.delete:
        yield f"chain {chain} of no Service"


def _entry_says(line: Entry) -> str:
    """A rule of iptables in a shared chain, or an element of one of nftables' maps."""
    if line[0] in TABLES:
        return f"rule in {line[1]}: {line[2]}"
    return f"element in {line[0]}: {line[1]} {line[2]}".rstrip()


# -- policies ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Found:
    """What a node's kernel holds for policies."""

    chains: dict[str, list[str]]
    """Every chain of the filter table, rules as after `-A CHAIN `."""
    sets: dict[str, SetContent]
    ports: dict[str, str] | None
    """Address -> port at the bridge's entry; None if that table is not as it was made."""


def look() -> Found:
    """On the node's thread; changes nothing."""
    chains = {
        chain: [line.split(" ", 2)[2] for line in lines]
        for chain, lines in iptables.chains(iptables.save("filter")).items()
    }
    return Found(chains, apply.parse_sets(ipset.save()), _entry())


def _entry() -> dict[str, str] | None:
    """Address -> port, if the entry table still decides as it was made to."""
    if not nft.list_table(f"bridge {entry.TABLE}"):
        return None
    listed = nft.list_json(f"list table bridge {entry.TABLE}")
    hooks = [c["chain"] for c in listed if "chain" in c]
    rules = [r["rule"] for r in listed if "rule" in r]
    closed = any(c.get("policy") == "drop" and c.get("hook") == "prerouting" for c in hooks)
    accepts = [r for r in rules if len(r["expr"]) >= 2 and "accept" in r["expr"][-1]]
    intact = closed and len(rules) == len(accepts) == entry.RULES and any("set" in each for each in listed)
    return entry.parse(listed) if intact else None


def policy_drift(node: str, written: Table, found: Found, enforcer: Enforcer) -> list[Drift]:
    """Pure but for the enforcer's memory of whose chain is whose."""
    return [
        *_chain_drift(node, written, found, enforcer),
        *_set_drift(node, written, found),
        *_entry_drift(node, written, found),
    ]


def _chain_drift(node: str, written: Table, found: Found, enforcer: Enforcer) -> Iterator[Drift]:
    for chain, rules in written.chains.items():
        if _in_order(chain, now := found.chains.get(chain)) != _in_order(chain, list(rules)):
            pod = enforcer.pod_of(chain)
            said = MISSING if now is None else _chain_says(list(rules), now)
            whom = f"Pod {pod}" if pod else f"Node {node}"
            yield Drift("policy", node, f"chain {chain}", f"{len(rules)} rules", said, whom)
    for chain in found.chains:
        if chain.startswith(OWN_PREFIXES) and chain not in written.chains:
            yield Drift("policy", node, f"chain {chain}", "not there", "there", f"Node {node}")
    for chain, target in JUMPS:
        if found.chains.get(chain, [])[:1] != [jump_rule(target)]:
            yield Drift("policy", node, f"jump {chain}", f"first rule: -j {target}", "not first", f"Node {node}")


def _chain_says(wanted: list[str], now: list[str]) -> str:
    gone, new = [r for r in wanted if r not in now], [r for r in now if r not in wanted]
    said = [*(f"no rule: {r}" for r in gone), *(f"a rule too many: {r}" for r in new)]
    return "; ".join(said[:SHOWN]) or "another order"


def _in_order(chain: str, rules: list[str] | None) -> list[str] | None:
    """Dispatch rules are of different pods: their order means nothing."""
    return sorted(rules) if rules is not None and chain in DISPATCH.values() else rules


def _set_drift(node: str, written: Table, found: Found) -> Iterator[Drift]:
    wanted = {**written.sets, PODS: SetContent("hash:ip", frozenset(written.pods))}
    for name, content in wanted.items():
        now = found.sets.get(name)
        if now != content:
            lacks = sorted(content.members - now.members)[:SHOWN] if now else []
            extra = sorted(now.members - content.members)[:SHOWN] if now else []
            said = [*(f"no {m}" for m in lacks), *(f"{m} too many" for m in extra)]
            says = MISSING if now is None else ", ".join(said) or f"of type {now.type}"
            yield Drift("policy", node, f"set {name}", f"{len(content.members)} members", says, f"Node {node}")
    for name in found.sets:
        if name.startswith(OWN_SETS) and name not in wanted:
            yield Drift("policy", node, f"set {name}", "not there", "there", f"Node {node}")


def _entry_drift(node: str, written: Table, found: Found) -> Iterator[Drift]:
    if found.ports != written.pods:
        says = MISSING if found.ports is None else f"{len(found.ports)} pods"
        yield Drift("policy", node, "entry of pods", f"{len(written.pods)} pods", says, f"Node {node}")


def _mend_policies(node: str, written: Table, enforcer: Enforcer, spared: Spared) -> None:
    """On the node's thread. Altered chains are written whole: the order of rules is part of what they say."""
    found = look()
    wrong = {d.what for d in policy_drift(node, written, found, enforcer) if not spared(d)}
    todo = Steps()
    chains: list[Group] = []
    for chain, rules in sorted(written.chains.items(), key=lambda one: one[0] in BASE_CHAINS):  # before jumps to them
        if f"chain {chain}" in wrong:
            chains.append(Group(chain, tuple(rules)))
    stale = [c for c in found.chains if f"chain {c}" in wrong and c not in written.chains]
    todo.rules = [*chains, *(Group(c, ()) for c in stale), *(Group("", (f"-X {c}",)) for c in stale)]
    for name, content in {**written.sets, PODS: SetContent("hash:ip", frozenset(written.pods))}.items():
        if f"set {name}" in wrong:
            now = found.sets.get(name)
            if now is None:
                todo.create[name] = content.type
            have = now.members if now else frozenset()
            todo.add[name], todo.remove[name] = sorted(content.members - have), sorted(have - content.members)
    todo.destroy = [n for n in found.sets if f"set {n}" in wrong and n not in written.sets and n != PODS]
    if "entry of pods" in wrong:  # as a whole, in one transaction: nothing is open in between
        nft.run(entry.base() + entry.change("add", written.pods))
    apply.apply(todo)
    if any(what.startswith("jump ") for what in wrong):
        apply.ensure_jumps()
