"""Policies of a whole cluster: nine pods, three namespaces, two nodes; every pair by pod IP and by Service address.

The truth tables of `tests/policy/cases.py`, each applied through the API and probed by real connections from inside
every pod at once, TCP and UDP, on two ports. The Services are ClusterIPs of one pod each, so that a probe of one is a
probe of that pod through kube-proxy's translation (on its own node, across nodes, and to itself).
"""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from minik8s_net import Cluster
from minik8s_net.api.errors import StatusError
from minik8s_net.kernel import ipset, iptables
from minik8s_net.observe.reach import Place, Reach, reach
from minik8s_net.policy.sets import PODS
from tests.conftest import Home
from tests.policy import cases
from tests.policy.cases import CASES, KEYS, NODE, PROBES, Case

from .live import Inside

pytestmark = pytest.mark.cluster
Eventually = Callable[..., Any]
NAME = "pol"
ENFORCED = 0.06  # seconds from the API's answer to the kernel (benchmarks/policy.py measures); later is asked again
QUICK, PATIENT, SETTLED = 0.08, 1.5, 3.0  # seconds a probe waits; until the answers must be those of the table


class Nine:
    """The nine pods of `cases` in a live cluster, and their Services."""

    def __init__(self, cluster: Cluster, inside: Inside) -> None:
        self.cluster, self.inside = cluster, inside
        sources = {key: inside(key.replace("/", "/pod/")) for key in KEYS}
        self.ips = {key: str(cluster.get("pod", key[2], key[0]).status.podIP) for key in KEYS}
        vips = {key: str(cluster.get("service", key[2], key[0]).spec.clusterIP) for key in KEYS}
        self.places = {
            way: [Place(key, found[key], sources[key]) for key in KEYS]
            for way, found in (("pod IP", self.ips), ("Service", vips))
        }

    def probe(self, way: str, port: int, protocol: str, expected: Callable[[str, str], bool]) -> Reach:
        sources, targets = self.places["pod IP"], self.places[way]
        deadline, patience = time.monotonic() + SETTLED, QUICK
        while True:
            found = reach(sources, targets, port, protocol, timeout=patience, expected=expected)
            if not found.wrong or time.monotonic() > deadline:
                return found
            lost = any(cell.expected and not cell.reached for cell in found.cells)
            patience = PATIENT if lost else QUICK  # a lost packet is sent again after a second

    def probe_all(self, allowed: Callable[[str, str, int, str], bool]) -> dict[str, Reach]:
        """Both ways, both ports, both protocols, at once."""
        asked = [(way, port, protocol) for way in self.places for port, protocol in PROBES]
        with ThreadPoolExecutor(len(asked)) as pool:
            jobs = {
                f"{way} {port}/{protocol}": pool.submit(
                    self.probe, way, port, protocol, functools.partial(_of, allowed, port, protocol)
                )
                for way, port, protocol in asked
            }
            return {what: job.result() for what, job in jobs.items()}


def _of(allowed: Callable[[str, str, int, str], bool], port: int, protocol: str, source: str, target: str) -> bool:
    return allowed(source, target, port, protocol)


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nine]:
    if os.getuid():
        pytest.skip("ONLY AS ROOT: a test's process enters the pods' namespaces; the same tables run in tests/policy")
    home = Home(tmp_path_factory.mktemp("policies"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIK8S_HOME", str(home.path / "state"))
        home.minik8s("up", "--cluster", NAME, "--nodes", "2")
        cluster = home.cluster(NAME)
        cluster.apply([obj for key in KEYS for obj in world(key)])
        for key in KEYS:
            cluster.wait(f"pod/{key[2]}", namespace=key[0])
        with Inside(NAME) as inside:
            yield Nine(cluster, inside)
        home.minik8s("down", "--all")


def world(key: str) -> Iterator[Any]:
    """One pod, listening on 80 and 81, TCP and UDP; its Service; and (with the first pod) its namespace."""
    namespace, name = key.split("/")
    if name == "a":
        (made,) = [n for n in cases.namespaces() if n.metadata and n.metadata.name == namespace]
        yield {"apiVersion": "v1", "kind": "Namespace", **made.to_dict()}
    ports = [{"name": n, "protocol": p, "containerPort": i} for n, p, i in cases.ports(key)]
    agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.47"
    serve = [{"name": f"c{n}", "image": agnhost, "args": ["netexec", f"--http-port={n}", f"--udp-port={n}"],
              "ports": [p for p in ports if p["containerPort"] == n]} for n in (80, 81)]  # fmt: skip
    spec = {"containers": serve, "nodeName": NODE[key], "terminationGracePeriodSeconds": 0}
    meta = {"name": name, "namespace": namespace, "labels": cases.labels(key)}
    yield {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    listed = [{"name": f"p{n}{p.lower()}", "port": n, "protocol": p} for n, p in PROBES]
    service = {"selector": {"pod": name}, "ports": listed}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": service}


def objects(case: Case, ips: dict[str, str]) -> list[Any]:
    """The case's policies; what an ipBlock says of one pod's address, said of the address that pod has here."""
    here = {f"{cases.IP[key]}/32": f"{ip}/32" for key, ip in ips.items()}
    text = json.dumps([p.to_dict() for p in case.policies])
    text = re.sub(r"10\.244\.\d+\.\d+/32", lambda found: here[found[0]], text)
    return [{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **policy} for policy in json.loads(text)]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_truth_table(nine: Nine, case: Case) -> None:
    made = objects(case, nine.ips)
    nine.cluster.apply(made)
    time.sleep(ENFORCED)
    try:
        for what, measured in nine.probe_all(case.expects).items():
            assert len(measured.cells) == 81
            assert not measured.wrong, f"{what}\n{measured}"
    finally:
        nine.cluster.delete(made, wait=0)


def everyone(source: str, target: str) -> bool:
    return True


def test_the_matrix_is_quick_both_ways(nine: Nine) -> None:
    for way in ("pod IP", "Service"):
        measured = nine.probe(way, 80, "TCP", everyone)
        assert not measured.wrong and len(measured.cells) == 81
        assert measured.seconds <= 2


def test_a_pod_on_its_nodes_network_is_its_node(nine: Nine, eventually: Eventually) -> None:
    """No podSelector knows it, its own node's pods let it in, and another node is a stranger's address."""
    meta = {"name": "host", "namespace": "x", "labels": {"pod": "b", "tier": "back"}}
    container = {"name": "c", "image": "netshoot", "command": ["sleep", "inf"]}
    spec = {"containers": [container], "hostNetwork": True, "nodeName": "node-1", "terminationGracePeriodSeconds": 0}
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    everybody = {"namespaceSelector": {}}
    closed = policy("x", "only-pods", ingress=[{"from": [everybody]}])
    deny_host = policy("x", "no-egress", {"pod": "b"}, policyTypes=["Egress"])
    nine.cluster.apply([made, closed, deny_host])
    try:
        nine.cluster.wait("pod/host", namespace="x")
        node = [Place("node-1", "", nine.inside("node-1"))]
        targets = [place for place in nine.places["pod IP"] if place.name[0] == "x"]

        def reached() -> set[str]:
            found = reach(node, targets, 80, timeout=0.3)
            return {cell.target for cell in found.cells if cell.reached}

        on_node_1 = {key for key in KEYS if key[0] == "x" and NODE[key] == "node-1"}
        assert on_node_1 and len(on_node_1) < 3
        eventually(lambda: reached() == on_node_1)
        nine.cluster.apply(policy("x", "only-pods", ingress=[{"from": [{"ipBlock": {"cidr": "172.18.0.0/16"}}]}]))
        eventually(lambda: reached() == {"x/a", "x/b", "x/c"})
    finally:
        nine.cluster.delete([made, closed, deny_host], wait=5)


def policy(namespace: str, name: str, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    chosen = {"matchLabels": labels} if labels else {}
    head = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    return {**head, "metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": chosen, **spec}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]}]},
         'ipBlock.cidr: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.1.0.0/25"]}}]}]},
         'ipBlock.except[0]: Invalid value: "10.1.0.0/25": must be a strict subset of `cidr`'),
        ({"egress": [{"ports": [{"port": 100, "endPort": 90}]}]},
         "spec.egress[0].ports[0].endPort: Invalid value: 100: must be greater than or equal to `port`"),
    ],
)  # fmt: skip
def test_a_bad_policy_is_refused_and_nothing_changes(nine: Nine, spec: Any, words: str) -> None:
    """The words are a real API server's; all of them are compared in tests/api/test_recorded_validation.py."""
    with pytest.raises(StatusError, match=re.escape(words)):
        nine.cluster.apply(policy("x", "bad", **spec))
    assert not nine.probe("pod IP", 80, "TCP", everyone).wrong


def test_sctp(nine: Nine) -> None:
    """Rules and sets speak SCTP (tests/policy renders and walks them); a socket needs the kernel's module."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as error:
        pytest.skip(f"NO SCTP SOCKET WAS TRIED: this kernel has no CONFIG_IP_SCTP ({error.strerror})")
    client, server = nine.inside("x/pod/a"), nine.inside("y/pod/b")
    sctp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    with server.call(socket.socket, *sctp) as listening:
        listening.bind(("0.0.0.0", 90))
        listening.listen()

        def connects() -> bool:
            with client.call(socket.socket, *sctp) as probe:
                probe.settimeout(0.5)
                return probe.connect_ex((nine.ips["y/b"], 90)) == 0

        assert connects()
        only_80 = policy("y", "sctp", ingress=[{"ports": [{"port": 80, "protocol": "SCTP"}]}])
        nine.cluster.apply(only_80)
        time.sleep(ENFORCED)
        assert not connects()
        nine.cluster.delete([only_80], wait=0)


def test_nothing_is_left_over(nine: Nine, eventually: Eventually) -> None:
    """After all those policies: no set but the one of the nodes' pods, no chain of a pod."""
    for name in ("node-1", "node-2"):
        node = nine.inside(name)
        eventually(lambda node=node: node.call(ipset.names) == [PODS])
        assert not [chain for chain in iptables.chains(node.call(iptables.save, "filter")) if "KUBE-POD" in chain]
