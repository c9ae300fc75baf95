"""The same traces over VXLAN with nftables rules, and as an ordinary user."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from minik8s_net import Cluster
from minik8s_net.observe.trace.model import Trace
from tests.conftest import Home
from tests.observe.trace_world import OBJECTS, PODS, bones, witness

pytestmark = pytest.mark.cluster
OVER_VXLAN = """\
default/client > name route interface
node-1 > interface rule nat bridge conntrack route rule interface rule tunnel
fabric > tunnel
node-2 > tunnel interface conntrack route rule interface
default/far > interface route socket
default/far < route interface
node-2 < interface rule bridge route policy interface rule tunnel
fabric < tunnel
node-1 < tunnel interface route policy nat interface
default/client < interface route"""


def prepared(home: Home, name: str, *flags: str) -> Cluster:
    home.minik8s("up", "--cluster", name, "--nodes", "2", *flags)
    cluster = home.cluster(name)
    cluster.apply(OBJECTS)
    for pod in PODS:
        cluster.wait(f"pod/{pod}")
    deadline = time.monotonic() + 20
    while not cluster.trace("client", "http://far-svc").delivered:
        assert time.monotonic() < deadline, str(cluster.trace("client", "http://far-svc"))
        time.sleep(0.1)
    return cluster


def test_vxlan_and_nftables(fresh_home: Home, tmp_path: Path) -> None:
    c = prepared(fresh_home, "tv", "--cni", "vxlan", "--proxy-mode", "nftables")
    with witness(fresh_home, "tv", tmp_path, ("node-1", "node-2", "fabric", "pod/client", "pod/far")) as tcpdump:
        told = c.trace("client", "http://far-svc")
        node_port = c.trace("outside", "172.18.1.1:30080")
        for trace in (told, node_port) if tcpdump else ():
            tcpdump.agrees(trace)
    assert "\n".join(bones(told)) == OVER_VXLAN
    assert told.gaps == []
    outer = [s for s in told.stations if s.layer == "tunnel" and s.direction == "out"]
    assert [(s.place, s.interface) for s in outer] == [
        ("node-1", "eth0"), ("fabric", "node-1"), ("fabric", "node-2"), ("node-2", "eth0"),
    ]  # fmt: skip
    assert all("172.18.1.1 -> 172.18.1.2, vni 1" in s.what and "inner TCP SYN" in s.detail for s in outer)
    _nftables_rules(c, told)
    assert "default/empty" in c.trace("client", "http://empty").because
    hairpin = c.trace("near", "http://near-svc")
    assert [s.what.rpartition(": ")[2] for s in hairpin.stations if s.layer == "nat"][:2] == ["DNAT", "masquerade"]
    from_node = c.trace("node-1", "svc/far-svc")  # translated before the first device
    assert (from_node.verdict, from_node.gaps) == ("delivered", [])
    assert "node-1 > name rule nat rule nat interface rule tunnel" in bones(from_node)
    outside = c.trace("outside", "172.18.1.1:30080")
    assert (outside.verdict, outside.gaps) == ("delivered", [])
    wrapping = [
        s for s in outside.stations if s.place == "node-2" and s.direction == "back" and "masquerading" in s.what
    ]
    assert wrapping  # the rules that the answer's VXLAN wrapping met, although the flow is masqueraded
    denied = c.trace("client", "http://" + c.get("pod", "locked").status.podIP + ":8080")
    assert (denied.verdict, denied.stations[-1].place) == ("dropped", "node-2")


def _nftables_rules(c: Cluster, told: Trace) -> None:
    services = [s for s in told.stations if s.written_by == "Service default/far-svc"]
    assert [s.layer for s in services] == ["rule", "rule", "nat"]
    assert "found: " in services[0].detail
    listed = c.shell("node-1", "nft list ruleset ip").stdout
    assert all(s.detail.splitlines()[0] in listed for s in services)


def test_as_an_ordinary_user(user_home: Home) -> None:
    user_home.minik8s("up", "--cluster", "tu", "--nodes", "2")
    cluster = user_home.cluster("tu")
    cluster.apply(OBJECTS)
    for pod in PODS:
        cluster.wait(f"pod/{pod}")
    deadline = time.monotonic() + 20
    while not (told := cluster.trace("client", "http://far-svc")).delivered:
        assert time.monotonic() < deadline, str(told)
    assert told.gaps == []
    lines = bones(told)
    assert lines[0] == "default/client > name route interface"
    assert any(s.layer == "nat" and s.written_by == "Service default/far-svc" for s in told.stations)
    assert any(s.layer == "socket" and "is open" in s.what and "process" in s.detail for s in told.stations)
    assert cluster.trace("mute", "svc/far-svc").stations[-1].written_by == "NetworkPolicy default/stay-in"
    with cluster.capture("far", "tcp port 8080") as seen:
        cluster.trace("client", "http://far-svc")
    assert [p.flags for p in seen][:2] == ["SYN", "SYN/ACK"]
