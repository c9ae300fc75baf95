"""Packets followed through the rendered text: ours for every case, and a real kube-proxy's for the same Services."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Service

from minik8s_net.proxy import iptables, nftables, nfttables
from minik8s_net.proxy.model import SERVICE_NAME, Node, service_ports
from minik8s_net.proxy.rules import Difference, Rules

from .cases import BALANCED, BALANCED_LOCAL, BY_MODE, NODES, OUTSIDE, A, B, C, Case, objects
from .objects import slice_of
from .test_reference import DATA, NODE, reference_ports
from .walk import Iptables, Nftables, Packet
from .walk import Rules as Walker

ADDRESSES = {"node-1": {"172.18.1.1", "10.244.1.1", BALANCED}, "node-2": {"172.18.1.2", "10.244.2.1", BALANCED_LOCAL}}


def rendered(mode: str, name: str) -> Walker:
    """The text that node `name` gets for all Services of the table; `mode` "tables": nftables, in several tables."""
    node, everything = Node(name, NODES[name]), objects()
    slices = [o for o in everything if not isinstance(o, Service)]
    rules = {}
    for each in (o for o in everything if isinstance(o, Service)):
        own = [s for s in slices if s.metadata.labels[SERVICE_NAME] == each.metadata.name]
        renderer = iptables if mode == "iptables" else nftables
        rules[f"default/{each.metadata.name}"] = renderer.render(service_ports(each, own, node), node)
    tables = nfttables.Tables(1 if mode == "tables" else nfttables.SERVICES)
    if mode != "iptables":
        rules = tables.placed(rules)
    differences = [Difference.between(Rules(), each) for each in rules.values()]
    if mode == "iptables":
        return Iptables(iptables.restore_text([iptables.delta(Rules(), iptables.base()), *differences]))
    return Nftables(nftables.script([Difference.between(Rules(), nftables.base(node, tables.further)), *differences]))


@pytest.fixture(scope="module")
def walkers() -> dict[tuple[str, str], Walker]:
    return {(mode, node): rendered(mode, node) for mode in ("iptables", "nftables", "tables") for node in NODES}


@pytest.mark.parametrize(("mode", "case"), [*BY_MODE, *(("tables", c) for m, c in BY_MODE if m == "nftables")], ids=str)
def test_where_a_packet_goes(walkers: dict[tuple[str, str], Walker], mode: str, case: Case) -> None:
    local = case.source in NODES
    source = {**NODES, "outside": OUTSIDE}.get(case.source, case.source)
    if local and case.address == "127.0.0.1":
        source = "127.0.0.1"
    packet = Packet(source, case.address, case.port, case.protocol, local, addresses=frozenset(ADDRESSES[case.node]))
    assert walkers[mode, case.node].walk(packet) == pytest.approx(case.ends, abs=1e-6)


def test_affinity_prefers_whoever_served_before() -> None:
    svc = next(o for o in objects() if o.metadata.name == "sticky")
    two = slice_of("sticky", (A, "node-1"), (B, "node-2"), protocol="UDP", http=5353)
    node = Node("node-1", NODES["node-1"])
    ports = service_ports(svc, [two], node)
    for renderer, read in ((iptables, Iptables), (nftables, Nftables)):
        base = iptables.base() if renderer is iptables else nftables.base(node)
        rules = Rules.merge([base, renderer.render(ports, node)])  # type: ignore[attr-defined]
        difference = Difference.between(Rules(), rules)
        text = iptables.restore_text([difference]) if renderer is iptables else nftables.script([difference])
        lists = [name for _, name in rules.chains if "SEP" in name or name.startswith("affinity")]
        packet = Packet(C, svc.spec.clusterIP, 53, "udp")
        assert len(read(text).walk(packet)) == 2
        for known in lists:
            ends = read(text).walk(Packet(C, svc.spec.clusterIP, 53, "udp", recent=frozenset([known])))
            assert list(ends.values()) == [1.0]


@pytest.mark.parametrize(
    ("renderer", "read", "file"),
    [(iptables, Iptables, "kube-proxy-iptables.txt"), (nftables, Nftables, "kube-proxy-nft.txt")],
    ids=["iptables", "nftables"],
)
def test_packets_go_the_same_way_through_a_real_kube_proxys_text(renderer: Any, read: Any, file: str) -> None:
    """Every address of the reference Services, from every kind of source: ours and theirs agree on the end."""
    ports = reference_ports()
    base = iptables.base() if renderer is iptables else nftables.base(NODE)
    difference = Difference.between(Rules(), Rules.merge([base, renderer.render(ports, NODE)]))
    ours = read(iptables.restore_text([difference]) if renderer is iptables else nftables.script([difference]))
    theirs = read((Path(DATA) / file).read_text())
    targets = {
        (ip, port, p.protocol)
        for p in ports
        for ip, port in (
            *((ip, p.port) for ip in (p.cluster_ip, *p.external_ips, *p.load_balancer_ips)),
            *([(NODE.ip, p.node_port)] if p.node_port else []),
            (p.cluster_ip, 9999),
        )
    }
    pods = [e.ip for p in ports for e in p.reachable][:2]
    seen = set()
    for (ip, port, protocol), source in itertools.product(sorted(targets), [*pods, "198.51.100.7", NODE.ip]):
        packet = Packet(source, ip, port, protocol, source == NODE.ip, addresses=frozenset([NODE.ip]))
        ends = ours.walk(packet)
        assert ends == pytest.approx(theirs.walk(packet), abs=1e-6), packet
        seen |= {re.split("[ :]", end)[-1] for end in ends}
    assert {"refused", "dropped", "masqueraded"} <= seen
