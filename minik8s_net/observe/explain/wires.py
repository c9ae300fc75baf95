"""Third rung: the kernel along the path. What differs from what was written, and rules that are not ours."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from lightkube.resources.core_v1 import Node

from ...boot.live import Live
from ...cni.fabric import OUTSIDE_PORT
from ...cni.pod import host_ifname
from ...healing.drift import Drift, drift
from ...kernel import nft, rtnetlink
from .model import DEGRADED, FAULT, Cause

ORDER = ("node-lost", "partition", "delay", "link-down", "forwarding-off", "wrong-gateway", "route-missing", "mtu",
         "proxy-stopped", "rule-missing", "loss", "bandwidth", "drift")  # fmt: skip


class Path:
    """What a connection crosses: two pods, their nodes, and the fabric if those are two."""

    def __init__(
        self, source: str, source_node: str, source_ip: str, ends: dict[str, tuple[str, str]], service: str
    ) -> None:
        """`source_ip`: of a pod, else ""; `ends`: address -> (pod or "", its node); `service`: "ns/name" or ""."""
        self.source, self.source_node, self.ends, self.service = source, source_node, ends, service
        self.nodes = {source_node, *(node for _, node in ends.values() if node)} - {""}
        self.pods = {source, *(pod for pod, _ in ends.values())} - {""}
        self.source_ip = source_ip
        self.addresses = [*ends, *([source_ip] if source_ip else [])]

    def sought_from(self, node: str) -> list[str]:
        """The addresses a node needs a route to: the ends from the source's, the source (for answers) from theirs."""
        return list(self.ends) if node == self.source_node else [self.source_ip] if self.source_ip else []

    @property
    def crosses(self) -> bool:
        """Whether it goes over the fabric, to some end at least; from outside it always does."""
        return len(self.nodes) > 1 or not self.source_node or any(not node for _, node in self.ends.values())

    def needs_gateway(self, pod: str) -> bool:
        """Whether a pod of the path sends to its default route: all but straight to, or back to, the same node."""
        if pod == self.source:
            return self.crosses or bool(self.service)
        return any(name == pod and node != self.source_node for name, node in self.ends.values())


async def causes(live: Live, path: Path) -> list[Cause]:
    """All that stands in the way, the most telling first; [] where the kernel is as it should be."""
    found = [cause for each in await drift(live) if (cause := _of_drift(live, path, each))]
    found += [cause for place in sorted({*path.nodes, "fabric"}) for cause in await _foreign(live, path, place)]
    found += [_lost(node) for node in sorted(path.nodes) if _silent(live, node)]
    if any(cause.kind == "delay" for cause in found):  # the relay's port has left the bridge: that is how it is done
        found = [cause for cause in found if cause.kind not in ("link-down", "drift", "mtu")]
    return sorted(found, key=lambda cause: ORDER.index(cause.kind))


def severing(found: list[Cause]) -> Cause | None:
    """The most telling one, for a way on which nothing arrives: what only hinders comes after what severs."""
    return next((cause for cause in found if cause.kind not in DEGRADED), found[0] if found else None)


def _silent(live: Live, node: str) -> bool:
    found = live.client.find(Node, node)
    conditions = (found.status.conditions if found and found.status else None) or []
    return found is None or any(c.type == "Ready" and c.status != "True" for c in conditions) or (
        node in live.nodes.names() and live.nodes.agents(node).kubelet.silent)  # fmt: skip


def _lost(node: str) -> Cause:
    return Cause("node-lost", f"Node {node}", f"{node} is gone: its kubelet says nothing any more",
                 f"kubectl describe node {node}; minik8s status; {FAULT}")  # fmt: skip


def _of_drift(live: Live, path: Path, d: Drift) -> Cause | None:
    """None for what is off the path."""
    said = f"in {d.place}, {d.what} is {d.found}, should be {d.wanted}"
    if d.component in ("proxy", "policy"):
        return _of_rules(live, path, d, said)
    on_fabric = d.place == "fabric" and path.crosses and any(d.what.endswith(f" {n}") for n in path.nodes)
    if not (d.place in path.pods or d.place in path.nodes or on_fabric) or d.component == "namespace":
        return None
    if d.place in path.nodes and d.what.startswith("link veth") and d.object.removeprefix("Pod ") not in path.pods:
        return None
    if d.place in path.nodes and not path.crosses and ("eth0" in d.what.split() or d.component == "route"):
        return None  # same node: the packet never comes there
    if d.component == "neighbour" and not _is_met(live, path, d.what):
        return None
    kind = _kind(d, d.place in path.pods)
    if kind == "route-missing" and not _leads(d.what, path.sought_from(d.place)):
        return None
    if kind == "forwarding-off" and not path.crosses:
        return None
    if kind == "wrong-gateway" and not path.needs_gateway(d.place):
        return None
    mend = f"minik8s diff {d.place} shows it; {FAULT}; if healing is paused: minik8s fault resume all"
    return Cause(kind, d.object or d.place, said, mend)


def _is_met(live: Live, path: Path, what: str) -> bool:
    """Whether a neighbour ("neighbour 172.18.1.2 on eth0") is an end or a node of the path; others are not asked."""
    met = set(path.addresses)
    for name in path.nodes:
        node = live.client.find(Node, name)
        met |= {a.address for a in (node.status.addresses if node and node.status else None) or []}
    return not what.startswith("neighbour ") or what.split()[1] in met


def _kind(d: Drift, in_pod: bool) -> str:
    if d.component == "route":
        return "wrong-gateway" if in_pod else "route-missing"
    if d.component == "sysctl":
        return "forwarding-off" if "ip_forward" in d.what else "drift"
    if d.component == "link":
        return "mtu" if "mtu" in d.found.lower() else "link-down"
    return "drift"


def _leads(what: str, addresses: list[str]) -> bool:
    """Whether a route ("route 10.244.2.0/24") is the way to one of the addresses."""
    try:
        network = ipaddress.ip_network(what.split()[1])
    except ValueError:
        return True  # the default route
    return any(ipaddress.ip_address(a) in network for a in addresses)


def _of_rules(live: Live, path: Path, d: Drift, said: str) -> Cause | None:
    if d.component == "policy":
        there = d.place in path.nodes and (not d.object or d.object.removeprefix("Pod ") in path.pods)
        return Cause("drift", d.object or d.place, said, f"minik8s diff {d.place}") if there else None
    if d.place != path.source_node or not path.service:
        return None
    if d.what not in (f"service {path.service}", "kube-proxy", "rules of kube-proxy") and "jump" not in d.what:
        return None
    if d.place in live.nodes.names() and live.nodes.agents(d.place).proxier.halted:
        return Cause("proxy-stopped", f"Node {d.place}", f"kube-proxy of {d.place} has stopped: {said}",
                     f"minik8s diff {d.place}; {FAULT}; if healing is paused: minik8s fault resume proxy")  # fmt: skip
    return Cause("rule-missing", d.object or f"Service {path.service}", said,
                 f"minik8s diff {d.place}; {FAULT}; if healing is paused: minik8s fault resume proxy")  # fmt: skip


# -- rules of nobody's -----------------------------------------------------------------------------------------------
async def _foreign(live: Live, path: Path, place: str) -> list[Cause]:
    """Tables on devices and bridges that are none of ours, and strangers among the ports of the fabric's bridge."""
    if place not in (*live.nodes.names(), "fabric"):
        return []  # a node that has gone meanwhile
    netns = live.fabric if place == "fabric" else live.nodes.agents(place).netns
    rules, strangers, lonely = await netns.run(_look, {*live.nodes.names(), OUTSIDE_PORT})
    found = list(_of_tables(path, place, rules))
    if place == "fabric" and path.crosses:
        for port in (port for port in lonely if strangers and port in path.nodes):
            said = f"every frame between {port} and br0 goes through {strangers[0]}, which holds it back"
            found.append(Cause("delay", f"Node {port}", said, f"minik8s shell fabric -- ip link; {FAULT}"))
    return found


def _look(hosts: set[str]) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """([(device or "", rule)], ports of a bridge that are nobody's, ports of `hosts` that are on no bridge) here."""
    rules = []
    for family in ("netdev", "bridge"):
        for name in nft.tables(family):
            device = ""
            for line in nft.list_table(f"{family} {name}").splitlines():
                if "device" in line:
                    device = line.split('"')[1]
                elif line.strip().endswith("drop") and not name.startswith("minik8s"):
                    rules.append((device, line.strip()))
    links = rtnetlink.links()
    strangers = [link.name for link in links if link.master and link.name not in hosts]
    return rules, strangers, [link.name for link in links if not link.master and link.name in hosts]


def _of_tables(path: Path, place: str, rules: list[tuple[str, str]]) -> Iterator[Cause]:
    for device, rule in dict.fromkeys(rules):
        mend = f"minik8s shell {place} -- nft list ruleset; {FAULT}"
        if "iifname" in rule and "oifname" in rule:
            ends = {word for word in rule.split('"') if word in path.nodes}
            if len(ends) == 2 and (path.source_node in ends or not path.source_node):
                said = f"the fabric drops every frame between {' and '.join(sorted(ends))}: {rule}"
                yield Cause("partition", " ".join(f"Node {n}" for n in sorted(ends)), said, mend)
            continue
        if not _on_path(path, place, device):
            continue
        where = f"{device} in {place}"
        if "numgen" in rule:
            yield Cause("loss", where, f"{where} drops packets at random: {rule}", mend)
        elif "limit" in rule:
            yield Cause("bandwidth", where, f"{where} drops what comes too fast: {rule}", mend)


def _on_path(path: Path, place: str, device: str) -> bool:
    if place == "fabric":
        return path.crosses and device in path.nodes
    if device.startswith("veth"):
        return any(device == host_ifname(a) for a in path.addresses)
    return path.crosses
