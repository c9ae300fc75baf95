"""The ipsets a rule's peers become: which, under what stable name, and what each pod contributes.

A rule matches one set, however many peers it lists: 5000 cost a packet what 5 do. Equal peer lists share one set. The
name is a hash of the list's canonical text, so it stays over restarts and is the same on every node.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address

from .model import DIRECTIONS, Direction, Labels, Peers, PodFacts, Policy, PortMatch, Rule

PODS = "KUBE-PODS"  # the node's programmed pods: who is not in it neither sends nor receives
OWN_SETS = (PODS, "KUBE-NETS-", "KUBE-PORT-")


def short_hash(text: str) -> str:
    """16 characters of base32, as kube-proxy names its chains."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest())[:16].decode()


@dataclass(frozen=True)
class PeerSet:
    """The addresses of `peers` (hash:net), or with `port` their address and that named port's number (hash:ip,port).

    Only an egress rule with a named port needs the latter: there each destination resolves the name for itself.
    `peers` None stands for every pod of the cluster, since only pods have named ports.
    """

    peers: Peers | None
    port: PortMatch | None = None

    @functools.cached_property
    def name(self) -> str:
        """The ipset's name: the same members, the same name."""
        kind = "KUBE-NETS" if self.port is None else "KUBE-PORT"
        return f"{kind}-{short_hash(f'{self.peers} {self.port}')}"

    @property
    def type(self) -> str:
        """The ipset's type."""
        return "hash:net" if self.port is None else "hash:ip,port"

    def fixed(self) -> list[str]:
        """The ipBlocks' members. ipset knows no /0: everything is its two halves."""
        if self.port is not None or self.peers is None:
            return []
        halves = [h for n in self.peers.blocks for h in (n.subnets() if n.prefixlen == 0 else (n,))]
        return [str(n.network_address) if n.prefixlen == 32 else str(n) for n in halves]

    def member(self, pod: PodFacts, namespace_labels: Labels | None) -> str | None:
        """What this pod adds to the set, or None."""
        if self.port is None:
            chosen = self.peers is None or any(p.matches(pod, namespace_labels) for p in self.peers.pods)
            return pod.ip if chosen else None
        number = pod.port(self.port.name or "", self.port.protocol)
        if number is None or not (self.peers is None or self._has(pod, namespace_labels)):
            return None
        return f"{pod.ip},{self.port.protocol.lower()}:{number}"

    def _has(self, pod: PodFacts, namespace_labels: Labels | None) -> bool:
        assert self.peers is not None
        if any(p.matches(pod, namespace_labels) for p in self.peers.pods):
            return True
        address = IPv4Address(pod.ip)
        return any(address in block for block in self.peers.blocks)


@functools.lru_cache(8192)  # the same for every pod that the rule's policy selects: its name is hashed once
def rule_set(rule: Rule, direction: Direction, port: PortMatch | None) -> PeerSet | None:
    """The set that `rule` matches for one of its ports; None if it matches without one (everyone)."""
    if direction == "Egress" and port is not None and port.name is not None:
        return PeerSet(rule.peers, port)
    return None if rule.peers is None else PeerSet(rule.peers)


def sets_of(policy: Policy) -> dict[str, PeerSet]:
    """Every set the policy's rules match, by name."""
    found: dict[str, PeerSet] = {}
    for direction in DIRECTIONS:
        for rule in policy.rules(direction) or ():
            for port in rule.ports or (None,):
                if peer_set := rule_set(rule, direction, port):
                    found[peer_set.name] = peer_set
    return found
