"""Services of a whole cluster, as a user meets them: one cluster by routes and iptables, one by VXLAN and nftables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minik8s_net import Cluster
from minik8s_net.proxy.announce import ANNOUNCED_BY
from minik8s_net.proxy.loadbalancer import EXCLUDED
from tests.conftest import Home

pytestmark = pytest.mark.cluster
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.47"
OUTSIDE = "172.18.0.2"
Eventually = Callable[..., Any]
MODES = [("host-gw", "iptables"), ("vxlan", "nftables")]


@pytest.fixture(scope="module", params=MODES, ids="-".join)
def c(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cni, proxy_mode = request.param
    home = Home(tmp_path_factory.mktemp("services"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIK8S_HOME", str(home.path / "state"))  # for Cluster.shell, which looks the runtime up
        home.minik8s("up", "--cluster", "s", "--nodes", "2", "--cni", cni, "--proxy-mode", proxy_mode)
        cluster = home.cluster("s")
        cluster.apply([service("early", {"port": 80}), pod("client", "curlimages/curl", command=["sleep", "inf"])])
        cluster.apply(web := [pod(f"web-{n}", AGNHOST, app="web", node=f"node-{n}") for n in (1, 2)])
        for each in ("client", *(w["metadata"]["name"] for w in web)):
            cluster.wait(f"pod/{each}")
        yield cluster
        home.minik8s("down", "--all")


def pod(name: str, image: str = AGNHOST, *, app: str = "", node: str = "", port: int = 8080, **more: Any) -> Any:
    """A pod that serves netexec on `port` (named http) unless it is told another command."""
    ports = [{"name": "http", "containerPort": port, **more.pop("port_of", {})}]
    serve = [] if "command" in more else ["netexec", f"--http-port={port}", f"--udp-port={port + 1}"]
    fields = {k: more.pop(k) for k in ("command", "readinessProbe", "lifecycle") if k in more}
    container = {"name": "c", "image": image, "args": serve, "ports": ports, **fields}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 10, **({"nodeName": node} if node else {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app or name}},
        "spec": {**spec, **more},
    }


def service(name: str, *ports: Any, app: str | None = "", **spec: Any) -> Any:
    """Selects the pods labelled `app` (its own name; None: nobody)."""
    selector = {} if app is None else {"selector": {"app": app or name}}
    listed = [{"targetPort": "http", **port} for port in ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {**({"ports": listed} if listed else {}), **selector, **spec},
    }


def get(c: Cluster, url: str, where: str = "client") -> str:
    """What curl got, "" if nothing."""
    command = f"curl -s -m 1 http://{url}"
    place = where in ("outside", "node-1", "node-2")
    return (c.shell(where, command) if place else c.exec(where, command)).stdout.strip()


def address(c: Cluster, name: str) -> str:
    ingress = c.get("service", name).status.loadBalancer.ingress
    return ingress[0].ip if ingress else ""


def test_a_name_spreads_over_the_pods_of_both_nodes(c: Cluster, eventually: Eventually) -> None:
    c.apply(service("web", {"port": 80, "appProtocol": "http"}))
    seen: set[str] = set()
    eventually(lambda: seen.add(get(c, "web/hostname")) or seen >= {"web-1", "web-2"})
    client = c.get("pod", "client").status.podIP
    assert get(c, "web/clientip").split(":")[0] == client
    (piece,) = c.get("endpointslices", labels="kubernetes.io/service-name=web")
    assert [p.appProtocol for p in piece.ports] == ["http"]
    assert {e.nodeName for e in piece.endpoints} == {"node-1", "node-2"}


def test_a_load_balancer_is_reached_from_outside_and_moves(c: Cluster, eventually: Eventually) -> None:
    c.apply(service("lb", {"port": 80}, app="web", type="LoadBalancer", externalTrafficPolicy="Local"))
    ip = eventually(lambda: address(c, "lb"))
    assert ip.startswith("172.18.200.")
    eventually(lambda: get(c, f"{ip}/hostname", "outside"))
    assert get(c, f"{ip}/clientip", "outside").split(":")[0] == OUTSIDE
    spec = c.get("service", "lb").spec
    for node in ("172.18.1.1", "172.18.1.2"):
        assert '"localEndpoints": 1' in get(c, f"{node}:{spec.healthCheckNodePort}", "outside")
    announcing = c.get("service", "lb").metadata.annotations[ANNOUNCED_BY]
    other = {"node-1": "web-2", "node-2": "web-1"}[announcing]
    label(c, announcing, {EXCLUDED: ""})
    eventually(lambda: get(c, f"{ip}/hostname", "outside") == other)
    label(c, announcing, {EXCLUDED: None})
    c.delete("service", "lb")
    eventually(lambda: get(c, f"{ip}/hostname", "outside") == "")


def label(c: Cluster, node: str, labels: dict[str, Any]) -> None:
    path, patch = c.api.resource("node").path(None, node), {"metadata": {"labels": labels}}
    c.api.request("PATCH", path, patch, content_type="application/merge-patch+json")


def test_types_change_in_both_directions(c: Cluster, eventually: Eventually) -> None:
    target = {"port": 80, "nodePort": 30555}
    c.apply(service("shape", target, app="web", type="NodePort"))
    eventually(lambda: get(c, "172.18.1.2:30555/hostname", "outside").startswith("web-"))
    before = c.get("service", "shape").spec.clusterIP
    c.apply(service("shape", target, app="web", type="LoadBalancer"))
    ip = eventually(lambda: address(c, "shape"))
    eventually(lambda: get(c, f"{ip}/hostname", "outside").startswith("web-"))
    c.apply(service("shape", {"port": 80}, app="web", type="ClusterIP"))
    eventually(lambda: not address(c, "shape") and not get(c, "172.18.1.2:30555/hostname", "outside"))
    assert c.get("service", "shape").spec.clusterIP == before
    eventually(lambda: get(c, "shape/hostname").startswith("web-"))
    c.delete("service", "shape")
    c.apply(service("shape", app=None, type="ExternalName", externalName="web.default.svc.cluster.local"))
    eventually(lambda: get(c, "shape:80/hostname").startswith("web-"))
    c.delete("service", "shape")


def test_environment_of_a_pod_that_came_after_the_service(c: Cluster) -> None:
    ip = c.get("service", "early").spec.clusterIP
    env = dict(line.split("=", 1) for line in c.exec("client", "env").stdout.splitlines() if "=" in line)
    expected = {"SERVICE_HOST": ip, "SERVICE_PORT": "80", "PORT": f"tcp://{ip}:80", "PORT_80_TCP": f"tcp://{ip}:80"}
    expected |= {"PORT_80_TCP_PROTO": "tcp", "PORT_80_TCP_PORT": "80", "PORT_80_TCP_ADDR": ip}
    assert {k: env.get(f"EARLY_{k}") for k in expected} == expected
    c.apply(pod("plain", "busybox", command=["sleep", "inf"], enableServiceLinks=False))
    c.wait("pod/plain")
    plain = c.exec("plain", "env").stdout
    assert "EARLY_" not in plain and "KUBERNETES_SERVICE_HOST=10.96.0.2" in plain
    c.delete("pod", "plain")


def test_a_port_name_is_another_number_in_each_pod(c: Cluster, eventually: Eventually) -> None:
    pods = [pod("old", app="mixed", port=8080), pod("new", app="mixed", port=9090)]
    c.apply([*pods, service("mixed", {"port": 80})])
    seen: set[str] = set()
    eventually(lambda: seen.add(get(c, "mixed/hostname")) or seen >= {"old", "new"})
    assert len(c.get("endpointslices", labels="kubernetes.io/service-name=mixed")) == 2
    c.delete([*pods, service("mixed", {"port": 80})])


def test_tcp_and_udp_on_one_number(c: Cluster, eventually: Eventually) -> None:
    ports = [{"name": "tcp", "port": 53}, {"name": "udp", "port": 53, "protocol": "UDP", "targetPort": 8081}]
    c.apply(service("both", *ports, app="web"))
    ip = c.get("service", "both").spec.clusterIP
    eventually(lambda: get(c, f"{ip}:53/hostname").startswith("web-"))
    dial = f"127.0.0.1:8080/dial?host={ip}&port=53&protocol=udp&request=hostname&tries=1"
    eventually(lambda: "web-" in get(c, f"'{dial}'", "web-1"))
    assert get(c, f"{ip}:53/hostname").startswith("web-"), "one protocol must not take the other's place"
    c.delete("service", "both")


def test_a_users_own_endpoints(c: Cluster, eventually: Eventually) -> None:
    """A Service without a selector; its Endpoints are mirrored into a slice, and lead where they say."""
    to = c.get("pod", "web-2").status.podIP
    subsets = [{"addresses": [{"ip": to}], "ports": [{"port": 8080}]}]
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "own"}, "subsets": subsets}
    c.apply([service("own", {"port": 80, "targetPort": 8080}, app=None), endpoints])
    eventually(lambda: get(c, "own/hostname") == "web-2")
    (mirror,) = c.get("endpointslices", labels="kubernetes.io/service-name=own")
    managed = mirror.metadata.labels["endpointslice.kubernetes.io/managed-by"]
    assert managed == "endpointslicemirroring-controller.k8s.io"
    c.delete("service", "own")


def test_unready_pods_serve_only_where_that_is_published(c: Cluster, eventually: Eventually) -> None:
    never = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    c.apply(pod("sick", readinessProbe=never))
    c.apply([service("strict", {"port": 80}, app="sick"),
             service("loose", {"port": 80}, app="sick", publishNotReadyAddresses=True)])  # fmt: skip
    eventually(lambda: get(c, "loose/hostname") == "sick")
    refused = c.exec("client", "curl -s -m 2 http://strict/hostname")
    assert refused.exit_code == 7, "refused at once, no time-out"
    c.delete([pod("sick"), service("strict", {"port": 80}), service("loose", {"port": 80})])


def test_a_terminating_pod_serves_until_it_is_gone(c: Cluster, eventually: Eventually) -> None:
    wait = {"preStop": {"exec": {"command": ["sleep", "3"]}}}
    c.apply([pod("leaving", lifecycle=wait), service("leaving", {"port": 80})])
    eventually(lambda: get(c, "leaving/hostname") == "leaving")
    c.delete("pod", "leaving", wait=0)
    conditions = eventually(functools.partial(_terminating, c))
    assert (conditions.ready, conditions.serving) == (False, True)
    assert get(c, "leaving/hostname") == "leaving"
    eventually(lambda: not get(c, "leaving/hostname"))
    c.delete("service", "leaving")


def _terminating(c: Cluster) -> Any:
    pieces = c.get("endpointslices", labels="kubernetes.io/service-name=leaving")
    found = [e.conditions for piece in pieces for e in piece.endpoints or ()]
    return found[0] if found and found[0].terminating else None


def test_host_network_and_host_port(c: Cluster, eventually: Eventually) -> None:
    host = pod("host", node="node-2", port=8088, hostNetwork=True)
    mapped = pod("mapped", node="node-1", port=8080, port_of={"hostPort": 8099})
    c.apply([host, mapped, service("host", {"port": 80})])
    for name in ("host", "mapped"):
        c.wait(f"pod/{name}")
    assert c.get("pod", "host").status.podIP == "172.18.1.2"
    eventually(lambda: get(c, "host/hostname") == "node-2")  # a pod on its node's network has its node's name
    assert get(c, "host/hostname", "web-1") == "node-2"
    assert get(c, f"{c.get('service', 'host').spec.clusterIP}/hostname", "host") == "node-2"
    assert get(c, f"{c.get('service', 'web').spec.clusterIP}/hostname", "host").startswith("web-")
    assert get(c, "172.18.1.1:8099/hostname", "outside") == "mapped"
    assert get(c, "172.18.1.1:8099/clientip", "outside").startswith(OUTSIDE)
    c.delete([host, mapped, service("host", {"port": 80})])
    assert get(c, "172.18.1.1:8099/hostname", "outside") == ""


def test_affinity_sticks(c: Cluster, eventually: Eventually) -> None:
    config = {"clientIP": {"timeoutSeconds": 60}}
    c.apply(service("sticky", {"port": 80}, app="web", sessionAffinity="ClientIP", sessionAffinityConfig=config))
    eventually(lambda: get(c, "sticky/hostname"))
    assert len({get(c, "sticky/hostname") for _ in range(10)}) == 1
    c.delete("service", "sticky")


def test_wrong_numbers_are_refused_in_kubernetes_words(c: Cluster) -> None:
    taken = c.get("service", "web").spec.clusterIP
    for wrong, said in (
        ({"clusterIP": taken}, "provided IP is already allocated"),
        ({"clusterIP": "10.1.1.1"}, "is not in the valid range"),
        ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}, "The range of valid ports is 30000-32767"),
    ):
        with pytest.raises(Exception, match=said):
            c.apply(service("wrong", {"port": 80}, **wrong))
    with pytest.raises(Exception, match="may not change once set"):
        c.apply(service("web", {"port": 80}, clusterIP="10.96.9.9"))
