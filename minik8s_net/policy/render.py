"""Policies as iptables rules: a pure function from what selects a pod to the text of its chains.

    FORWARD 1 ─► KUBE-NWPLCY ─► cut? ─► reply? ─► unknown pod? ─► KUBE-NWPLCY-OUT ─► KUBE-NWPLCY-IN ─► (go on)
    INPUT   1 ─► KUBE-NWPLCY-NODE ─► cut? ─► reply? ─► unknown pod? ─► KUBE-NWPLCY-OUT ─► (go on)
    OUTPUT  1 ─► KUBE-NWPLCY-CUT        the node reaches its own pods: only cut flows are stopped

`KUBE-NWPLCY-OUT` and `-IN` send a packet to the chain of its source's egress (`KUBE-PODOUT-…`) and its destination's
ingress (`KUBE-PODIN-…`), by address; both exist only for pods that a policy isolates in that direction. There a rule
that allows it RETURNs (never ACCEPT: KUBE-FORWARD and other chains still follow) and the last rule drops it. Because
they are entered by goto, RETURN leads straight back to `KUBE-NWPLCY`. The jumps stand first: KUBE-FORWARD accepts.

All after DNAT and before SNAT: rules see pods' own addresses, also behind a Service.
A chain's name has at most 28 characters.
"""

from __future__ import annotations

from collections.abc import Sequence

from .model import DIRECTIONS, Direction, PodFacts, Policy, PortMatch, Rule
from .sets import PODS, PeerSet, rule_set, short_hash

CUT_MARK = 0x100000  # bit of the connection mark: a flow that a policy now forbids
FORWARD, NODE, CUT, OUT, IN = (f"KUBE-NWPLCY{s}" for s in ("", "-NODE", "-CUT", "-OUT", "-IN"))
BASE_CHAINS = (CUT, OUT, IN, FORWARD, NODE)  # each before those that jump to it
JUMPS = (("FORWARD", FORWARD), ("INPUT", NODE), ("OUTPUT", CUT))
DISPATCH: dict[Direction, str] = {"Ingress": IN, "Egress": OUT}
_POD_PREFIX: dict[Direction, str] = {"Ingress": "KUBE-PODIN-", "Egress": "KUBE-PODOUT-"}
OWN_PREFIXES = ("KUBE-NWPLCY", *_POD_PREFIX.values())
_MAX_COMMENT = 255

Chains = dict[str, tuple[str, ...]]  # chain -> its rules, as after `-A CHAIN `


def comment(text: str) -> str:
    """A rule's comment, in the form iptables-save prints."""
    return f'-m comment --comment "{text[:_MAX_COMMENT]}"'


def jump_rule(target: str) -> str:
    """The rule that leads a pod's packets to its chain."""
    return f"{comment('network policies')} -j {target}"


def pod_chain(pod: PodFacts, direction: Direction) -> str:
    """The name of a pod's chain in one direction."""
    return _POD_PREFIX[direction] + short_hash(f"{pod.namespace}/{pod.name}")


def base_chains(pod_cidr: str) -> Chains:
    """The chains every node has. `KUBE-NWPLCY-IN` and `-OUT` start empty: see `dispatch_rules`."""
    passing = [
        f"-j {CUT}",
        f"{comment('replies pass')} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
    ]
    closed = comment("not (yet) a pod of this node: closed")
    unknown = {s: f"-{s[0]} {pod_cidr} {closed} -m set ! --match-set {PODS} {s} -j DROP" for s in ("src", "dst")}
    cut = f"{comment('established before a policy forbade it')} -m connmark --mark {CUT_MARK:#x}/{CUT_MARK:#x} -j DROP"
    return {
        CUT: (cut,),
        OUT: (),
        IN: (),
        FORWARD: (*passing, unknown["src"], unknown["dst"], f"-j {OUT}", f"-j {IN}"),
        NODE: (*passing, unknown["src"], f"-j {OUT}"),
    }


def dispatch_rules(pod: PodFacts, policies: Sequence[Policy]) -> Chains:
    """The one rule that leads to each of the pod's chains. A pod always reaches itself (through a Service)."""
    rules: Chains = {}
    for direction in DIRECTIONS:
        if any(p.rules(direction) is not None for p in policies):
            match = "! -s {0} -d {0}" if direction == "Ingress" else "-s {0} ! -d {0}"
            says = comment(f"{pod.namespace}/{pod.name}")
            target = pod_chain(pod, direction)
            rules[DISPATCH[direction]] = (f"{match.format(f'{pod.ip}/32')} {says} -g {target}",)
    return rules


def pod_chains(pod: PodFacts, policies: Sequence[Policy]) -> Chains:
    """The chains of one pod, in the directions in which one of the policies that select it isolates it."""
    chains: Chains = {}
    for direction in DIRECTIONS:
        isolating = [(p, rules) for p in policies if (rules := p.rules(direction)) is not None]
        if isolating:
            allowed = [text for _, rules in isolating for rule in rules for text in _rule(rule, direction, pod)]
            names = ", ".join(f"{p.namespace}/{p.name}" for p, _ in isolating)
            drop = f"{comment(f'{direction.lower()} allowed by none of {names}')} -j DROP"
            chains[pod_chain(pod, direction)] = (*dict.fromkeys(allowed), drop)
    return chains


def pod_sets(pod: PodFacts, policies: Sequence[Policy]) -> dict[str, PeerSet]:
    """The sets that the pod's chains match."""
    return {
        peer_set.name: peer_set
        for direction in DIRECTIONS
        for policy in policies
        for rule in policy.rules(direction) or ()
        for port in _resolved(rule, direction, pod)
        if (peer_set := rule_set(rule, direction, port))
    }


def _resolved(rule: Rule, direction: Direction, pod: PodFacts) -> list[PortMatch | None]:
    """The rule's ports for this pod: a named port of its own (ingress) becomes its number, or nothing."""
    resolved: list[PortMatch | None] = []
    for port in rule.ports or (None,):
        if port is None or port.name is None or direction == "Egress":
            resolved.append(port)
        elif (number := pod.port(port.name, port.protocol)) is not None:
            resolved.append(PortMatch(port.protocol, number, number))
    return resolved


def _rule(rule: Rule, direction: Direction, pod: PodFacts) -> list[str]:
    side = "src" if direction == "Ingress" else "dst"
    texts = []
    for port in _resolved(rule, direction, pod):
        peer_set = rule_set(rule, direction, port)
        words = [_port(port), comment(rule.label)]
        if peer_set is not None:
            words.append(f"-m set --match-set {peer_set.name} {side if peer_set.port is None else 'dst,dst'}")
        texts.append(" ".join(filter(None, [*words, "-j RETURN"])))
    return texts


def _port(port: PortMatch | None) -> str:
    if port is None:
        return ""
    protocol = port.protocol.lower()
    if port.first is None:
        return f"-p {protocol}"
    numbers = str(port.first) if port.first == port.last else f"{port.first}:{port.last}"
    return f"-p {protocol} -m {protocol} --dport {numbers}"
