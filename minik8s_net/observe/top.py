"""Who talks how much: packets and bytes per pod, Service and policy rule, all from the kernel's counters.

pod       its veth's counters, since it was plugged in
Service   the flows sent to its addresses: those that live, and those that ended since the controller started
policy    the rules' counters: packets that were judged (of new connections; replies and the rest pass by conntrack)
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

from lightkube.resources.core_v1 import Service

from ..cni.wire import UPLINK
from ..kernel import accounting, iptables, sysctl
from ..kernel.accounting import ACCOUNTING, Ended, FlowCount
from ..kernel.netns import Netns

if TYPE_CHECKING:
    from ..boot.live import Live
    from ..boot.nodes import Agents

log = logging.getLogger(__name__)
Json = dict[str, Any]
Address = tuple[int, str, int]  # protocol, ip, port
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
FOLLOW_EVERY = 1.0  # seconds between looks which nodes there are
POLICY_CHAIN = re.compile(r"-A (KUBE-POD(?:IN|OUT)-[A-Z2-7]{16}) (.*)")
COMMENT = re.compile(r'--comment ("(?:[^"\\]|\\.)*"|\S+)')


@dataclass
class Sum:
    """To an address, and back from it."""

    packets: int = 0
    bytes: int = 0
    reply_packets: int = 0
    reply_bytes: int = 0

    def add(self, flow: FlowCount) -> None:
        self.packets += flow.packets
        self.bytes += flow.bytes
        self.reply_packets += flow.reply_packets
        self.reply_bytes += flow.reply_bytes


@dataclass
class Traffic:
    """What ended flows had carried, by the address they were sent to. One per controller."""

    ended: dict[Address, Sum] = field(default_factory=dict)
    overruns: int = 0
    """How often the kernel could not tell of all: the sums of Services are then too small."""

    async def run(self, live: Live) -> None:
        """Listen on every node until cancelled."""
        listening: dict[Netns, Ended] = {}
        while True:
            try:
                await self._follow(live, listening)
            except (OSError, RuntimeError):  # a node that is just being removed; the next look knows
                log.info("counting flows: a node could not be entered", exc_info=True)
            await asyncio.sleep(FOLLOW_EVERY)

    async def _follow(self, live: Live, listening: dict[Netns, Ended]) -> None:
        loop, nodes = asyncio.get_running_loop(), set(live.nodes.netns())
        for netns in listening.keys() - nodes:
            gone = listening.pop(netns)
            loop.remove_reader(gone)
            gone.close()
        for netns in nodes - listening.keys():
            ended = listening[netns] = await netns.run(_listen)
            loop.add_reader(ended, self._take, live, ended)

    def _take(self, live: Live, ended: Ended) -> None:
        flows, overrun = ended.take()
        self.overruns += overrun
        pods = IPv4Network(live.config.pod_cidr)
        for flow in flows:
            if flow.ip and IPv4Address(flow.ip) not in pods:  # a Service's address, or a node's: its port may be one
                self.ended.setdefault((flow.protocol, flow.ip, flow.port), Sum()).add(flow)


async def top(live: Live, asked: Json) -> Json:
    """The verb: {} -> {"pods": [...], "services": [...], "policies": [...]}."""
    pods: list[Json] = []
    rules: Counter[tuple[str, ...]] = Counter()
    flows: list[FlowCount] = []
    for name, agents in live.nodes.each():
        links, here, saved = await agents.netns.run(_look)
        flows += here
        pods += _pods(live, name, agents, links)
        for chain, rule, counts in _policy_rules(saved):
            pod = agents.enforcer.pod_of(chain)
            direction = "ingress" if chain.startswith("KUBE-PODIN") else "egress"
            rules[pod, direction, *_says(rule), "packets"] += counts[0]
            rules[pod, direction, *_says(rule), "bytes"] += counts[1]
    return {
        "pods": sorted(pods, key=lambda pod: (pod["namespace"], pod["name"])),
        "services": _services(live, flows),
        "policies": _policies(rules),
        "overruns": live.traffic.overruns,
    }


# -- on a node's thread ----------------------------------------------------------------------------------------------
def _listen() -> Ended:
    sysctl.ensure(ACCOUNTING, optional=True)
    return Ended()


def _look() -> tuple[dict[str, accounting.LinkCount], list[FlowCount], str]:
    return accounting.links(), accounting.flows(), iptables.save("filter", counters=True)


# -- putting it together ---------------------------------------------------------------------------------------------
def _pods(live: Live, node: str, agents: Agents, links: dict[str, accounting.LinkCount]) -> list[Json]:
    """A pod receives what its port on the bridge sends."""
    found = []
    for _, sandbox in agents.kubelet.wired():
        wiring = live.nodes.cni.wiring(agents.netns, sandbox.id)
        if wiring is None or (count := links.get(wiring.host_ifname)) is None:
            continue
        found.append({
            "namespace": sandbox.config.namespace, "name": sandbox.config.name, "node": node, "interface": UPLINK,
            "rxPackets": count.tx_packets, "rxBytes": count.tx_bytes,
            "txPackets": count.rx_packets, "txBytes": count.rx_bytes,
        })  # fmt: skip
    return found


def _services(live: Live, flows: list[FlowCount]) -> list[Json]:
    """Every port of every Service with an address; a flow is seen where it begins, so it counts once."""
    sums = {address: Sum(**vars(ended)) for address, ended in live.traffic.ended.items()}
    for flow in flows:
        sums.setdefault((flow.protocol, flow.ip, flow.port), Sum()).add(flow)
    nodes = [str(live.config.node_ip(live.nodes.agents(name).index)) for name in live.nodes.names()]
    found = []
    for service in live.client.list(Service):
        assert service.metadata and service.spec
        ips = [*(service.spec.clusterIPs or []), *(service.spec.externalIPs or []), *_balanced(service)]
        for port in service.spec.ports or []:
            protocol = PROTOCOLS.get(port.protocol or "TCP", 6)
            addresses = [(protocol, ip, port.port) for ip in ips]
            addresses += [(protocol, ip, port.nodePort) for ip in nodes if port.nodePort]
            total = Counter[str]()
            for address in addresses:
                total.update(vars(sums.get(address, Sum())))
            if ips and ips != ["None"]:
                found.append({
                    "namespace": service.metadata.namespace, "name": service.metadata.name,
                    "port": f"{port.port}/{port.protocol or 'TCP'}",
                    "packets": total["packets"], "bytes": total["bytes"],
                    "replyPackets": total["reply_packets"], "replyBytes": total["reply_bytes"],
                })  # fmt: skip
    return found


def _balanced(service: Service) -> list[str]:
    status = service.status.loadBalancer if service.status else None
    return [ingress.ip for ingress in (status.ingress if status else None) or [] if ingress.ip]


def _policy_rules(saved: str) -> list[tuple[str, str, tuple[int, int]]]:
    """(chain, rule, (packets, bytes)) of `iptables-save -c`."""
    found = []
    for line in saved.splitlines():
        counts, _, rule = line.partition("] ")
        if counts.startswith("[") and (match := POLICY_CHAIN.fullmatch(rule)):
            packets, _, octets = counts[1:].partition(":")
            found.append((match[1], match[2], (int(packets), int(octets))))
    return found


def _says(rule: str) -> tuple[str, str]:
    """(what the rule says of itself, what it does)."""
    comment = COMMENT.search(rule)
    return (comment[1].strip('"') if comment else rule), "drop" if rule.endswith("-j DROP") else "allow"


def _policies(rules: Counter[tuple[str, ...]]) -> list[Json]:
    names = dict.fromkeys(key[:-1] for key in rules)
    return [
        {
            "pod": pod, "direction": direction, "rule": rule, "verdict": verdict,
            "packets": rules[pod, direction, rule, verdict, "packets"],
            "bytes": rules[pod, direction, rule, verdict, "bytes"],
        }
        for pod, direction, rule, verdict in sorted(names)
    ]  # fmt: skip
