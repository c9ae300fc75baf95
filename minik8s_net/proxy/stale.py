"""UDP flows to where nobody is any more: conntrack would keep sending a client's datagrams there for minutes.

TCP needs none of this: a dead endpoint's connections end by themselves, and living ones must not be touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..kernel import conntrack
from .model import ServicePort

Ports = Mapping[str, Iterable[ServicePort]]


@dataclass(frozen=True)
class Flows:
    """UDP flows to `ip`:`port` that were sent on to `endpoint`. ip "": a node port; endpoint "": sent on to nobody."""

    ip: str
    port: int
    endpoint: str


def stale_flows(before: Ports, after: Ports) -> set[Flows]:
    """Flows to endpoints that went, and to addresses that had no endpoint (those bypassed the rules) and now have."""
    old, new = dict(_flows(before)), dict(_flows(after))
    found = set()
    for (ip, port), endpoints in old.items():
        found |= {Flows(ip, port, gone) for gone in endpoints - new.get((ip, port), set())}
    for (ip, port), endpoints in new.items():
        if endpoints and not old.get((ip, port)):
            found.add(Flows(ip, port, ""))
    return found


def _flows(ports: Ports) -> Iterator[tuple[tuple[str, int], set[str]]]:
    for p in (p for of in ports.values() for p in of if p.protocol == "udp"):
        endpoints = {e.ip for e in p.reachable}
        for ip in (p.cluster_ip, *p.external_ips, *p.load_balancer_ips):
            yield (ip, p.port), endpoints
        if p.node_port:
            yield ("", p.node_port), endpoints


def flush_stale(before: Ports, after: Ports) -> int:
    """In the node's namespace: delete them. How many there were."""
    return conntrack.delete_udp_flows((f.ip, f.port, f.endpoint) for f in stale_flows(before, after))
