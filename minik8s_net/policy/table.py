"""What a node's kernel holds for policies, as one value, and the difference between two of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .model import PodFacts, Policy
from .render import BASE_CHAINS, Chains, base_chains, dispatch_rules, pod_chains, pod_sets
from .sets import PeerSet


@dataclass(frozen=True)
class SetContent:
    type: str
    members: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Program:
    """One pod's part: its chains, the rules that lead to them, and the sets they match."""

    pod: PodFacts
    chains: Chains
    dispatch: Chains
    sets: dict[str, PeerSet]

    @classmethod
    def of(cls, pod: PodFacts, policies: list[Policy]) -> Program:
        return cls(pod, pod_chains(pod, policies), dispatch_rules(pod, policies), pod_sets(pod, policies))


@dataclass
class Table:
    """`chains` with their rules, `sets` with their members, `pods`: address -> the bridge port it may speak from."""

    chains: Chains = field(default_factory=dict)
    sets: dict[str, SetContent] = field(default_factory=dict)
    pods: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, programs: Iterable[Program], sets: dict[str, SetContent], pods: dict[str, str], cidr: str) -> Table:
        chains = base_chains(cidr)
        shared: dict[str, list[str]] = {}
        for program in programs:
            chains.update(program.chains)
            for chain, rules in program.dispatch.items():
                shared.setdefault(chain, []).extend(rules)
        chains.update({chain: tuple(rules) for chain, rules in shared.items()})
        return cls(chains, sets, pods)


@dataclass(frozen=True)
class Group:
    """Lines that change together: all the rules of `chain`, or (chain "") a command by itself."""

    chain: str
    rules: tuple[str, ...]

    def lines(self, limit: int | None) -> list[list[str]]:
        """More than `limit` in several pieces: first the chain with its last rule only (closed), then the others."""
        if not self.chain:
            return [list(self.rules)]
        whole = [f":{self.chain} - [0:0]", *(f"-A {self.chain} {rule}" for rule in self.rules)]
        if limit is None or len(whole) <= limit:
            return [whole]
        rest = [f"-I {self.chain} {i} {rule}" for i, rule in enumerate(self.rules[:-1], 1)]
        return [[whole[0], whole[-1]], *(rest[i : i + limit] for i in range(0, len(rest), limit))]


@dataclass
class Steps:
    """In this order nothing is open in between: who leaves is closed first, who comes is let in last."""

    close: dict[str, str] = field(default_factory=dict)
    create: dict[str, str] = field(default_factory=dict)  # set -> type
    add: dict[str, list[str]] = field(default_factory=dict)
    rules: list[Group] = field(default_factory=list)
    remove: dict[str, list[str]] = field(default_factory=dict)
    destroy: list[str] = field(default_factory=list)
    open: dict[str, str] = field(default_factory=dict)


def steps(old: Table, new: Table) -> Steps:
    """What makes a kernel that holds `old` hold `new`."""
    todo = Steps(rules=_rules(old.chains, new.chains))
    todo.close = {ip: port for ip, port in old.pods.items() if new.pods.get(ip) != port}
    todo.open = {ip: port for ip, port in new.pods.items() if old.pods.get(ip) != port}
    for name, content in new.sets.items():
        before = old.sets.get(name)
        if before is None or before.type != content.type:
            todo.create[name] = content.type
            before = SetContent(content.type)
        if before.members is not content.members:
            if added := content.members - before.members:
                todo.add[name] = sorted(added)
            if removed := before.members - content.members:
                todo.remove[name] = sorted(removed)
    todo.destroy = [name for name in old.sets if name not in new.sets]
    return todo


def _rules(old: Chains, new: Chains) -> list[Group]:
    """A pod's chain whose rules changed is rewritten; the shared ones change by the rule. Chains before jumps."""
    chains: list[Group] = []
    rules: list[Group] = []
    for chain, wanted in new.items():
        before = old.get(chain)
        if before == wanted:
            continue
        if before is None or chain not in BASE_CHAINS:
            base = chain in BASE_CHAINS
            (rules if base else chains).append(Group(chain, tuple(wanted)))
        else:
            had, has = set(before), set(wanted)
            rules += [Group("", (f"-A {chain} {r}",)) for r in wanted if r not in had]
            rules += [Group("", (f"-D {chain} {r}",)) for r in before if r not in has]
    dead = [chain for chain in old if chain not in new]
    return [*chains, *rules, *(Group(chain, ()) for chain in dead), *(Group("", (f"-X {c}",)) for c in dead)]


def pieces(groups: list[Group], limit: int | None) -> list[str]:
    """What iptables-restore --noflush reads, in transactions of at most `limit` lines (None: one)."""
    found: list[list[str]] = []
    room = 0
    for group in groups:
        for lines in group.lines(limit):
            if not found or (limit is not None and len(lines) > room):
                found.append([])
                room = limit or 0
            found[-1] += lines
            room -= len(lines)
    return ["\n".join(["*filter", *lines, "COMMIT", ""]) for lines in found]
