"""Traces on a live cluster: their stations in order, each frame also seen by tcpdump, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from minik8s_net import Cluster
from minik8s_net.api.errors import StatusError
from minik8s_net.observe.trace.model import Trace
from tests.conftest import Home
from tests.observe.trace_world import OBJECTS, PODS, Witness, bones, texts, witness

pytestmark = pytest.mark.cluster
NAME = "trace"
THERE = """\
default/client > route interface
node-1 > interface rule bridge conntrack route rule interface
fabric > interface bridge interface
node-2 > interface conntrack route rule interface
default/far > interface route socket"""
BACK = """\
default/far < route interface
node-2 < interface rule bridge route policy rule interface
fabric < interface bridge interface
node-1 < interface route policy rule{nat} interface
default/client < interface route"""
GOLDEN = {
    "same node": """\
default/client > route interface
node-1 > interface rule conntrack rule bridge interface
default/near > interface route socket
default/near < route interface
node-1 < interface rule policy rule bridge interface
default/client < interface route""",
    "other node": f"{THERE}\n{BACK.format(nat='')}",
    "ClusterIP, local endpoint": """\
default/client > name route interface
node-1 > interface rule nat conntrack rule bridge interface
default/near > interface route socket
default/near < route interface
node-1 < interface rule policy rule bridge nat interface
default/client < interface route""",
    "ClusterIP, remote endpoint": THERE.replace("> route", "> name route", 1).replace(
        "rule bridge conntrack", "rule nat bridge conntrack", 1
    )
    + f"\n{BACK.format(nat=' nat')}",
    "ClusterIP, itself": """\
default/near > name route interface
node-1 > interface rule nat conntrack rule nat bridge interface
default/near > interface socket
default/near < route interface
node-1 < interface rule policy rule bridge nat interface
default/near < interface""",
    "NodePort from outside": """\
outside > route interface
fabric > interface bridge interface
node-1 > interface rule nat conntrack route rule nat interface
fabric > interface bridge interface
node-2 > interface conntrack route rule interface
default/far > interface route socket
default/far < route interface
node-2 < interface rule bridge route policy rule interface
fabric < interface bridge interface
node-1 < interface route policy rule nat interface
fabric < interface bridge interface
outside < interface route""",
    "headless name": THERE.replace("> route", "> name route", 1) + f"\n{BACK.format(nat='')}",
    "denied by ingress": "\n".join([*THERE.splitlines()[:3], "node-2 > interface route policy"]),
    "denied by egress": """\
default/mute > route interface
node-1 > interface rule bridge route policy""",
    "no endpoints": """\
default/client > name route interface
node-1 > interface rule bridge route rule
node-1 < route interface
default/client < interface route""",
}
DELIVERED = list(GOLDEN)[:7]


@pytest.fixture(scope="module")
def cluster(home: Home) -> Iterator[Cluster]:
    home.minik8s("up", "--cluster", NAME, "--nodes", "2", "--no-heal")
    c = home.cluster(NAME)
    c.apply(OBJECTS)
    for name in PODS:
        c.wait(f"pod/{name}")
    yield c
    home.minik8s("down", "--cluster", NAME)


@pytest.fixture(scope="module")
def tcpdump(home: Home, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness | None]:
    with witness(home, NAME, tmp_path_factory.mktemp("tcpdump")) as seen:
        yield seen


@pytest.fixture(scope="module")
def traces(cluster: Cluster, tcpdump: Witness | None) -> dict[str, Trace]:
    """Each case once; a first trace of each, not looked at, teaches the bridges who is where."""
    ip = {name: cluster.get("pod", name).status.podIP for name in PODS}
    cases = {
        "same node": ("client", f"{ip['near']}:8080"),
        "other node": ("client", f"tcp://{ip['far']}:8080"),
        "ClusterIP, local endpoint": ("client", "http://near-svc"),
        "ClusterIP, remote endpoint": ("client", "http://far-svc/hostname"),
        "ClusterIP, itself": ("near", "http://near-svc"),
        "NodePort from outside": ("outside", "172.18.1.1:30080"),
        "headless name": ("client", "http://far-headless:8080"),
        "denied by ingress": ("client", f"{ip['locked']}:8080"),
        "denied by egress": ("mute", f"{ip['far']}:8080"),
        "no endpoints": ("client", "http://empty"),
    }
    _until_programmed(cluster)
    for source, target in cases.values():
        cluster.trace(source, target)
    return {case: cluster.trace(source, target) for case, (source, target) in cases.items()}


def _until_programmed(cluster: Cluster) -> None:
    """Services come after pods are ready; a trace would truthfully tell of the time before."""
    deadline = time.monotonic() + 20
    wanted = (("client", "http://near-svc"), ("client", "http://far-svc"), ("client", "svc/empty"))
    while [cluster.trace(*w).verdict for w in wanted] != ["delivered", "delivered", "refused"]:
        assert time.monotonic() < deadline, [str(cluster.trace(*w)) for w in wanted]
        time.sleep(0.1)


@pytest.mark.parametrize("case", GOLDEN)
def test_the_stations_of(case: str, traces: dict[str, Trace]) -> None:
    assert "\n".join(bones(traces[case])) == GOLDEN[case]
    assert traces[case].gaps == []
    assert traces[case].milliseconds < 3000
    assert [s.number for s in traces[case].stations] == list(range(1, len(traces[case].stations) + 1))


@pytest.mark.parametrize("case", GOLDEN)
def test_tcpdump_saw_the_same_of(case: str, traces: dict[str, Trace], tcpdump: Witness | None) -> None:
    if tcpdump is None:
        pytest.skip("needs root and tcpdump: apt-get install tcpdump")
    tcpdump.agrees(traces[case])


def test_verdicts_and_reasons(traces: dict[str, Trace]) -> None:
    assert {traces[case].verdict for case in DELIVERED} == {"delivered"}
    assert traces["ClusterIP, remote endpoint"].because == "HTTP/1.1 200 OK"
    ingress, egress, empty = (traces[c] for c in ("denied by ingress", "denied by egress", "no endpoints"))
    assert (ingress.verdict, ingress.stations[-1].written_by) == ("dropped", "NetworkPolicy default/keep-out")
    assert "node-2" in ingress.because
    assert (egress.verdict, egress.stations[-1].written_by) == ("dropped", "NetworkPolicy default/stay-in")
    assert empty.verdict == "refused"
    assert "default/empty has no endpoints" in empty.because
    rule = next(s for s in empty.stations if s.what.endswith("reject"))
    assert (rule.place, rule.written_by) == ("node-1", "Service default/empty")


def test_rules_are_told_with_text_object_and_translation(traces: dict[str, Trace], cluster: Cluster) -> None:
    trace = traces["NodePort from outside"]
    dnat, masquerade, back = (s for s in trace.stations if s.layer == "nat")
    far = cluster.get("pod", "far").status.podIP
    assert (dnat.before, dnat.after, dnat.written_by) == ("172.18.1.1:30080", f"{far}:8080", "Service default/far-svc")
    assert masquerade.before.startswith("172.18.0.2:")
    assert masquerade.after.startswith("172.18.1.1:")
    assert back.after.startswith("172.18.1.1:30080 -> 172.18.0.2:")
    saved = cluster.shell("node-1", "iptables-save").stdout.splitlines()
    lines = [s.detail for s in trace.stations if s.place == "node-1" and s.detail.startswith("-A ")]
    assert len(lines) >= 8
    assert [line for line in lines if line not in saved] == []


def test_names_are_asked_along_the_search_path(cluster: Cluster) -> None:
    told = cluster.trace("client", "http://far-svc.default.svc")
    names = [s.what for s in told.stations if s.layer == "name"]
    assert [name.partition(":")[0] for name in names] == [
        "far-svc.default.svc.default.svc.cluster.local",
        "far-svc.default.svc.svc.cluster.local",
        "far-svc.default.svc.cluster.local",
    ]
    assert "NXDOMAIN" in names[0]
    assert told.delivered
    missing = cluster.trace("client", "http://nosuch")
    assert (missing.verdict, len(missing.stations)) == ("refused", 4)
    own = cluster.trace("near", "near:8080")  # its own name stands in /etc/hosts
    assert "/etc/hosts" in own.stations[0].detail
    assert own.delivered


def test_dns_and_udp(cluster: Cluster) -> None:
    told = cluster.trace("client", "dns:far-svc")
    assert told.delivered
    assert any(s.layer == "socket" and ":53 is open" in s.what for s in told.stations)
    assert any(s.layer == "nat" and s.written_by == "Service kube-system/kube-dns" for s in told.stations)
    udp = cluster.trace("client", "udp://10.96.0.10:53")
    assert udp.delivered
    assert bones(udp)[0] == "default/client > route interface"
    assert bones(udp)[-1] == "default/client < interface route"


def test_dns_blocked_by_a_policy(cluster: Cluster) -> None:
    """The look-up is what fails, so its packet is what is traced."""
    told = cluster.trace("nodns", "http://far-svc")
    assert (told.verdict, told.stations[-1].written_by) == ("dropped", "NetworkPolicy default/no-names")
    assert "no answer" in told.stations[0].what
    assert bones(told)[-1].startswith("node-1 > interface rule nat ")
    assert bones(told)[-1].endswith("policy")


def test_a_missing_route(cluster: Cluster, tcpdump: Witness | None) -> None:
    """Without its route the packet goes to the fabric, which forwards nothing: no rule dropped it, and it says so."""
    far = cluster.get("pod", "far").status.podIP
    assert cluster.shell("node-1", "ip route del 10.244.2.0/24").exit_code == 0
    try:
        told = cluster.trace("client", f"{far}:8080")
    finally:
        cluster.shell("node-1", "ip route add 10.244.2.0/24 via 172.18.1.2 dev eth0")
    assert told.verdict == "no-answer"
    assert "last seen in fabric, arriving at br0" in told.because
    assert "No route to host" in told.because
    assert any(s.place == "node-1" and "default via 172.18.0.1" in s.what for s in told.stations)
    assert bones(told)[-1] == "fabric > interface bridge route"
    if tcpdump:
        tcpdump.agrees(told)
    assert cluster.trace("client", f"{far}:8080").delivered


def test_a_gateway_that_is_not_there(cluster: Cluster) -> None:
    """No rule drops it and no event tells: it passes the rules towards a device, and never leaves by it."""
    far = cluster.get("pod", "far").status.podIP
    cluster.shell("node-1", "ip route replace 10.244.2.0/24 via 172.18.9.9 dev eth0")
    try:
        told = cluster.trace("client", f"{far}:8080")
    finally:
        cluster.shell("node-1", "ip route replace 10.244.2.0/24 via 172.18.1.2 dev eth0")
    assert told.verdict == "no-answer"
    assert "passed the rules there towards eth0, and never left by it" in told.because
    assert (told.stations[-1].layer, told.stations[-1].place) == ("gap", "node-1")
    assert any("via 172.18.9.9" in s.what for s in told.stations)


def test_data_that_is_lost_once_the_connection_stands(cluster: Cluster) -> None:
    """As with a too small mtu: small packets pass, the answer does not. Where it was seen last is what is known."""
    far = cluster.get("pod", "far").status.podIP
    rule = "FORWARD -p tcp --sport 8080 -m length --length 150:65535 -j DROP"
    assert cluster.shell("node-1", f"iptables -I {rule}").exit_code == 0
    try:
        told = cluster.trace("client", f"http://{far}:8080/")
    finally:
        cluster.shell("node-1", f"iptables -D {rule}")
    assert told.verdict == "no-answer"
    assert "connected, but no answer to the request" in told.because
    assert "a piece of the answer" in told.because
    assert told.because.endswith("was last seen in node-1, arriving at eth0")


def test_two_traces_side_by_side(traces: dict[str, Trace], home: Home) -> None:
    works, fails = traces["other node"], traces["denied by ingress"]
    told = works.beside(fails)
    left, right = told.first
    assert left is not None
    assert right is not None
    assert (left.layer, left.place) == ("rule", "node-2")
    assert (right.layer, right.place) == ("policy", "node-2")
    assert told.right_rest[-1].written_by == "NetworkPolicy default/keep-out"
    assert works.beside(works).alike
    done = home.minik8s(
        "trace", "--cluster", NAME, "client", "svc/far-svc", "--beside", "mute", "svc/far-svc", check=False
    )
    assert done.returncode == 1
    assert "here they part" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_nobody_listens(cluster: Cluster) -> None:
    near = cluster.get("pod", "near").status.podIP
    told = cluster.trace("client", f"{near}:9999")
    assert told.verdict == "refused"
    assert "nobody listens" in told.because
    assert any(s.layer == "socket" and s.place == "default/near" for s in told.stations)
    silent = cluster.trace("client", f"udp://{near}:9999")
    assert (silent.verdict, "ICMP port unreachable" in silent.because) == ("refused", True)


def test_nothing_is_left_behind(cluster: Cluster, traces: dict[str, Trace]) -> None:
    def rules() -> list[str]:
        lists = [cluster.shell(place, "nft -s list ruleset").stdout for place in ("node-1", "node-2", "pod/client")]
        return [line for text in lists for line in text.splitlines() if "elements" not in line]

    before = rules()
    cluster.trace("client", "http://far-svc")
    cluster.trace("mute", "http://far-svc")
    assert rules() == before
    assert "minik8s-trace" not in "".join(before)


def test_many_traces_at_once_do_not_mix(cluster: Cluster, home: Home) -> None:
    wanted = [
        ("client", "http://near-svc"),
        ("near", "http://far-svc"),
        ("mute", "http://far-svc"),
        ("client", "svc/empty"),
    ]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda w: home.cluster(NAME).trace(*w), wanted))
    assert [t.verdict for t in found] == ["delivered", "delivered", "dropped", "refused"]
    for trace in found[:2]:
        assert len({line.partition(" ")[0] for line in bones(trace)}) <= 6
        assert trace.gaps == []


def test_what_cannot_be_traced_is_refused_with_the_forms_there_are(cluster: Cluster) -> None:
    with pytest.raises(StatusError, match='pods "ghost" not found'):
        cluster.trace("ghost", "http://far-svc")
    with pytest.raises(StatusError, match="a target is one of"):
        cluster.trace("client", "gopher://far-svc")
    with pytest.raises(StatusError, match="headless"):
        cluster.trace("client", "svc/far-headless")
    assert "give an address, or svc/far-svc" in cluster.trace("outside", "http://far-svc").because


def test_the_command(home: Home, cluster: Cluster, traces: dict[str, Trace]) -> None:
    done = home.minik8s("trace", "--cluster", NAME, "client", "http://far-svc")
    assert done.stdout.startswith("default/client ─► http://far-svc: delivered\n")
    assert "\x1b" not in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert home.minik8s("trace", "--cluster", NAME, "mute", "svc/far-svc", check=False).returncode == 1
    again = Trace.from_dict(home.json("trace", "--cluster", NAME, "client", "http://far-svc"))
    assert bones(again) == GOLDEN["ClusterIP, remote endpoint"].splitlines()
    assert "KUBE-SEP-" in texts(again)
    assert Trace.from_dict(again.to_dict()) == again


def test_a_killed_controller_leaves_no_tracing_rule(home: Home, cluster: Cluster, eventually: Any) -> None:
    """The rules belong to its socket: the kernel takes them away."""
    pid = json.loads(Path(home.state(NAME).root / "ready").read_text())["pid"]
    argv = home.command("trace", "--cluster", NAME, "client", "10.244.9.9:80", "--seconds", "20")
    asked = subprocess.Popen(argv, env=home.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: "minik8s-trace" in cluster.shell("node-1", "nft list tables").stdout)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: "minik8s-trace" not in cluster.shell("node-1", "nft list tables").stdout)
    finally:
        asked.wait(30)
