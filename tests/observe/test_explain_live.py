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
ALIASES = [{"ip": "172.18.1.1", "hostnames": ["node.alias"]}]
NEVER = {"readinessProbe": {"httpGet": {"path": "/nothing-here", "port": 80}, "periodSeconds": 1}}
DNS = [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}]
OBJECTS = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "walled"}},
    pod("client", "node-2", "netshoot", container=SLEEP, hostAliases=ALIASES),
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
    service("idle", "idle"),
    {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "idle"}},
        "template": {"metadata": {"labels": {"app": "idle"}},
                     "spec": {"containers": [{"name": "c", "image": "nginx"}]}}}},
    pod("second", "node-2", "netshoot", container=SLEEP, dnsPolicy="None",
        dnsConfig={"nameservers": ["10.96.0.99", "10.96.0.10"], "searches": ["default.svc.cluster.local"]}),
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
    service("nameless", "web") | {"spec": {"type": "ExternalName", "externalName": "no.default.svc.cluster.local"}},
    service("abroad", "web") | {"spec": {"type": "ExternalName", "externalName": "example.com"}},
    pod("db-0", "node-1", "nginx", hostname="db-0", subdomain="db"),
    service("db", "db-0") | {"spec": {"clusterIP": "None", "selector": {"app": "db-0"}, "ports": [{"port": 80}]}},
    pod("agent", "node-1", "netshoot", container=SLEEP, hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"),
    pod("plain", "node-1", "netshoot", container=SLEEP, hostNetwork=True),
    service("afar", "web") | {"spec": {"ports": [{"port": 9999}]}},
    {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "afar", "namespace": "default"},
     "subsets": [{"addresses": [{"ip": "172.18.0.2"}], "ports": [{"port": 9999}]}]},
    service("outer", "web") | {"spec": {"type": "NodePort", "externalTrafficPolicy": "Local",
                                        "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": 30099}]}},
    service("inner", "web") | {"spec": {"internalTrafficPolicy": "Local", "selector": {"app": "web"},
                                        "ports": [{"port": 80}]}},
    policy("a-denies", "walled", "open", ingress=[]),
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
    ("client", "http://db-0.db"), ("client", "db-0.db.default.svc.cluster.local:80"), ("client", "svc/db"),
    ("web", "http://localhost"), ("client", "http://node.alias:30080"), ("agent", "http://web"),
    ("client", "https://kubernetes"), ("outside", "172.18.1.1:30099"), ("client", "172.18.1.2:30099"),
    ("near", "http://inner"), ("client", "svc/elsewhere"), ("outside", "svc/db"),
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
    ("client", "http://idle", "no-endpoints", "Deployment default/idle"),
    ("second", "http://web", "dns-slow", "Pod second"),
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
    ("client", "http://nameless", "name", "default/nameless"),
    ("client", "http://abroad", "name", "default/abroad"),
    ("client", "db-0.db.default.svc.cluster.local:9999", "listener", "default/db-0"),
    ("client", "http://db-1.db", "name", "db-1.db"),
    ("client", "http://example.com", "name", "example.com"),
    ("client", "http://node.alias:81", "listener", "node-1"),
    ("web", "http://localhost:81", "listener", "default/web"),
    ("plain", "http://web", "name", "default/plain"),
    ("outside", "http://web", "name", "outside"),
    ("client", "8.8.8.8:80", "no-way-out", "8.8.8.8"),
    ("outside", "svc/web", "no-way-out", "default/web"),
    ("client", "10.96.77.77:80", "no-endpoints", "10.96.77.77"),
    ("client", "http://afar:9999", "listener", "outside"),
    ("outside", "172.18.1.2:30099", "traffic-policy", "default/outer"),
    ("node-1", "172.18.1.2:30099", "traffic-policy", "default/outer"),
    ("client", "http://inner", "traffic-policy", "default/inner"),
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
    for name in ("client", "near", "web", "local", "quiet", "mute", "strict", "db-0", "agent", "plain"):
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
    assert found.steps[-1].ok and "the kernel says delivered" in found.steps[-1].because, str(found)


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


def test_of_two_faults_the_one_that_severs_is_the_cause(why: Cluster, eventually: Callable[..., Any]) -> None:
    why.fault("delay", node="node-2", milliseconds=20)
    try:
        eventually(lambda: str(why.explain("client", "pod/web:80").verdict) == "degraded")
        why.fault("missing-route", node="node-2", peer="node-1")
        found = why.explain("client", "pod/web:80")
        assert found.cause and found.cause.kind == "route-missing" and found.verdict == "unreachable", str(found)
        assert "minik8s fault clear" in found.cause.mend and "no-answer" in found.steps[-1].because
    finally:
        why.clear()


def test_a_denial_names_the_policy_of_each_rule(why: Cluster) -> None:
    both = why.explain("client", "pod/walled/open:80").cause
    assert both and both.object == "NetworkPolicy walled/friends" and "walled/friends" in both.mend
    assert "walled/friends ingress[0]: from[0]" in both.sentence and "walled/a-denies: ingress has no" in both.sentence
    denied = why.explain("client", "pod/walled/web:80").cause
    assert denied and denied.mend.startswith("write a NetworkPolicy that selects walled/web")  # no hole into `walls`


def test_what_was_not_looked_at_is_not_ticked_and_nothing_is_said_twice(why: Cluster) -> None:
    found = why.explain("client", "172.18.9.9:80")  # an address of the fabric that nobody has
    (looked,) = [step for step in found.steps if "listen" in step.question]
    assert looked.ok is None and "cannot be looked at" in looked.because
    assert found.cause and found.cause.kind == "unknown" and found.differences == [found.cause.sentence]
    assert str(found).count("by objects and rules") == 1 and "But:" not in str(found)
    policy = why.explain("outside", "172.18.1.2:30099").cause
    assert policy and "spec.externalTrafficPolicy of Service default/outer" in policy.sentence


def test_a_hostname_that_no_pod_has_is_told_with_its_service(why: Cluster) -> None:
    cause = why.explain("client", "http://db-1.db").cause
    assert cause and "no pod behind Service db has the hostname db-1" in cause.sentence


def test_an_alias_by_the_api_needs_dns_too(why: Cluster) -> None:
    for source, culprit in (("client", "default/nameless"), ("outside", "outside")):
        cause = why.explain(source, "svc/nameless").cause
        assert cause and cause.kind == "name" and culprit in cause.object, cause


def test_dns_says_whom_it_asked(why: Cluster, home: Home) -> None:
    for source in ("plain", "outside"):
        done = home.minik8s("dns", "--cluster", NAME, source, "web", check=False)
        assert done.returncode == 1 and "10.96.0.10" not in done.stdout, done.stdout
        assert "no nameserver: 127.0.0.1 is asked" in done.stdout and "no names here" in done.stdout
    assert why.dns("agent", "web").found  # on its node's network, and yet with a resolv.conf of its own
    assert why.trace("agent", "http://web").delivered


def test_reach_tells_a_refusal_from_an_answer(why: Cluster, home: Home) -> None:
    told = json.loads(home.minik8s("reach", "--cluster", NAME, "--port", "81", "-o", "json").stdout)
    assert {"source", "target", "measured", "expected"} == set(told["cells"][0])
    there = why.reach(81)
    cell = there["default/client", "default/web"]
    assert (cell.measured, cell.reached, cell.mark) == ("refused", True, "o") and "o refuses" in str(there)
    assert why.reach(80)["default/client", "default/web"].mark == "✓"


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
