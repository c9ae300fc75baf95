"""What can be broken on purpose, what a pod then sees, and what there is to learn. Pure data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """`kind` is node, pod, service, endpoint (node or pod), number; a default is chosen where nothing is given."""

    name: str
    kind: str
    help: str
    default: float | None = None


@dataclass(frozen=True)
class Fault:
    """One way to break a cluster."""

    name: str
    title: str
    lesson: str
    """One line: what it teaches."""
    symptom: str
    """What is seen from a pod."""
    cause: str
    """The kind by which `explain` names it (observe/explain/model.py)."""
    parameters: tuple[Parameter, ...] = ()

    def to_dict(self) -> Json:
        """Plain JSON."""
        return asdict(self)


NODE = Parameter("node", "node", "on which node (default: the last)")
POD = Parameter("pod", "pod", "NAMESPACE/NAME of a pod (default: the first)")
SERVICE = Parameter("service", "service", "NAMESPACE/NAME of a Service (default: the first)")
EITHER = Parameter("at", "endpoint", "a node or a pod NAMESPACE/NAME (default: the last node)")
PEER = Parameter("peer", "node", "the node on the other side (default: the first other one)")

CATALOGUE: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            "link-down",
            "a cable is pulled",
            "An interface may be configured and still have no carrier: `ip link` says NO-CARRIER.",
            "nothing reaches the place behind that link, and nothing comes from it; no error, only silence",
            "link-down",
            (EITHER,),
        ),
        Fault(
            "node-lost",
            "a node is gone",
            "A node that is silent for 40 s is NotReady; its pods stay in the list, and nobody answers there.",
            "pods on that node do not answer; Services still send to them until the node is given up",
            "node-lost",
            (NODE,),
        ),
        Fault(
            "partition",
            "two nodes do not see each other",
            "Both sides are healthy and Ready: what is broken lies between them.",
            "pods of one node do not reach those of the other; everything else works",
            "partition",
            (NODE, PEER),
        ),
        Fault(
            "loss",
            "packets get lost",
            "TCP hides loss as slowness: look at ping and at retransmissions.",
            "ping loses packets; connections work, slowly",
            "loss",
            (EITHER, Parameter("percent", "number", "how many of a hundred packets", 30)),
        ),
        Fault(
            "delay",
            "packets come late",
            "A round trip pays for every hop twice; a name with five search domains pays ten times.",
            "everything works, but each round trip takes that much longer",
            "delay",
            (NODE, Parameter("milliseconds", "number", "one way", 100)),
        ),
        Fault(
            "bandwidth",
            "the wire is thin",
            "Small requests are as quick as ever: latency and bandwidth are different things.",
            "small answers come at once, large ones crawl",
            "bandwidth",
            (EITHER, Parameter("kbytes", "number", "kilobytes a second", 100)),
        ),
        Fault(
            "mtu",
            "MTU mismatch",
            "Small packets pass, full ones vanish without a word: a black hole. Try `ping -s 1400 -M do`.",
            "ping and small requests work, large answers from other nodes hang",
            "mtu",
            (NODE, Parameter("bytes", "number", "what the wire takes", 1300)),
        ),
        Fault(
            "dns-dead",
            "DNS is dead",
            "Most outages that look like the network are names: try the address.",
            "no name is resolved; addresses work",
            "dns-dead",
        ),
        Fault(
            "dns-slow",
            "DNS is slow",
            "`ndots:5` asks up to six questions for one name: a slow server is slow six times.",
            "names take long, addresses are quick",
            "dns-slow",
            (Parameter("milliseconds", "number", "how long the server sleeps at a time", 700),),
        ),
        Fault(
            "proxy-stopped",
            "kube-proxy has stopped on a node",
            "Rules that stand go on working: what is new or has changed is not known on that node.",
            "a Service that is new or whose pods changed does not answer from pods of that node",
            "proxy-stopped",
            (NODE,),
        ),
        Fault(
            "forwarding-off",
            "IP forwarding is off on a node",
            "A Linux host routes for others only if net.ipv4.ip_forward is 1.",
            "pods of that node reach their neighbours, and nobody on other nodes",
            "forwarding-off",
            (NODE,),
        ),
        Fault(
            "missing-route",
            "a route is missing",
            "Each node needs a route to every other node's pod range: `ip route`.",
            "pods of that node do not reach the pods of the other node",
            "route-missing",
            (NODE, PEER),
        ),
        Fault(
            "wrong-gateway",
            "a pod has a wrong default gateway",
            "The default route must lead to the node's bridge, 10.244.N.1.",
            "that pod reaches pods of its own node, and nothing else",
            "wrong-gateway",
            (POD,),
        ),
        Fault(
            "rule-missing",
            "a rule of a Service is deleted on a node",
            "A Service is nothing but rules on every node: `iptables-save -t nat | grep KUBE-SERVICES`.",
            "the Service's address does not answer from pods of that node; its pods do",
            "rule-missing",
            (SERVICE, NODE),
        ),
        Fault(
            "selector-typo",
            "a Service selects nothing",
            "A Service without endpoints refuses: compare its selector with the pods' labels.",
            "the Service's address refuses connections; its pods answer",
            "selector",
            (SERVICE,),
        ),
        Fault(
            "wrong-target-port",
            "a Service sends to the wrong port",
            "`port` is the Service's, `targetPort` is the container's.",
            "the Service's address refuses connections, though it has endpoints; its pods answer",
            "target-port",
            (SERVICE,),
        ),
    )
}
