"""What of ours is deleted or altered from outside is put back within two seconds, with an Event that says so."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minik8s_net import Cluster
from tests.conftest import Home
from tests.faults.conftest import pod, policy, service
from tests.faults.kernelstate import kernel_state, returns_to

pytestmark = pytest.mark.cluster
NAME = "healed"
BREAKAGES = {  # component -> (place, what a student might type); {ip} and {port} are the pod web's
    "route": [("node-1", "ip route del 10.244.2.0/24"), ("default/pod/web", "ip route del default")],
    "link": [
        ("node-1", "ip link set cni0 down"),
        ("node-2", "ip link del eth0"),
        ("node-1", "ip link set {port} nomaster"),
        ("default/pod/web", "ip link del eth0"),
    ],
    "address": [("default/pod/web", "ip addr flush dev eth0")],
    "neighbour": [("node-1", "ip neigh flush all nud permanent")],
    "sysctl": [
        ("node-1", "sysctl -qw net.ipv4.ip_forward=0"),
    ],
    "proxy": [
        ("node-1", "iptables -t nat -F"),
        ("node-1", "nft flush ruleset"),
    ],
    "policy": [
        ("node-1", "iptables -F KUBE-NWPLCY"),
        ("node-1", "iptables -I KUBE-NWPLCY -j ACCEPT"),
        ("node-1", "ipset flush"),
        ("node-1", "nft delete table bridge minik8s-entry"),
    ],
}
CASES = [(component, *what) for component, all_of_them in BREAKAGES.items() for what in all_of_them]
PATIENCE = 8.0  # seconds on a busy machine; the measured times of an idle one are in docs/healing.md


@pytest.fixture(scope="module")
def healed(home: Home) -> Iterator[Cluster]:
    home.minik8s("up", "--cluster", NAME, "--nodes", "2")
    cluster = home.cluster(NAME)
    objects = [pod("web", "node-1", "nginx", "web"), pod("client", "node-2", "netshoot", "client")]
    cluster.apply([*objects, service("web", "web"), policy("web", "web", "client")])
    for name in ("web", "client"):
        cluster.wait(f"pod/{name}")
    yield cluster
    home.minik8s("down", "--cluster", NAME)


def events(cluster: Cluster) -> list[str]:
    found = cluster.api.request("GET", "/api/v1/events", query={"fieldSelector": "reason=Healed"})["items"]
    return [event["message"] for event in found]


@pytest.mark.parametrize(("component", "place", "command"), CASES, ids=[f"{p}: {c}" for _, p, c in CASES])
def test_what_is_broken_from_outside_is_put_back(
    component: str, place: str, command: str, healed: Cluster, eventually: Callable[..., Any]
) -> None:
    address = healed.get("pod", "web").status.podIP
    port = "veth" + "".join(f"{int(part):02x}" for part in address.split("."))
    assert healed.diff() == []
    before = kernel_state(healed)
    said = len(events(healed))
    healed.api.verb("heal-pause", component="all")  # to see it broken, and that pausing keeps it so
    assert healed.shell(place, command.format(port=port)).exit_code == 0
    assert component in {drift.component for drift in healed.diff()}
    healed.api.verb("heal-resume", component="all")
    eventually(lambda: healed.diff() == [], PATIENCE)
    returns_to(healed, before, PATIENCE)
    assert healed.exec("client", ["curl", "-s", "-m", "3", "http://web"]).exit_code == 0
    assert len(events(healed)) >= said


def test_it_is_noticed_without_being_asked_and_an_event_tells(healed: Cluster, eventually: Callable[..., Any]) -> None:
    began = time.monotonic()
    healed.shell("node-2", "ip route del 10.244.1.0/24")
    eventually(lambda: any("node-2: put back route 10.244.1.0/24" in text for text in events(healed)), PATIENCE)
    assert time.monotonic() - began < PATIENCE
    healed.shell("node-1", "iptables -t nat -F KUBE-SERVICES")
    eventually(lambda: any("service default/web" in text for text in events(healed)), PATIENCE)
    healed.shell("node-1", "ipset flush KUBE-PODS")
    eventually(lambda: any("set KUBE-PODS" in text for text in events(healed)), PATIENCE)


def test_what_is_not_ours_stays(healed: Cluster) -> None:
    mine = [
        "iptables -A FORWARD -s 203.0.113.1 -j DROP",
        "iptables -t nat -N MINE",
        "ip route add 203.0.113.0/24 dev eth0",
        "ipset create mine hash:ip",
    ]
    for command in mine:
        assert healed.shell("node-1", command).exit_code == 0
    healed.shell("node-1", "iptables -F KUBE-NWPLCY")
    time.sleep(2.5)
    assert healed.diff() == []
    assert "203.0.113.1" in healed.shell("node-1", "iptables -S FORWARD").stdout
    assert "MINE" in healed.shell("node-1", "iptables -t nat -S").stdout
    assert "203.0.113.0/24" in healed.shell("node-1", "ip route").stdout
    assert "mine" in healed.shell("node-1", "ipset list -n").stdout


def test_paused_component_stays_broken_also_over_a_restart(
    healed: Cluster, home: Home, eventually: Callable[..., Any]
) -> None:
    home.minik8s("fault", "pause", "route", "--cluster", NAME)
    healed.shell("node-1", "ip route del 10.244.2.0/24")
    healed.shell("node-1", "sysctl -qw net.ipv4.ip_forward=0")
    eventually(lambda: [d.component for d in healed.diff()] == ["route"], PATIENCE)
    owned = json.loads(home.state(NAME).owned.read_text())
    os.kill(owned["controller"]["pid"], signal.SIGKILL)
    eventually(lambda: _asked(home) == ["route"], 20)
    healed = home.cluster(NAME)  # on a connection of the new controller
    said = home.minik8s("fault", "resume", "route", "--cluster", NAME).stdout
    assert "Everything heals" in said
    eventually(lambda: healed.diff() == [], PATIENCE)


def _asked(home: Home) -> Any:
    done = home.minik8s("fault", "list", "-o", "json", "--cluster", NAME, check=False)
    return json.loads(done.stdout)["paused"] if done.returncode == 0 else None
