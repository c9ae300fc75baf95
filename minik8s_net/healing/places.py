"""What every namespace of the cluster should hold, as values: fabric, outside, nodes and pods.

Built from the same pure functions that the wiring itself is made from, so the two cannot disagree. Costs no system
call; `wiring` compares it with the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lightkube.resources.core_v1 import Service

from ..cni.fabric import NO_FIREWALL, OUTSIDE_PORT, fabric_wiring, ways_to_pods
from ..cni.node import NODE_SYSCTLS, node_wiring
from ..cni.peers import peer_wiring
from ..cni.pod import POD_SYSCTLS, PodAddress, node_side, pod_side
from ..cni.wire import FABRIC_BRIDGE, NO_IPV6, UPLINK, fabric_port, host_sysctls, mac_of, uplink
from ..kernel.ensure import Wanted
from ..kernel.netns import Netns
from ..kernel.rtnetlink import Address, Neighbour
from ..proxy.announce import announced_addresses
from ..runtime.cri import Sandbox

if TYPE_CHECKING:
    from ..boot.live import Live
    from ..boot.nodes import Agents


@dataclass(frozen=True)
class Pod:
    """A pod's place: its sandbox, and the wiring that follows from its address."""

    sandbox: Sandbox
    node: str
    address: PodAddress


@dataclass(frozen=True)
class Place:
    """One namespace. `netns` is whose thread does the work: the namespace itself, or a pod's node."""

    name: str
    netns: Netns
    wanted: Wanted
    sysctls: dict[str, int]
    """Those that a kernel may lack are passed over where they are missing."""
    pod: Pod | None = None
    ports: dict[str, Pod] = field(default_factory=dict)
    """Of a node: its bridge ports, and whose they are."""

    @property
    def object(self) -> str:
        """Whom it concerns, for drift and events."""
        return f"Pod {self.name}" if self.pod else f"Node {self.name}" if self.name.startswith("node-") else ""

    @property
    def goes_with(self) -> str:
        """The node whose removal takes it along; fabric and outside are their own."""
        return self.pod.node if self.pod else self.name


def places(live: Live) -> Iterator[Place]:
    """Every place of the cluster, the wire first, pods last. Taken with pauses, the last may be out of date."""
    nodes = {name: live.nodes.agents(name) for name in live.nodes.names()}
    indexes = sorted(agents.index for agents in nodes.values())
    yield _fabric(live, indexes)
    yield _outside(live, indexes)
    pods = {}
    for name, agents in nodes.items():
        pods[name] = _pods(live, agents)
        yield _node(live, name, agents, [i for i in indexes if i != agents.index], pods[name])
    for name, agents in nodes.items():
        for pod in pods[name]:
            config = pod.sandbox.config
            sysctls = {**POD_SYSCTLS, **NO_IPV6}
            yield Place(f"{config.namespace}/{config.name}", agents.netns, pod_side(pod.address), sysctls, pod)


def place(live: Live, name: str) -> Place | None:
    """The place of that name now, if there is one."""
    return next((each for each in places(live) if each.name == name), None)


def _fabric(live: Live, indexes: list[int]) -> Place:
    config, wanted = live.config, fabric_wiring(live.config)
    hosts = [(config.outside_ip, OUTSIDE_PORT), *((config.node_ip(i), config.node_name(i)) for i in indexes)]
    for ip, port in hosts:
        wanted.links.append(replace(fabric_port(config, ip, port), index=0))
        wanted.neighbours.append(Neighbour(str(ip), mac_of(ip), FABRIC_BRIDGE))
    wanted.routes += ways_to_pods(config, FABRIC_BRIDGE, indexes)
    return Place("fabric", live.fabric, wanted, {**host_sysctls(False), **NO_IPV6, **NO_FIREWALL})


def _outside(live: Live, indexes: list[int]) -> Place:
    wanted = uplink(live.config, live.config.outside_ip)
    wanted.routes += ways_to_pods(live.config, UPLINK, indexes)
    return Place("outside", live.outside, wanted, {**host_sysctls(False), **NO_IPV6})


def _node(live: Live, name: str, agents: Agents, peers: list[int], pods: list[Pod]) -> Place:
    wanted, peering = node_wiring(live.config, agents.index), peer_wiring(live.config, agents.index, peers)
    for part in (peering, *(node_side(pod.address) for pod in pods)):
        wanted.links += part.links
        wanted.addresses += part.addresses
        wanted.routes += part.routes
        wanted.neighbours += part.neighbours
        wanted.fdb += part.fdb
    for service in live.client.list(Service):
        if service.spec and service.spec.type == "LoadBalancer":
            wanted.addresses += [Address(ip, 32, UPLINK) for ip in announced_addresses(service, name)]
    ports = {pod.address.host_ifname: pod for pod in pods}
    sysctls = {**host_sysctls(True), **NO_IPV6, **NODE_SYSCTLS}
    return Place(name, agents.netns, wanted, sysctls, ports=ports)


def _pods(live: Live, agents: Agents) -> list[Pod]:
    found = []
    for _, sandbox in agents.kubelet.wired():
        if (address := live.nodes.cni.wiring(agents.netns, sandbox.id)) is not None:
            found.append(Pod(sandbox, agents.kubelet.node_name, address))
    return found
