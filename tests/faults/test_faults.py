"""Each fault: injected, its symptom seen from a pod, cleared, and the kernel as it was before (compared)."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from minik8s_net import Cluster
from minik8s_net.api.errors import StatusError
from minik8s_net.boot.record import Record
from minik8s_net.faults.catalogue import CATALOGUE
from minik8s_net.faults.mechanisms import mechanisms
from tests.conftest import Home

from .conftest import NAME, service
from .kernelstate import kernel_state, returns_to

pytestmark = pytest.mark.cluster
Symptom = Callable[[Cluster], bool]


def ip(cluster: Cluster, name: str) -> str:
    return str(cluster.get("pod", name).status.podIP)


def get(cluster: Cluster, host: str, pod: str = "client") -> str:
    """`ok`, `refused`, `timeout` or `no name`: what curl says of http://HOST/ from a pod."""
    code = cluster.exec(pod, ["curl", "-s", "-o", "/dev/null", "-m", "1.5", f"http://{host}/"]).exit_code
    return {0: "ok", 6: "no name", 7: "refused", 28: "timeout"}.get(code, f"curl exit {code}")


def ping(cluster: Cluster, host: str, *options: str) -> tuple[float, float]:
    """(percent lost, average milliseconds) of pings from the client."""
    said = cluster.exec("client", ["ping", "-q", "-W", "1", *options, host]).stdout
    lost = re.search(r"([\d.]+)% packet loss", said)
    times = re.search(r"= [\d.]+/([\d.]+)/", said)
    assert lost, said
    return float(lost[1]), float(times[1]) if times else 0.0


def silent(cluster: Cluster) -> bool:
    return get(cluster, ip(cluster, "web")) in ("timeout", "refused") and get(cluster, ip(cluster, "near")) == "ok"


def service_refused(cluster: Cluster) -> bool:
    return get(cluster, "web") == "refused" and get(cluster, ip(cluster, "web")) == "ok"


def name_is_slow(cluster: Cluster) -> bool:
    began = time.monotonic()
    # between two, long enough that both can't be answered in one waking moment of the server
    cluster.exec("client", ["sh", "-c", "for i in 1 2 3 4; do getent hosts web; sleep 0.1; done"])
    return time.monotonic() - began > 1.0


def new_service_unknown(cluster: Cluster) -> bool:
    cluster.apply(service("news", "web"))
    time.sleep(0.3)
    found = get(cluster, "news") != "ok" and get(cluster, "news", pod="other") == "ok"
    cluster.delete("service", "news")
    return found


SYMPTOMS: dict[str, tuple[dict[str, Any], Symptom]] = {
    "link-down": ({"at": "node-3"}, silent),
    "node-lost": ({"node": "node-3"}, silent),
    "partition": ({"node": "node-1", "peer": "node-3"}, silent),
    "loss": ({"at": "web", "percent": 50}, lambda c: 5 < ping(c, ip(c, "web"), "-c30", "-i.02")[0] < 100),
    "delay": ({"node": "node-3", "milliseconds": 60}, lambda c: ping(c, ip(c, "web"), "-c3", "-i.1")[1] > 110),
    "bandwidth": (
        {"at": "web", "kbytes": 20},
        lambda c: ping(c, ip(c, "web"), "-c300", "-i.002", "-s1400")[0] > 10 and ping(c, ip(c, "web"), "-c2")[0] < 60,
    ),
    "mtu": (
        {"node": "node-3", "bytes": 1300},
        lambda c: ping(c, ip(c, "web"), "-c2", "-s1400", "-Mdo")[0] == 100 and get(c, ip(c, "web")) == "ok",
    ),
    "dns-dead": ({}, lambda c: get(c, "web") == "no name" and get(c, ip(c, "web")) == "ok"),
    "dns-slow": ({"milliseconds": 400}, name_is_slow),
    "proxy-stopped": ({"node": "node-1"}, new_service_unknown),
    "forwarding-off": ({"node": "node-1"}, silent),
    "missing-route": ({"node": "node-1", "peer": "node-3"}, silent),
    "wrong-gateway": ({"pod": "client"}, silent),
    "rule-missing": (
        {"service": "web", "node": "node-1"},
        lambda c: get(c, "web") != "ok" and get(c, "web", pod="other") == "ok" and get(c, ip(c, "web")) == "ok",
    ),
    "selector-typo": ({"service": "web"}, service_refused),
    "wrong-target-port": ({"service": "web"}, service_refused),
}


def test_every_fault_has_a_mechanism_and_a_test() -> None:
    assert CATALOGUE.keys() == mechanisms().keys() == SYMPTOMS.keys()


@pytest.mark.parametrize("name", SYMPTOMS)
def test_fault_shows_its_symptom_and_clears_without_a_trace(
    name: str, healthy: Cluster, eventually: Callable[..., Any]
) -> None:
    parameters, symptom = SYMPTOMS[name]
    assert get(healthy, "web") == "ok"
    before = kernel_state(healthy)
    told = healthy.api.verb("fault-inject", name=name, parameters=parameters)
    assert told["lesson"] == CATALOGUE[name].lesson
    eventually(lambda: symptom(healthy), 12)
    healthy.api.verb("fault-clear", which=name)
    returns_to(healthy, before, 12)
    assert get(healthy, "web") == "ok"
    assert not symptom(healthy)


def test_injected_fault_is_not_healed_and_its_neighbours_are(healthy: Cluster, eventually: Callable[..., Any]) -> None:
    healthy.api.verb("fault-inject", name="missing-route", parameters={"node": "node-1", "peer": "node-3"})
    healthy.shell("node-1", "ip route del 10.244.2.0/24")
    eventually(lambda: "10.244.2.0/24" in healthy.shell("node-1", "ip route").stdout, 10)
    assert "10.244.3.0/24" not in healthy.shell("node-1", "ip route").stdout
    drift = healthy.api.verb("diff")["drift"]
    assert [(d["component"], d["place"], d["what"]) for d in drift] == [("route", "node-1", "route 10.244.3.0/24")]


def test_delay_is_made_again_by_the_next_controller(
    healthy: Cluster, home: Home, eventually: Callable[..., Any]
) -> None:
    """Its relay lives in the controller; what a killed one leaves in the fabric is neither in the way nor left over."""
    before = kernel_state(healthy)
    parameters, late = SYMPTOMS["delay"]
    healthy.api.verb("fault-inject", name="delay", parameters=parameters)
    eventually(lambda: late(healthy), 12)
    os.kill(Record(home.state(NAME)).read()["controller"].pid, signal.SIGKILL)
    home.minik8s("up", "--cluster", NAME, "-q")
    eventually(lambda: late(healthy), 12)
    healthy.api.verb("fault-clear", which="delay")
    returns_to(healthy, before, 12)
    assert not late(healthy)


def test_refusals_name_what_is_wrong(healthy: Cluster) -> None:
    def refusal(**asked: Any) -> str:
        with pytest.raises(StatusError) as error:
            healthy.api.verb("fault-inject", **asked)
        return str(error.value)

    assert "link-down" in refusal(name="nonsense")
    assert "node-9" in refusal(name="link-down", parameters={"at": "node-9"})
    assert "between 1 and 100" in refusal(name="loss", parameters={"percent": 101})
    assert "choose two" in refusal(name="partition", parameters={"node": "node-1", "peer": "node-1"})
    healthy.api.verb("fault-inject", name="link-down", parameters={"at": "node-3"})
    assert "in there already" in refusal(name="node-lost", parameters={"node": "node-3"})


def test_random_fault_follows_its_seed_and_keeps_its_name_to_itself(healthy: Cluster) -> None:
    told = healthy.api.verb("fault-inject", name="random", seed=11, hidden=True)
    assert told["name"] == "(hidden)" and "lesson" not in told
    assert healthy.api.verb("fault-list")["injected"][0]["name"] == "(hidden)"
    (first,) = healthy.api.verb("fault-clear", which="all")["cleared"]
    healthy.api.verb("fault-inject", name="random", seed=11)
    (second,) = healthy.api.verb("fault-clear", which="all")["cleared"]
    assert (first["name"], first["parameters"]) == (second["name"], second["parameters"])
