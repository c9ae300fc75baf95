"""The table of what Services do to a packet: from whom, to where -> whom it reaches, as whom, or how it is refused.

Read twice: followed through the rendered text (test_walk.py), and measured in namespaces (test_measured.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minik8s_net.proxy.announce import ANNOUNCED_BY

from .objects import service, slice_of

A, B, C = "10.244.1.11", "10.244.2.22", "10.244.1.12"  # A and C on node-1, B on node-2
ON_A, ON_B, ON_C = (A, "node-1"), (B, "node-2"), (C, "node-1")
NODES = {"node-1": "172.18.1.1", "node-2": "172.18.1.2"}
OUTSIDE, EXTERNAL, BALANCED, BALANCED_LOCAL = "172.18.0.2", "172.18.99.1", "172.18.200.1", "172.18.200.2"
SERVER = 9000  # a port of the host outside, an endpoint that is no pod

WEB, NONE, NODE_PORT, LOCAL_PORT, NOBODY, INSIDE, BY_EXTERNAL, LB, LB_LOCAL, BOTH, MANUAL, STICKY, ALONE, DYING = (
    f"10.96.7.{n}" for n in range(1, 15)
)


def objects() -> list[Any]:
    udp = {"protocol": "UDP", "http": 5353}
    manual = slice_of("manual", (OUTSIDE, ""), http=SERVER)
    both_udp = slice_of("both", ON_B, dns=5353, protocol="UDP")
    both_udp.metadata.name = "both-2"  # type: ignore[union-attr]
    return [
        *(service("web", WEB), slice_of("web", ON_A, ON_B, ON_C)),
        *(service("none", NONE), slice_of("none", (A, "node-1", "notready"))),
        *(service("np", NODE_PORT, ("http", "TCP", 80, 30080), type="NodePort"), slice_of("np", ON_A, ON_B)),
        service("npl", LOCAL_PORT, ("http", "TCP", 80, 30081), type="NodePort", externalTrafficPolicy="Local"),
        slice_of("npl", ON_A),
        service("nobody", NOBODY, ("http", "TCP", 80, 30082), type="NodePort", externalTrafficPolicy="Local"),
        *(service("inside", INSIDE, internalTrafficPolicy="Local"), slice_of("inside", ON_A, ON_C)),
        *(service("ext", BY_EXTERNAL, externalIPs=[EXTERNAL]), slice_of("ext", ON_B)),
        _balanced("lb", LB, BALANCED, 30083, "node-1", loadBalancerSourceRanges=[f"{OUTSIDE}/32", "203.0.113.0/24"]),
        slice_of("lb", ON_A, ON_B),
        _balanced("lbl", LB_LOCAL, BALANCED_LOCAL, 30084, "node-2", externalTrafficPolicy="Local"),
        slice_of("lbl", ON_B),
        service("both", BOTH, ("http", "TCP", 53), ("dns", "UDP", 53)),
        *(slice_of("both", ON_A, http=8080), both_udp),
        *(service("manual", MANUAL), manual),
        *(service("sticky", STICKY, ("http", "UDP", 53), sessionAffinity="ClientIP"), slice_of("sticky", ON_A, **udp)),
        *(service("alone", ALONE), slice_of("alone", ON_A)),
        *(service("dying", DYING), slice_of("dying", (A, "node-1", "terminating"), (B, "node-2", "gone"))),
    ]


def _balanced(name: str, cluster_ip: str, ip: str, node_port: int, node: str, **spec: Any) -> Any:
    status = {"loadBalancer": {"ingress": [{"ip": ip}]}}
    port = ("http", "TCP", 80, node_port)
    return service(name, cluster_ip, port, type="LoadBalancer", status=status, annotations={ANNOUNCED_BY: node}, **spec)


@dataclass(frozen=True)
class Case:
    """`source` a pod's address, a node's name or "outside"; `node` whose rules decide; `ends` sum up to 1."""

    what: str
    source: str
    address: str
    port: int
    ends: dict[str, float]
    protocol: str = "tcp"
    node: str = "node-1"
    only: str = ""  # a mode; "": both

    def __str__(self) -> str:
        return self.what.replace(" ", "-")


def to(*endpoints: str, port: int = 8080, masqueraded: bool = False) -> dict[str, float]:
    return {f"{e}:{port}{' masqueraded' * masqueraded}": 1 / len(endpoints) for e in endpoints}


def mixed(*endpoints: tuple[str, int]) -> dict[str, float]:
    """Each with 1 where the source is translated: only the client itself, mostly."""
    return {f"{e}:8080{' masqueraded' * masqueraded}": 1 / len(endpoints) for e, masqueraded in endpoints}


REFUSED, DROPPED, UNTOUCHED = {"refused": 1.0}, {"dropped": 1.0}, {"untouched": 1.0}
CASES = [
    Case("pod to cluster IP", B, WEB, 80, mixed((A, 0), (B, 1), (C, 0)), node="node-2"),
    Case("hairpin", A, ALONE, 80, to(A, masqueraded=True)),
    Case("pod to its neighbour", C, ALONE, 80, to(A)),
    Case("node to cluster IP", "node-1", ALONE, 80, to(A, masqueraded=True)),
    Case("outside to cluster IP", "outside", ALONE, 80, to(A, masqueraded=True)),
    Case("no endpoints", C, NONE, 80, REFUSED),
    Case("no endpoints, from the node", "node-1", NONE, 80, REFUSED),
    Case("another port of a cluster IP", C, WEB, 81, UNTOUCHED, only="iptables"),
    Case("another port of a cluster IP, refused", C, WEB, 81, REFUSED, only="nftables"),
    Case("node port from outside", "outside", NODES["node-1"], 30080, to(A, B, masqueraded=True)),
    Case("node port from a pod", C, NODES["node-1"], 30080, to(A, B, masqueraded=True)),
    Case("node port on the node", "node-1", NODES["node-1"], 30080, to(A, B, masqueraded=True)),
    Case("node port on localhost", "node-1", "127.0.0.1", 30080, to(A, B, masqueraded=True), only="iptables"),
    Case("node port not given", "outside", NODES["node-1"], 30099, UNTOUCHED),
    Case("external Local keeps the client", "outside", NODES["node-1"], 30081, to(A)),
    Case("external Local, nobody here", "outside", NODES["node-2"], 30081, DROPPED, node="node-2"),
    Case("external Local, pods anywhere", B, NODES["node-2"], 30081, to(A), node="node-2"),
    Case("external Local, the node too", "node-2", NODES["node-2"], 30081, to(A, masqueraded=True), node="node-2"),
    Case("external Local, nobody anywhere", "outside", NODES["node-1"], 30082, REFUSED),
    Case("internal Local", A, INSIDE, 80, mixed((A, 1), (C, 0))),
    Case("internal Local, nobody here", B, INSIDE, 80, DROPPED, node="node-2"),
    Case("external IP", "outside", EXTERNAL, 80, to(B, masqueraded=True)),
    Case("external IP from a pod", C, EXTERNAL, 80, to(B, masqueraded=True)),
    Case("load balancer", "outside", BALANCED, 80, to(A, B, masqueraded=True)),
    Case("load balancer, source not allowed", C, BALANCED, 80, DROPPED),
    Case("load balancer's cluster IP", C, LB, 80, to(A, B)),
    Case("load balancer, Local", "outside", BALANCED_LOCAL, 80, to(B), node="node-2"),
    Case("load balancer, Local, from a pod", A, BALANCED_LOCAL, 80, to(B)),
    Case("one port, TCP", C, BOTH, 53, to(A)),
    Case("one port, UDP", C, BOTH, 53, to(B, port=5353), protocol="udp"),
    Case("an endpoint that is no pod", C, MANUAL, 80, to(OUTSIDE, port=SERVER)),
    Case("sticky", C, STICKY, 53, to(A, port=5353), protocol="udp"),
    Case("only a terminating one serves", C, DYING, 80, to(A)),
]
BY_MODE = [(mode, case) for mode in ("iptables", "nftables") for case in CASES if case.only in ("", mode)]
