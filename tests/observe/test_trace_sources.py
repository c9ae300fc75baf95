"""From where it is asked: nodes, pods on the host network, and pods whose predecessor of the same name still ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minik8s_net import Cluster
from minik8s_net.api.errors import StatusError
from tests.conftest import Home
from tests.observe.trace_world import CLIENT, SERVER, bones, pod, service

pytestmark = pytest.mark.cluster
NS = "sources"
DEAF = "[sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"]"
STUBBORN = f"{{nodeName: %s, containers: [{{name: c, image: busybox, command: {DEAF}}}]}}"
ON_HOST = CLIENT.replace("{nodeName", "{hostNetwork: true, dnsPolicy: %s, nodeName")
OBJECTS = [
    pod("server", SERVER, "node-2"),
    pod("named", ON_HOST % ("ClusterFirstWithHostNet", "%s"), "node-1"),
    pod("unnamed", ON_HOST % ("Default", "%s"), "node-1"),
    service("web", "server", ", type: LoadBalancer"),
    f"apiVersion: v1\nkind: Service\nmetadata: {{name: ext}}\n"
    f"spec: {{type: ExternalName, externalName: web.{NS}.svc.cluster.local}}\n",
]


@pytest.fixture(scope="module")
def c(shared: Cluster) -> Iterator[Cluster]:
    shared.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS}})
    shared.apply("---\n".join(OBJECTS), NS)
    for name in ("server", "named", "unnamed"):
        shared.wait(f"pod/{name}", namespace=NS)
    yield shared
    shared.delete("namespace", NS)


@pytest.mark.parametrize("source", ["node-1", f"{NS}/named"])
@pytest.mark.parametrize("address", ["cluster", "load balancer"])
def test_from_a_node_to_a_service(c: Cluster, source: str, address: str, eventually: Callable[..., Any]) -> None:
    """Translated on both ends before the first device: only the rules saw the packet as it was sent."""
    eventually(lambda: c.get("service", "web", NS).status.loadBalancer.ingress)
    web = c.get("service", "web", NS)
    ip = web.spec.clusterIP if address == "cluster" else web.status.loadBalancer.ingress[0].ip
    eventually(lambda: c.trace(source, f"http://{ip}").delivered)
    told = c.trace(source, f"http://{ip}")
    assert (told.verdict, told.gaps) == ("delivered", [])
    lines = bones(told)
    assert lines[0].replace(" route", "") == "node-1 > rule nat rule nat interface"
    assert [line.partition(" ")[0] for line in lines[1:4]] == ["fabric", "node-2", f"{NS}/server"]
    assert lines[-1].startswith("node-1 < interface")


def test_a_pod_on_the_host_network_asks_with_its_own_resolv_conf(c: Cluster) -> None:
    told = c.trace(f"{NS}/named", "http://web")
    assert (told.verdict, told.stations[0].layer) == ("delivered", "name")
    assert told.stations[0].what.startswith(f"web.{NS}.svc.cluster.local: ")
    explained = c.explain(f"{NS}/named", "http://web")
    assert (explained.verdict, explained.differences) == ("reachable", [])
    assert c.dns(f"{NS}/named", "web").found
    other = c.trace(f"{NS}/unnamed", "http://web")  # on the same node, its file is another one
    assert other.because.startswith(f"{NS}/unnamed has no nameserver in /etc/resolv.conf")
    assert not c.dns(f"{NS}/unnamed", "web").searches
    assert c.trace("node-1", "http://web").because.startswith("node-1 knows no cluster names")


def test_an_external_name_is_called_one(c: Cluster) -> None:
    with pytest.raises(StatusError, match=rf"is an ExternalName.*web\.{NS}\.svc\.cluster\.local.*http://ext\.{NS}"):
        c.trace(f"{NS}/named", "svc/ext", NS)
    assert c.trace(f"{NS}/named", f"http://ext.{NS}").delivered


def test_a_pod_recreated_while_its_predecessor_still_ends(
    c: Cluster, home: Home, eventually: Callable[..., Any]
) -> None:
    slow = pod("slow", STUBBORN, "node-1")
    c.apply(slow, NS)
    c.wait("pod/slow", namespace=NS)
    old = c.get("pod", "slow", NS).status.podIP
    c.api.request("DELETE", f"/api/v1/namespaces/{NS}/pods/slow", {"gracePeriodSeconds": 0})
    c.apply(slow, NS)
    c.wait("pod/slow", namespace=NS)
    new = c.get("pod", "slow", NS).status.podIP
    assert new != old

    def right(shown: str) -> bool:
        return new in shown and f"{old}/" not in shown

    for _ in range(2):
        assert right(c.shell(f"{NS}/slow", "ip -br address").stdout)
        assert right(c.shell(f"{NS}/pod/slow", "ip -br address").stdout)
        told = c.trace(f"{NS}/slow", "http://web")
        assert (told.verdict, told.gaps) == ("delivered", [])
        assert any(f"{new}:" in s.detail for s in told.stations)
        assert c.dns(f"{NS}/slow", "web").found
        assert c.explain(f"{NS}/slow", "http://web").verdict == "reachable"
        with c.capture(f"{NS}/slow", f"host {new} syn") as seen:
            c.exec("slow", "curl -s -m 2 http://web", namespace=NS)
        assert len(seen) > 0
        # and so it stays once the predecessor has gone, and nobody else has an address of its name
        eventually(lambda: f"{old}/" not in _addresses(home, "node-1"), seconds=15)


def _addresses(home: Home, node: str) -> str:
    """Those leased on a node, each with a slash after it."""
    return "".join(f"{path.name}/" for path in (home.state("shared").ipam / node).iterdir())
