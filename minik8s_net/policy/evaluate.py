"""May this source reach that destination? The answer, with every policy and rule that was asked and what it said.

Written from the API's definition on the API's own objects, apart from the code that renders rules, so that the two can
be held against each other (tests/policy/test_agreement.py) and `explain` shows causes, not rules. Pure.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from lightkube.models.meta_v1 import LabelSelector
from lightkube.models.networking_v1 import NetworkPolicyPeer, NetworkPolicyPort
from lightkube.resources.networking_v1 import NetworkPolicy

from .model import DIRECTIONS, Direction, Labels, PodFacts


@dataclass(frozen=True)
class Endpoint:
    """One end of a connection, after Service translation. `pod` None: a node, a hostNetwork pod, or a stranger.

    `node` names the node if the address is a node's own.
    """

    ip: str
    pod: PodFacts | None = None
    node: str | None = None

    def __str__(self) -> str:
        return f"{self.pod.namespace}/{self.pod.name} ({self.ip})" if self.pod else self.node or self.ip


@dataclass(frozen=True)
class Finding:
    """What one policy, or one of its rules (`rule` e.g. `ingress[0]`), said. `why` in words, also when it matched."""

    policy: str
    rule: str
    matched: bool
    why: str

    def __str__(self) -> str:
        return f"{'✓' if self.matched else '✗'} {' '.join(filter(None, [self.policy, self.rule]))}: {self.why}"


@dataclass(frozen=True)
class DirectionVerdict:
    """One direction. Not isolated means that no policy selects the pod in it, and so everything may pass."""

    direction: Direction
    isolated: bool
    allowed: bool
    why: str
    findings: tuple[Finding, ...] = ()
    isolating: tuple[str, ...] = ()
    """The policies that select the pod in this direction."""


@dataclass(frozen=True)
class Verdict:
    """Allowed if both directions are. `str()` is the whole explanation, a line per finding."""

    source: Endpoint
    destination: Endpoint
    port: int
    protocol: str
    egress: DirectionVerdict
    ingress: DirectionVerdict

    @property
    def allowed(self) -> bool:
        """Whether both directions allow it."""
        return self.egress.allowed and self.ingress.allowed

    def __str__(self) -> str:
        word = "allowed" if self.allowed else "denied"
        lines = [f"{self.source} -> {self.destination} {self.protocol}/{self.port}: {word}"]
        for part in (self.egress, self.ingress):
            lines.append(f"  {part.direction.lower()}: {'allowed' if part.allowed else 'denied'}, {part.why}")
            lines += [f"    {finding}" for finding in part.findings]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Question:
    """`pod` is the policed end in `direction`, `peer` the other one."""

    direction: Direction
    pod: PodFacts
    peer: Endpoint
    destination: Endpoint
    port: int
    protocol: str
    namespaces: Mapping[str, Labels]


def evaluate(
    policies: Iterable[NetworkPolicy],
    namespaces: Mapping[str, Labels],
    source: Endpoint,
    destination: Endpoint,
    port: int,
    protocol: str = "TCP",
) -> Verdict:
    """The verdict on a new connection. `namespaces` are the labels of each; `port` is the destination pod's own."""
    policies = list(policies)
    verdicts = {}
    for direction in DIRECTIONS:
        own, peer = (destination, source) if direction == "Ingress" else (source, destination)
        if own.pod is None:
            verdicts[direction] = DirectionVerdict(direction, False, True, f"{own} is no pod")
        elif source.ip == destination.ip:
            verdicts[direction] = DirectionVerdict(direction, False, True, "a pod reaches itself")
        elif direction == "Ingress" and source.node is not None and source.node == own.pod.node:
            verdicts[direction] = DirectionVerdict(direction, False, True, "a node reaches its own pods")
        else:
            question = _Question(direction, own.pod, peer, destination, port, protocol, namespaces)
            verdicts[direction] = _ask_all(policies, question)
    return Verdict(source, destination, port, protocol, verdicts["Egress"], verdicts["Ingress"])


def _ask_all(policies: list[NetworkPolicy], question: _Question) -> DirectionVerdict:
    findings: list[Finding] = []
    isolating = []
    for policy in policies:
        assert policy.metadata is not None and policy.spec is not None
        name = f"{policy.metadata.namespace}/{policy.metadata.name}"
        if policy.metadata.namespace != question.pod.namespace:
            continue
        if question.direction not in policy_types(policy):
            findings.append(Finding(name, "", False, f"policyTypes does not list {question.direction}"))
        elif miss := mismatch(policy.spec.podSelector, question.pod.labels):
            findings.append(Finding(name, "", False, f"does not select {question.pod.name}: {miss}"))
        else:
            isolating.append(name)
            findings += _ask(name, policy, question)
    matched = [f"{f.policy} {f.rule}" for f in findings if f.matched]
    if matched:
        why = "by " + ", ".join(matched)
    elif isolating:
        why = f"isolated by {', '.join(isolating)}, and no rule matches"
    else:
        why = "no policy selects the pod"
    allowed = bool(matched) or not isolating
    return DirectionVerdict(question.direction, bool(isolating), allowed, why, tuple(findings), tuple(isolating))


def _ask(name: str, policy: NetworkPolicy, question: _Question) -> list[Finding]:
    """One finding for each rule of a policy that isolates the pod; one that says so if there are none."""
    assert policy.spec is not None
    field = question.direction.lower()
    if question.direction == "Ingress":
        rules = [(r.from_, r.ports) for r in policy.spec.ingress or []]
    else:
        rules = [(r.to, r.ports) for r in policy.spec.egress or []]
    if not rules:
        return [Finding(name, "", False, f"{field} has no rules: nothing is allowed")]
    findings = []
    for i, (peers, ports) in enumerate(rules):
        peer_hit, peer_why = _peers_say(peers or [], question)
        port_hit, port_why = _ports_say(ports or [], question)
        misses = [why for hit, why in ((peer_hit, peer_why), (port_hit, port_why)) if not hit]
        why = "; ".join(misses) or f"{peer_why}, {port_why}"
        findings.append(Finding(name, f"{field}[{i}]", not misses, why))
    return findings


def policy_types(policy: NetworkPolicy) -> list[str]:
    """`policyTypes`, or its default: Ingress always, Egress if there are egress rules."""
    assert policy.spec is not None
    if policy.spec.policyTypes:
        return policy.spec.policyTypes
    return ["Ingress", "Egress"] if policy.spec.egress else ["Ingress"]


# -- peers -----------------------------------------------------------------------------------------------------------
def _peers_say(peers: list[NetworkPolicyPeer], question: _Question) -> tuple[bool, str]:
    if not peers:
        return True, "any peer"
    field = "from" if question.direction == "Ingress" else "to"
    misses = []
    for i, peer in enumerate(peers):
        miss = _peer_miss(peer, question)
        if miss is None:
            return True, f"{field}[{i}] matches {question.peer}"
        misses.append(f"{field}[{i}]: {miss}")
    return False, "; ".join(misses)


def _peer_miss(peer: NetworkPolicyPeer, question: _Question) -> str | None:
    """Why the peer does not match; None if it does."""
    if peer.ipBlock is not None:
        return _block_miss(peer.ipBlock.cidr, peer.ipBlock.except_ or [], question.peer.ip)
    pod = question.peer.pod
    if pod is None:
        return f"{question.peer} is no pod"
    if peer.namespaceSelector is None:
        if pod.namespace != question.pod.namespace:
            return f"{pod.name} is in namespace {pod.namespace}, not {question.pod.namespace}"
    elif pod.namespace not in question.namespaces:
        return f"namespace {pod.namespace} does not exist"
    elif miss := mismatch(peer.namespaceSelector, question.namespaces[pod.namespace]):
        return f"namespace {pod.namespace}: {miss}"
    if peer.podSelector is not None and (miss := mismatch(peer.podSelector, pod.labels)):
        return f"pod {pod.name}: {miss}"
    return None


def _block_miss(cidr: str, excepts: list[str], ip: str) -> str | None:
    address = ip_address(ip)
    if address not in ip_network(cidr, strict=False):
        return f"{ip} is not in {cidr}"
    hole = next((e for e in excepts if address in ip_network(e, strict=False)), None)
    return f"{ip} is excepted by {hole}" if hole else None


def mismatch(selector: LabelSelector | None, labels: Labels) -> str | None:
    """The first requirement that `labels` fail, in words; None if they match."""
    if selector is None:
        return None
    for key, value in (selector.matchLabels or {}).items():
        if labels.get(key) != value:
            return f"wants {key}={value}, has {_has(key, labels)}"
    for e in selector.matchExpressions or []:
        present, listed = e.key in labels, labels.get(e.key) in (e.values or [])
        holds = {"In": present and listed, "NotIn": not (present and listed), "Exists": present}
        if not holds.get(e.operator, not present):
            values = f" ({', '.join(e.values)})" if e.values else ""
            return f"wants {e.key} {e.operator}{values}, has {_has(e.key, labels)}"
    return None


def _has(key: str, labels: Labels) -> str:
    return f"{key}={labels[key]}" if key in labels else f"no {key}"


# -- ports -----------------------------------------------------------------------------------------------------------
def _ports_say(ports: list[NetworkPolicyPort], question: _Question) -> tuple[bool, str]:
    if not ports:
        return True, "any port"
    misses = []
    for port in ports:
        protocol = port.protocol or "TCP"
        text = protocol if port.port is None else f"{protocol}/{port.port}"
        text += f"-{port.endPort}" if port.endPort else ""
        miss = None if protocol == question.protocol else "another protocol"
        if miss is None and isinstance(port.port, str):
            pod = question.destination.pod
            number = pod.port(port.port, protocol) if pod else None
            miss = "no such named port there" if number is None else None
            if number is not None and number != question.port:
                miss = f"that is port {number} there"
        elif miss is None and isinstance(port.port, int) and not _within(port, question.port):
            miss = "another port"
        if miss is None:
            return True, f"port {text} matches"
        misses.append(f"{text}: {miss}")
    return False, f"port {question.protocol}/{question.port} against " + "; ".join(misses)


def _within(port: NetworkPolicyPort, number: int) -> bool:
    assert isinstance(port.port, int)
    return port.port <= number <= (port.endPort or port.port)
