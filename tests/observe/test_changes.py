"""`minik8s diff -- COMMAND`: what a command changed in the kernel, checked against the kernel's own tools."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from minik8s_net import Cluster
from minik8s_net.observe.changes.held import nft_lines
from minik8s_net.observe.changes.model import Change, Changes, compare
from tests.conftest import Home
from tests.faults.conftest import pod, policy, service

NAME = "changing"


# -- pure --------------------------------------------------------------------------------------------------------------
def test_lines_that_differ_by_place_and_layer() -> None:
    before = {"node-1": {"route": ["a", "b"], "rule": ["x", "x"]}, "default/old": {"link": ["eth0"]}}
    after = {"node-1": {"route": ["b", "c"], "rule": ["x"]}, "DNS": {"name": ["n A 1"]}}
    assert compare(before, after).items == [
        Change("DNS", "name", "+", "n A 1"),
        Change("node-1", "route", "-", "a"),
        Change("node-1", "route", "+", "c"),
        Change("node-1", "rule", "-", "x"),
        Change("default/old", "link", "-", "eth0"),
    ]
    assert not compare(after, after) and "Nothing" in str(compare(after, after))


def test_what_is_alike_is_told_once() -> None:
    rule, other = ("rule", "+", "r"), ("rule", "+", "s")
    found = Changes([Change("node-1", *rule), Change("node-2", *rule), Change("node-2", *other)])
    assert str(found).splitlines()[:4] == ["node-1, node-2: rules", "  + r", "node-2: rules", "  + s"]
    assert Changes.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_nft_listing_becomes_a_line_per_rule_and_element() -> None:
    listed = """table ip kube-proxy {
    map service-ips {
        type ipv4_addr . inet_proto . inet_service : verdict
        elements = { 10.96.0.1 . tcp . 443 : goto service-a,
            10.96.0.10 . udp . 53 : goto service-b }
    }

    chain services {
        ip daddr . meta l4proto . th dport vmap @service-ips
    }
}
"""
    assert list(nft_lines(listed, "ip kube-proxy")) == [
        "ip kube-proxy service-ips type ipv4_addr . inet_proto . inet_service : verdict",
        "ip kube-proxy service-ips 10.96.0.1 . tcp . 443 : goto service-a",
        "ip kube-proxy service-ips 10.96.0.10 . udp . 53 : goto service-b",
        "ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips",
    ]


# -- live --------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module", params=["iptables", "nftables"])
def changing(request: pytest.FixtureRequest, home: Home) -> Iterator[Cluster]:
    name = f"{NAME}-{request.param}"
    home.minik8s("up", "--cluster", name, "--nodes", "2", "--proxy-mode", request.param)
    cluster = home.cluster(name)
    cluster.apply([pod("web", "node-2", "nginx", "web")])
    cluster.wait("pod/web")
    yield cluster
    home.minik8s("down", "--cluster", name)


@pytest.mark.cluster
def test_a_service_comes_and_goes_and_nothing_stays(changing: Cluster) -> None:
    whole = changing.api.verb("held")
    with changing.changes() as came:
        changing.apply([service("web", "web"), policy("web", "web", "client")])
    ip = changing.get("service", "web").spec.clusterIP
    end = changing.get("pod", "web").status.podIP
    assert f"+ web.default.svc.cluster.local A {ip}" in came.of("name")
    for node in ("node-1", "node-2"):
        rules = came.of("rule", node)
        assert any(ip in line for line in rules) and any(f"{end}:80" in line for line in rules)
        assert not [line for line in rules if line.startswith("- ")]
    assert any("KUBE-PODIN" in line for line in came.of("rule", "node-2"))
    assert not any("KUBE-PODIN" in line for line in came.of("rule", "node-1"))
    assert not came.of("route") and not came.of("link")
    with changing.changes() as went:
        changing.delete([service("web", "web"), policy("web", "web", "client")])
    assert sorted(c.line for c in went.items) == sorted(c.line for c in came.items)
    assert not compare(whole, changing.api.verb("held"))


@pytest.mark.cluster
def test_a_command_of_the_students_own(changing: Cluster, home: Home) -> None:
    home.minik8s("fault", "--cluster", changing.name, "pause", "all")
    try:
        remove = ("minik8s", "shell", "--cluster", changing.name, "node-1", "--", "ip", "route", "del", "10.244.2.0/24")
        done = home.minik8s("diff", "--cluster", changing.name, "-o", "json", "--", home.python, "-m",
                            "minik8s_net.cli", *remove[1:])  # fmt: skip
    finally:
        home.minik8s("fault", "--cluster", changing.name, "resume", "all")
    (change,) = json.loads(done.stdout)["changes"]
    assert change["place"] == "node-1" and change["sign"] == "-" and change["line"].startswith("10.244.2.0/24 via")
    failed = home.minik8s("diff", "--cluster", changing.name, "--", "sh", "-c", "exit 7", check=False)
    assert failed.returncode == 7 and "Nothing in the kernel has changed." in failed.stdout


@pytest.mark.cluster
def test_what_the_last_apply_changed(changing: Cluster, home: Home) -> None:
    missing = home.minik8s("diff", "--cluster", changing.name, "--last", check=False)
    assert missing.returncode == 1 and "nothing was applied" in missing.stderr
    manifest = home.path / "late.json"
    manifest.write_text(json.dumps(service("late", "web")))
    home.minik8s("apply", "--cluster", changing.name, "-f", str(manifest))
    told = home.minik8s("diff", "--cluster", changing.name, "--last", check=False)
    assert told.returncode == 1 and "late.default.svc.cluster.local A" in told.stdout
    only = home.minik8s("diff", "--cluster", changing.name, "node-1", "--last", check=False).stdout
    assert "node-1: rules" in only and "node-2" not in only and "DNS" not in only
    assert all(len(line) <= 80 for line in told.stdout.splitlines() if " " in line.strip()[2:])
