"""NetworkPolicies, Pods and Namespaces as plain values: what is compiled once, matched often, and rendered.

`compile_policy` keeps the API's fine distinctions: a direction the policy does not speak of is `None`, a direction
with no rules (`ingress: []`, or missing while listed in policyTypes) is `()` and lets nobody in, a rule without peers
(`[{}]`) has `peers=None` and lets everybody in. Pure data; the sets the rules match on are in `sets.py`.
https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, collapse_addresses
from typing import Literal

from lightkube.models.meta_v1 import LabelSelector
from lightkube.models.networking_v1 import NetworkPolicyPeer, NetworkPolicyPort
from lightkube.resources.core_v1 import Pod
from lightkube.resources.networking_v1 import NetworkPolicy

Direction = Literal["Ingress", "Egress"]
DIRECTIONS: tuple[Direction, ...] = ("Ingress", "Egress")
Key = tuple[str, str]  # (namespace, name)
Labels = Mapping[str, str]


@dataclass(frozen=True)
class PodFacts:
    """What policies can see of a pod. `ports` are its named container ports: (name, protocol, number)."""

    namespace: str
    name: str
    uid: str
    node: str
    ip: str
    labels: Labels = field(hash=False)
    ports: tuple[tuple[str, str, int], ...] = ()

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)

    def port(self, name: str, protocol: str) -> int | None:
        return next((number for n, p, number in self.ports if (n, p) == (name, protocol)), None)


def pod_facts(pod: Pod) -> PodFacts | None:
    """None for what policies don't apply to: no address yet, ended (its address may be another's), or hostNetwork."""
    meta, spec, status = pod.metadata, pod.spec, pod.status
    if meta is None or spec is None or status is None or not status.podIP or spec.hostNetwork:
        return None
    if status.phase in ("Succeeded", "Failed") or not spec.nodeName:
        return None
    sidecars = [c for c in spec.initContainers or [] if c.restartPolicy == "Always"]
    ports = tuple(
        (p.name, p.protocol or "TCP", p.containerPort)
        for container in [*spec.containers, *sidecars]
        for p in container.ports or []
        if p.name
    )
    key = (meta.namespace or "", meta.name or "", meta.uid or "")
    return PodFacts(*key, node=spec.nodeName, ip=status.podIP, labels=meta.labels or {}, ports=ports)


@dataclass(frozen=True)
class Requirement:
    """`values` of In and NotIn; NotIn and DoesNotExist match an object that lacks the key."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Labels) -> bool:
        """Whether labels meet it; NotIn and DoesNotExist match a missing key."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
        raise ValueError(f'"{self.operator}" is not a valid label selector operator')


@dataclass(frozen=True)
class Selector:
    """All requirements hold; the empty selector matches everything."""

    requirements: frozenset[Requirement]

    def matches(self, labels: Labels) -> bool:
        """Whether labels meet all of it."""
        return all(r.matches(labels) for r in self.requirements)

    def __str__(self) -> str:
        """Canonical: equal selectors read the same, however they were written."""
        parts = (f"{r.key} {r.operator} {','.join(sorted(r.values))}" for r in self.requirements)
        return "{" + "; ".join(sorted(parts)) + "}"


def compile_selector(selector: LabelSelector | None) -> Selector:
    """matchLabels and matchExpressions as one list of requirements."""
    if selector is None:
        return Selector(frozenset())
    wanted = {Requirement(k, "In", frozenset([v])) for k, v in (selector.matchLabels or {}).items()}
    wanted |= {Requirement(e.key, e.operator, frozenset(e.values or [])) for e in selector.matchExpressions or []}
    return Selector(frozenset(wanted))


@dataclass(frozen=True)
class PodPeers:
    """Pods by selector, in one namespace (`namespace`) or in those that `namespaces` selects."""

    pods: Selector
    namespace: str | None = None
    namespaces: Selector | None = None

    def matches(self, pod: PodFacts, namespace_labels: Labels | None) -> bool:
        """`namespace_labels` of the pod's namespace; None if it is unknown, which no namespaceSelector matches."""
        if self.namespaces is None:
            return pod.namespace == self.namespace and self.pods.matches(pod.labels)
        return (
            namespace_labels is not None and self.namespaces.matches(namespace_labels) and self.pods.matches(pod.labels)
        )

    def __str__(self) -> str:
        where = f"namespace {self.namespace}" if self.namespaces is None else f"namespaces {self.namespaces}"
        return f"pods {self.pods} in {where}"


@dataclass(frozen=True)
class Peers:
    """One rule's `from` or `to`: pods, or addresses (its ipBlocks with `except` taken out), whichever matches."""

    pods: tuple[PodPeers, ...]
    blocks: tuple[IPv4Network, ...]

    def __str__(self) -> str:
        return " | ".join([*sorted(map(str, self.pods)), *map(str, self.blocks)])


@dataclass(frozen=True)
class PortMatch:
    """A protocol, and all of its ports (`first` None), a range (inclusive), or a name resolved per pod."""

    protocol: str
    first: int | None = None
    last: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Rule:
    """`peers` None: everyone. `ports` None: every port of every protocol. `label` is what comments call the rule."""

    label: str
    peers: Peers | None
    ports: tuple[PortMatch, ...] | None


@dataclass(frozen=True)
class Policy:
    """`rules[direction]` is None where the policy does not isolate in that direction."""

    namespace: str
    name: str
    selector: Selector
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        return self.ingress if direction == "Ingress" else self.egress

    def selects(self, pod: PodFacts) -> bool:
        return pod.namespace == self.namespace and self.selector.matches(pod.labels)


def compile_policy(policy: NetworkPolicy) -> Policy:
    """A NetworkPolicy with its defaults made plain."""
    assert policy.metadata is not None and policy.spec is not None
    namespace, name, spec = policy.metadata.namespace or "", policy.metadata.name or "", policy.spec
    types = spec.policyTypes or (["Ingress", "Egress"] if spec.egress else ["Ingress"])
    ingress = [(r.from_, r.ports) for r in spec.ingress or []]
    egress = [(r.to, r.ports) for r in spec.egress or []]

    def rules(direction: str, pairs: list[tuple[_Peers, _Ports]]) -> tuple[Rule, ...] | None:
        if direction not in types:
            return None
        label = f"{namespace}/{name} {direction.lower()}"
        return tuple(
            Rule(f"{label}[{i}]", _peers(peers, namespace), _ports(ports)) for i, (peers, ports) in enumerate(pairs)
        )

    selector = compile_selector(spec.podSelector)
    return Policy(namespace, name, selector, rules("Ingress", ingress), rules("Egress", egress))


_Peers = list[NetworkPolicyPeer] | None
_Ports = list[NetworkPolicyPort] | None


def _peers(peers: _Peers, namespace: str) -> Peers | None:
    if not peers:
        return None
    pods: set[PodPeers] = set()
    blocks: list[IPv4Network] = []
    for peer in peers:
        if peer.ipBlock is not None:
            blocks += block_networks(peer.ipBlock.cidr, peer.ipBlock.except_ or [])
        elif peer.namespaceSelector is not None:
            pods.add(PodPeers(compile_selector(peer.podSelector), None, compile_selector(peer.namespaceSelector)))
        else:
            pods.add(PodPeers(compile_selector(peer.podSelector), namespace))
    return Peers(tuple(sorted(pods, key=str)), tuple(collapse_addresses(blocks)))


def block_networks(cidr: str, excepts: list[str]) -> list[IPv4Network]:
    """The networks of `cidr` that are in none of `excepts`. IPv6 blocks are no addresses of an IPv4 cluster: []."""
    if ":" in cidr:
        return []
    left = [IPv4Network(cidr, strict=False)]
    for hole in (IPv4Network(e, strict=False) for e in excepts if ":" not in e):
        rest: list[IPv4Network] = []
        for network in left:
            if hole.subnet_of(network):
                rest += network.address_exclude(hole)
            elif not network.subnet_of(hole):
                rest.append(network)
        left = rest
    return left


def _ports(ports: _Ports) -> tuple[PortMatch, ...] | None:
    if not ports:
        return None
    matches: list[PortMatch] = []
    for port in ports:
        protocol = port.protocol or "TCP"
        if isinstance(port.port, str):
            matches.append(PortMatch(protocol, name=port.port))
        elif port.port is None:
            matches.append(PortMatch(protocol))
        else:
            matches.append(PortMatch(protocol, port.port, port.endPort or port.port))
    return tuple(dict.fromkeys(matches))
