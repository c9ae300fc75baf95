"""`explain` and `reach` on a live cluster: each case has one cause, and a healthy one has none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minik8s_net import Cluster
from minik8s_net.observe.explain.model import KINDS, Explanation
from tests.conftest import Home

pytestmark = pytest.mark.cluster
NAME = "why"


def pod(name: str, node: str, image: str, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": image, **spec.pop("container", {})}
    meta = {"name": name, "namespace": namespace, "labels": {"app": name}}
    body = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body}


def service(name: str, app: str, namespace: str = "default", **port: Any) -> dict[str, Any]:
    spec = {"selector": {"app": app}, "ports": [{"port": 80, **port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def policy(name: str, namespace: str, app: str, **spec: Any) -> dict[str, Any]:
    body = {"podSelector": {"matchLabels": {"app": app}}, **spec}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    return {**kind, "metadata": {"name": name, "namespace": namespace}, "spec": body}


SLEEP = {"command": ["sleep", "infinity"]}
LOCAL = {"command": ["python3", "-m", "http.server", "80", "--bind", "127.0.0.1"]}
NEVER = {"readinessProbe": {"httpGet": {"path": "/nothing-here", "port": 80}, "periodSeconds": 1}}
DNS = [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}]
OBJECTS = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "walled"}},
    pod("client", "node-2", "netshoot", container=SLEEP),
    pod("near", "node-1", "netshoot", container=SLEEP),
    pod("web", "node-1", "nginx", container={"ports": [{"name": "http", "containerPort": 80}]}),
    pod("local", "node-1", "python", container=LOCAL),
    pod("never", "node-1", "nginx", container=NEVER),
    pod("pulled", "node-1", "no-such-image"),
    pod("quiet", "node-2", "netshoot", container=SLEEP),
    pod("mute", "node-2", "netshoot", container=SLEEP),
    pod("strict", "node-2", "netshoot", container=SLEEP),
    pod("web", "node-1", "nginx", "walled"),
    pod("open", "node-2", "nginx", "walled"),
    service("web", "web"),
    service("by-name", "web", targetPort="http"),
    service("bare", "web") | {"spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]}},
    service("typo", "wbe"),
    service("wrong", "web", targetPort=8080),
    service("no-name", "web", targetPort="htpp"),
    service("local", "local"),
    service("never", "never"),
    service("pulled", "pulled"),
    service("quiet", "quiet"),
    service("hand", "web") | {"spec": {"ports": [{"port": 80}]}},
    service("node", "web") | {"spec": {"type": "NodePort", "selector": {"app": "web"},
                                       "ports": [{"port": 80, "nodePort": 30080}]}},
    service("web", "web", "walled"),
    service("open", "open", "walled"),
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "guests", "labels": {"team": "guests"}}},
    pod("visitor", "node-2", "netshoot", "guests", container=SLEEP),
    pod("picky", "node-1", "nginx", "walled"),
    pod("ported", "node-1", "nginx", "walled"),
    pod("ranged", "node-1", "nginx", "walled"),
    service("nowhere", "web") | {"spec": {"ports": [{"port": 80}]}},
    {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "nowhere", "namespace": "default"},
     "subsets": [{"addresses": [{"ip": "10.244.1.251"}], "ports": [{"port": 80}]}]},
    service("elsewhere", "web") | {"spec": {"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}},
    policy("picks", "walled", "picky",
           ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "geusts"}}}]}]),
    policy("ports", "walled", "ported", ingress=[{"ports": [{"port": 8080}]}]),
    policy("ranges", "walled", "ranged",
           ingress=[{"from": [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.2.0/24"]}}]}]),
    policy("walls", "walled", "web", ingress=[]),
    policy("friends", "walled", "open", ingress=[{"from": [{"podSelector": {}}]}]),
    policy("no-egress", "default", "mute", policyTypes=["Egress"], egress=[]),
    policy("only-dns", "default", "strict", policyTypes=["Egress"], egress=DNS),
]  # fmt: skip
HEALTHY = [
    ("client", "http://web"), ("near", "http://web"), ("web", "http://web"), ("client", "web.default.svc"),
    ("client", "svc/web"), ("client", "http://by-name"), ("client", "http://bare"), ("client", "dns:web"),
    ("outside", "172.18.1.1:30080"), ("outside", "172.18.1.2:30080"), ("walled/web", "http://open"),
    ("walled/open", "http://web.default"), ("strict", "dns:web"), ("client", "dns:kubernetes"), ("near", "svc/node"),
    ("client", "udp://10.96.0.10:53"), ("client", "pod/web:80"), ("client", "http://elsewhere"), ("near", "http://node"),
    ("web", "svc/web"), ("node-2", "svc/web"), ("near", "pod/walled/ranged:80"),
]  # fmt: skip
BROKEN = [
    ("client", "http://wbe", "name", "default/wbe"),
    ("client", "http://web.nowhere", "name", "nowhere/web"),
    ("client", "http://open", "name", "default/open"),
    ("client", "http://web:81", "service-port", "default/web"),
    ("client", "udp://web:80", "service-port", "default/web"),
    ("client", "http://typo", "selector", "default/typo"),
    ("near", "http://typo", "selector", "default/typo"),
    ("client", "http://hand", "no-endpoints", "default/hand"),
    ("client", "10.244.1.250:80", "no-endpoints", "10.244.1.250"),
    ("client", "http://wrong", "target-port", "default/wrong"),
    ("client", "svc/wrong", "target-port", "default/wrong"),
    ("client", "http://no-name", "target-port", "default/no-name"),
    ("client", "http://local", "listener", "default/local"),
    ("near", "pod/local:80", "listener", "default/local"),
    ("client", "http://quiet", "listener", "default/quiet"),
    ("client", "pod/web:81", "listener", "default/web"),
    ("client", "http://never", "readiness", "default/never"),
    ("client", "http://pulled", "pod-not-running", "default/pulled"),
    ("pulled", "http://web", "pod-not-running", "default/pulled"),
    ("client", "http://web.walled", "policy-ingress", "walled/walls"),
    ("walled/open", "http://web", "policy-ingress", "walled/walls"),
    ("client", "http://open.walled", "policy-ingress", "walled/friends"),
    ("mute", "http://web", "dns-policy", "default/no-egress"),
    ("mute", "svc/web", "policy-egress", "default/no-egress"),
    ("mute", "pod/web:80", "policy-egress", "default/no-egress"),
    ("strict", "http://web", "policy-egress", "default/only-dns"),
    ("guests/visitor", "pod/walled/picky:80", "policy-ingress", "walled/picks"),
    ("guests/visitor", "pod/walled/ported:80", "policy-ingress", "walled/ports"),
    ("guests/visitor", "pod/walled/ranged:80", "policy-ingress", "walled/ranges"),
    ("client", "svc/nowhere", "no-endpoints", "default/nowhere"),
]
AT_WEB = {"at": "node-1"}
FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("link-down", AT_WEB, "link-down"),
    ("link-down", {"at": "default/web"}, "link-down"),
    ("loss", {"at": "default/client", "percent": 60}, "loss"),
    ("node-lost", {"node": "node-1"}, "node-lost"),
    ("partition", {"node": "node-1", "peer": "node-2"}, "partition"),
    ("loss", AT_WEB, "loss"),
    ("delay", {"node": "node-1"}, "delay"),
    ("bandwidth", AT_WEB, "bandwidth"),
    ("mtu", {"node": "node-1"}, "mtu"),
    ("dns-dead", {}, "dns-dead"),
    ("dns-slow", {}, "dns-slow"),
    ("proxy-stopped", {"node": "node-2"}, "proxy-stopped"),
    ("forwarding-off", {"node": "node-1"}, "forwarding-off"),
    ("missing-route", {"node": "node-2", "peer": "node-1"}, "route-missing"),
    ("missing-route", {"node": "node-1", "peer": "node-2"}, "route-missing"),
    ("wrong-gateway", {"pod": "client"}, "wrong-gateway"),
    ("wrong-gateway", {"pod": "web"}, "wrong-gateway"),
    ("rule-missing", {"service": "web", "node": "node-2"}, "rule-missing"),
    ("selector-typo", {"service": "web"}, "selector"),
    ("wrong-target-port", {"service": "web"}, "target-port"),
]


@pytest.fixture(scope="module")
def why(home: Home) -> Iterator[Cluster]:
    home.minik8s("up", "--cluster", NAME, "--nodes", "2")
    cluster = home.cluster(NAME)
    cluster.apply(OBJECTS)
    for name in ("client", "near", "web", "local", "quiet", "mute", "strict"):
        cluster.wait(f"pod/{name}")
    for name in ("web", "open", "picky", "ported", "ranged"):
        cluster.wait(f"pod/{name}", namespace="walled")
    cluster.wait("pod/visitor", namespace="guests")
    yield cluster
    home.minik8s("down", "--cluster", NAME)


@pytest.fixture(scope="module")
def listening(why: Cluster) -> None:
    """The server that listens on 127.0.0.1 takes a moment more than its readiness."""
    why.exec(
        "local", ["sh", "-c", "for i in $(seq 50); do curl -s -m 1 127.0.0.1 >/dev/null && break; sleep 0.1; done"]
    )


@pytest.mark.parametrize(("source", "target"), HEALTHY)
def test_a_healthy_way_has_no_cause(source: str, target: str, why: Cluster) -> None:
    found = why.explain(source, target)
    assert found.cause is None and found.verdict == "reachable" and not found.differences, str(found)
    assert not [step for step in found.steps if step.ok is False], str(found)


@pytest.mark.parametrize(("source", "target", "kind", "culprit"), BROKEN)
def test_the_cause_is_named(
    source: str, target: str, kind: str, culprit: str, why: Cluster, listening: None
) -> None:  # fmt: skip
    found = why.explain(source, target)
    assert found.cause and found.cause.kind == kind and culprit in found.cause.object, str(found)
    assert not found.differences, str(found)
    assert source == "pulled" or "the kernel says" in found.steps[-1].because, "no real packet beside the reasoning"
    assert len([step for step in found.steps if step.ok is False]) <= 1, str(found)
    assert found.cause.mend and all(len(line) <= 80 for line in str(found).splitlines())


@pytest.mark.parametrize(("fault", "parameters", "kind"), FAULTS)
def test_a_fault_is_named_from_evidence(
    fault: str, parameters: dict[str, Any], kind: str, why: Cluster, eventually: Callable[..., Any]
) -> None:  # fmt: skip
    assert kind in KINDS
    why.fault(fault, **parameters)
    try:
        target = "http://web"
        if fault == "proxy-stopped":  # what stands goes on, and only a change shows it
            assert why.explain("client", "http://web").cause is None
            both = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "targetPort": 80}]
            why.apply([service("web", "web") | {"spec": {"selector": {"app": "web"}, "ports": both}}])
            target = "http://web:81"

        def named() -> bool:
            found = why.explain("client", target)
            assert not found.differences, str(found)
            return found.cause is not None and found.cause.kind == kind

        eventually(named, seconds=10)
        if fault in ("partition", "loss", "delay", "mtu", "rule-missing", "missing-route"):  # a way that is not touched
            assert why.explain("walled/web", "pod/web:80", "default").cause is None
        if parameters == {"pod": "web"}:  # its neighbour is answered without a gateway
            assert why.explain("near", "http://web").cause is None
    finally:
        why.clear()
        why.apply([service("web", "web")])
    eventually(lambda: why.explain("client", "http://web").cause is None, seconds=10)


def test_reach_measures_what_policies_say(why: Cluster, home: Home) -> None:
    everything = why.reach(80, namespace="*")
    assert not everything.wrong and everything.seconds < 2
    assert not everything["default/client", "walled/web"].reached and everything["walled/web", "walled/open"].reached
    assert everything["default/client", "default/web"].measured == "open"
    told = json.loads(home.minik8s("reach", "--cluster", NAME, "-A", "-o", "json").stdout)
    assert len(told["cells"]) == len(everything.cells)
    assert all(len(line) <= 80 for line in home.minik8s("reach", "--cluster", NAME, "-A").stdout.splitlines())
    assert {c.target for c in why.reach(services=True).cells} >= {"default/web", "default/typo"}


def test_the_command_says_it_all(why: Cluster, home: Home) -> None:
    done = home.minik8s("explain", "--cluster", NAME, "client", "http://typo", check=False)
    assert done.returncode == 1 and "near to it: app=web" in " ".join(done.stdout.split())
    told = home.minik8s("explain", "--cluster", NAME, "client", "http://typo", "-o", "json", check=False).stdout
    assert Explanation.from_dict(json.loads(told)).cause
