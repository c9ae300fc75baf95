"""Names as a user meets them: Debian's dig in real pods, every dnsPolicy, and the server changed and killed live."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from minik8s_net import Cluster
from tests.conftest import Home

pytestmark = pytest.mark.cluster
Eventually = Callable[..., Any]
ZONE = "svc.cluster.local"
SYSTEM = "kube-system"


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if not shutil.which("dig"):
        pytest.skip("DIG IS MISSING (apt-get install bind9-dnsutils): no name was looked up with it")
    home = Home(tmp_path_factory.mktemp("names"))
    home.minik8s("up", "--cluster", "n", "--nodes", "2")
    cluster = home.cluster("n")
    cluster.apply(list(world()))
    for pod in ("client", "pet-0", "pet-1", "named", "unready"):
        cluster.wait(f"pod/{pod}", "jsonpath={.status.phase}=Running" if pod == "unready" else "condition=Ready")
    yield cluster
    home.minik8s("down", "--all")


def pod(name: str, *command: str, probe: Any = None, **spec: Any) -> Any:
    container = {"name": "c", "image": "netshoot", "command": [*(command or ("sleep", "inf"))]}
    container |= {"readinessProbe": probe} if probe else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": spec.pop("app", name)}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }


def service(name: str, app: str = "", **spec: Any) -> Any:
    spec.setdefault("ports", [{"name": "http", "port": 80}])
    selector = {} if spec.get("type") == "ExternalName" else {"selector": {"app": app or name}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {**selector, **spec}}


def world() -> Iterator[Any]:
    yield pod("client")
    yield service("web", ports=[{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}])
    yield service("pets", clusterIP="None")
    container = {"name": "c", "image": "pause"}
    template = {"metadata": {"labels": {"app": "pets"}}, "spec": {"containers": [container]}}
    spec = {"serviceName": "pets", "replicas": 2, "selector": {"matchLabels": {"app": "pets"}}, "template": template}
    yield {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "pet"}, "spec": spec}
    yield service("sub", clusterIP="None")
    yield pod("named", app="sub", hostname="busy", subdomain="sub", setHostnameAsFQDN=True)
    yield service("away", type="ExternalName", externalName="www.example.com", ports=[])
    yield service("alias", type="ExternalName", externalName=f"web.default.{ZONE}", ports=[])
    yield pod("unready", probe={"exec": {"command": ["false"]}})
    yield service("strict", "unready", clusterIP="None")
    yield service("eager", "unready", clusterIP="None", publishNotReadyAddresses=True)


class Reply:
    """dig's text: status, flags, and each section's records as lists of words without name's TTL and class."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.status = (re.findall(r"status: (\w+)", text) or ["none"])[-1]
        self.flags = re.findall(r"flags: ([a-z ]*);", text)[-1:]
        self.sections: dict[str, list[list[str]]] = {}
        for part in re.split(r"^;; (?=[A-Z]+ SECTION)", text, flags=re.M)[1:]:
            head, *lines = part.split("\n\n")[0].splitlines()
            self.sections[head.split()[0]] = [w[:1] + w[3:] for w in map(str.split, lines) if w and w[0][0] != ";"]

    def data(self, section: str = "ANSWER") -> list[str]:
        return sorted(" ".join(words[2:]) for words in self.sections.get(section, []))

    def soa(self) -> bool:
        return [words[1] for words in self.sections.get("AUTHORITY", [])] == ["SOA"]


def dig(c: Cluster, *words: str, where: str = "client") -> Reply:
    done = c.exec(where, ["dig", "+noall", "+answer", "+comments", "+authority", "+additional", "+tries=1", *words])
    return Reply(done.stdout)


def ip(c: Cluster, name: str) -> str:
    return str(c.get("pod", name).status.podIP)


def cluster_ip(c: Cluster, name: str, namespace: str | None = None) -> str:
    return str(c.get("service", name, namespace).spec.clusterIP)


def test_a_cluster_ip_by_every_length_of_name(c: Cluster) -> None:
    for name in ("web", "web.default", "web.default.svc", f"web.default.{ZONE}"):
        reply = dig(c, "+search", name)
        assert (reply.status, reply.data()) == ("NOERROR", [cluster_ip(c, "web")]), reply.text
        assert reply.flags == ["qr aa rd"]


def test_srv_with_its_addresses(c: Cluster) -> None:
    reply = dig(c, f"_http._tcp.web.default.{ZONE}", "SRV")
    assert reply.data() == [f"0 100 80 web.default.{ZONE}."]
    assert cluster_ip(c, "web") in reply.data("ADDITIONAL"), reply.text
    assert dig(c, f"_dns._udp.web.default.{ZONE}", "SRV").data() == [f"0 100 53 web.default.{ZONE}."]
    assert dig(c, f"_http._udp.web.default.{ZONE}", "SRV").status == "NXDOMAIN"
    reply = dig(c, f"_http._tcp.pets.default.{ZONE}", "SRV")
    assert reply.data() == [f"0 50 80 pet-{i}.pets.default.{ZONE}." for i in (0, 1)]
    assert {ip(c, "pet-0"), ip(c, "pet-1")} <= set(reply.data("ADDITIONAL"))


def test_reverse_names(c: Cluster) -> None:
    assert dig(c, "-x", cluster_ip(c, "web")).data() == [f"web.default.{ZONE}."]
    assert dig(c, "-x", ip(c, "pet-1")).data() == [f"pet-1.pets.default.{ZONE}."]
    assert dig(c, "-x", "10.96.255.254").status == "NXDOMAIN"


def test_aliases(c: Cluster) -> None:
    reply = dig(c, f"away.default.{ZONE}", "CNAME")
    assert reply.data() == ["www.example.com."]
    assert dig(c, f"alias.default.{ZONE}").data() == sorted([f"web.default.{ZONE}.", cluster_ip(c, "web")])


def test_headless_services_stateful_pods_and_hostnames(c: Cluster) -> None:
    both = sorted([ip(c, "pet-0"), ip(c, "pet-1")])
    assert dig(c, f"pets.default.{ZONE}").data() == both
    for name in ("pet-0", "pet-1"):
        assert dig(c, f"{name}.pets.default.{ZONE}").data() == [ip(c, name)]
    assert dig(c, f"busy.sub.default.{ZONE}").data() == [ip(c, "named")]
    assert dig(c, f"strict.default.{ZONE}").status == "NXDOMAIN"
    assert dig(c, f"eager.default.{ZONE}").data() == [ip(c, "unready")]


def test_pod_names_and_the_version(c: Cluster) -> None:
    dashed = ip(c, "pet-0").replace(".", "-")
    assert dig(c, f"{dashed}.default.pod.cluster.local").data() == [ip(c, "pet-0")]
    assert dig(c, "dns-version.cluster.local", "TXT").data() == ['"1.1.0"']


def test_what_is_not_there(c: Cluster) -> None:
    for name in (f"none.default.{ZONE}", f"web.nowhere.{ZONE}", "example.org"):
        reply = dig(c, name)
        assert (reply.status, reply.data(), reply.soa()) == ("NXDOMAIN", [], True), reply.text
    for name, kind in ((f"web.default.{ZONE}", "AAAA"), (f"default.{ZONE}", "A"), (f"_tcp.web.default.{ZONE}", "SRV")):
        reply = dig(c, name, kind)
        assert (reply.status, reply.data(), reply.soa()) == ("NOERROR", [], True), reply.text


def test_protocol(c: Cluster) -> None:
    name, address = f"WeB.default.{ZONE}", [cluster_ip(c, "web")]
    for how in ("+tcp", "+noedns", "+bufsize=512", "+ednsopt=10:0123456789abcdef", "+dnssec", "+keepopen"):
        reply = dig(c, name, how)
        assert (reply.status, reply.data()) == ("NOERROR", address), f"{how}\n{reply.text}"
        assert "WeB." in reply.text  # as it was asked
    assert dig(c, name, "+edns=1", "+noednsnegotiation").status == "BADVERS"
    assert dig(c, name, "+opcode=STATUS").status == "NOTIMP"
    assert dig(c, name, "-c", "CH").status == "REFUSED"


def test_a_truncated_answer_comes_whole_by_tcp(c: Cluster) -> None:
    addresses = [f"10.9.{i}.{j}" for i in (0, 1) for j in range(1, 41)]
    meta = {"name": "many-1", "labels": {"kubernetes.io/service-name": "many"}}
    slice_ = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4",
              "endpoints": [{"addresses": [a]} for a in addresses], "ports": [{"port": 80}]}  # fmt: skip
    head = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "many"}}
    c.apply([{**head, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}, slice_])
    name = f"many.default.{ZONE}"
    deadline = time.monotonic() + 10
    while dig(c, name).status != "NOERROR" and time.monotonic() < deadline:
        time.sleep(0.05)
    cut = dig(c, name, "+noedns", "+ignore")
    assert "tc" in cut.flags[0].split() and len(cut.data()) < len(addresses)
    assert dig(c, name, "+noedns").data() == sorted(addresses)
    c.delete([{**head}])


def test_the_walk_of_one_look_up(c: Cluster) -> None:
    walk = c.dns("client", "nosuch")
    suffixes = ["default.svc.cluster.local", ZONE, "cluster.local", ""]
    assert [t.name for t in walk.tries] == [f"nosuch.{s}".rstrip(".") for s in suffixes]
    assert [t.said for t in walk.tries] == ["NXDOMAIN"] * 4 and not walk.found
    assert "Found nowhere, after 4 tries." in str(walk)
    found = c.dns("client", "web.default")
    assert [t.said for t in found.tries] == ["NXDOMAIN", "NOERROR"] and found.found


# -- what a pod is told -----------------------------------------------------------------------------------------------
CONFIG = {"nameservers": ["192.0.2.53"], "searches": ["shop.example"], "options": [{"name": "ndots", "value": "2"}]}
NONE = {"dnsPolicy": "None", "dnsConfig": CONFIG}
CLUSTER_SEARCH = f"search default.{ZONE} {ZONE} cluster.local"


@pytest.mark.parametrize(
    ("name", "spec", "lines"),
    [
        ("first", {"dnsPolicy": "ClusterFirst"}, [CLUSTER_SEARCH, "nameserver 10.96.0.10", "options ndots:5"]),
        ("host", {"hostNetwork": True}, []),
        ("withhost", {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
         [CLUSTER_SEARCH, "nameserver 10.96.0.10", "options ndots:5"]),
        ("default", {"dnsPolicy": "Default"}, []),
        ("none", NONE, ["search shop.example", "nameserver 192.0.2.53", "options ndots:2"]),
        ("more", {"dnsConfig": CONFIG},
         [f"{CLUSTER_SEARCH} shop.example", "nameserver 10.96.0.10", "nameserver 192.0.2.53", "options ndots:2"]),
    ],
)  # fmt: skip
def test_dns_policy(c: Cluster, name: str, spec: Any, lines: list[str]) -> None:
    c.apply(pod(f"policy-{name}", **spec))
    c.wait(f"pod/policy-{name}")
    try:
        assert c.exec(f"policy-{name}", "cat /etc/resolv.conf").stdout.splitlines() == lines
        if "nameserver 10.96.0.10" in lines:  # and it is a way to an answer
            assert c.exec(f"policy-{name}", "getent hosts web").stdout.split()[0] == cluster_ip(c, "web")
    finally:
        c.delete("pod", f"policy-{name}")


def test_host_names_and_host_aliases(c: Cluster) -> None:
    full = f"busy.sub.default.{ZONE}"
    assert c.exec("named", "hostname").stdout.strip() == full
    assert f"{ip(c, 'named')}\t{full}\tbusy" in c.exec("named", "cat /etc/hosts").stdout
    c.apply(pod("aliased", hostAliases=[{"ip": "192.0.2.9", "hostnames": ["printer", "printer.example"]}]))
    c.wait("pod/aliased")
    try:
        assert "192.0.2.9" in c.exec("aliased", "getent hosts printer.example").stdout
        assert c.exec("aliased", "hostname").stdout.strip() == "aliased"
        assert c.exec("aliased", "getent hosts aliased").stdout.split()[0] == ip(c, "aliased")
    finally:
        c.delete("pod", "aliased")


# -- the server, changed and killed -----------------------------------------------------------------------------------
def servers(c: Cluster) -> list[Any]:
    found = c.get("pods", namespace=SYSTEM, labels="k8s-app=kube-dns")
    return [p for p in found if p.metadata.deletionTimestamp is None]


def server_logs(c: Cluster) -> str:
    return "".join(c.logs(p.metadata.name, namespace=SYSTEM) for p in servers(c))


def configure(c: Cluster, change: Callable[[str], str]) -> str:
    """Change the Corefile; what it was before."""
    before = c.get("configmap", "coredns", SYSTEM).data["Corefile"]
    path, body = c.api.resource("configmap").path(SYSTEM, "coredns"), {"data": {"Corefile": change(before)}}
    c.api.request("PATCH", path, body, content_type="application/merge-patch+json")
    return str(before)


def test_two_servers_on_two_nodes(c: Cluster) -> None:
    assert {p.spec.nodeName for p in servers(c)} == {"node-1", "node-2"}
    ready = c.get("deployment", "coredns", SYSTEM).status.readyReplicas
    assert ready == 2


def test_the_log_is_switched_on_and_shows_the_walk(c: Cluster, eventually: Eventually) -> None:
    before = configure(c, lambda text: text.replace("errors", "errors\n    log", 1))
    try:
        eventually(lambda: (c.exec("client", "getent ahostsv4 nowhere-1"), "nowhere-1" in server_logs(c))[1])
        c.exec("client", "getent ahostsv4 walked")
        asked = re.findall(r'"A IN (walked\S*) udp \d+ false \d+" (\w+) ', server_logs(c))
        walk = [f"walked.{s}." for s in (f"default.{ZONE}", ZONE, "cluster.local")] + ["walked."]
        assert sorted(set(asked)) == sorted((name, "NXDOMAIN") for name in walk)
    finally:
        configure(c, lambda _: before)


def test_a_bad_corefile_is_refused_and_the_old_one_kept(c: Cluster, eventually: Eventually) -> None:
    before = configure(c, lambda text: text.replace("ttl 30", "ttl 99999"))
    try:
        eventually(lambda: "ttl must be in range [0, 3600]: 99999" in server_logs(c))
        assert "Corefile:10 - Error during parsing" in server_logs(c)
        assert dig(c, f"web.default.{ZONE}").data() == [cluster_ip(c, "web")]
        printer = "hosts {\n        192.0.2.7 printer.example\n        fallthrough\n    }\n    errors"
        configure(c, lambda _: before.replace("errors", printer, 1))
        eventually(lambda: dig(c, "printer.example").data() == ["192.0.2.7"])
    finally:
        configure(c, lambda _: before)
    eventually(lambda: dig(c, "printer.example").status == "NXDOMAIN")


def test_a_server_whose_process_dies_is_started_again(c: Cluster, eventually: Eventually) -> None:
    def restarts() -> list[int]:
        return [p.status.containerStatuses[0].restartCount for p in servers(c)]

    before = restarts()
    for each in servers(c):
        c.exec(each.metadata.name, "kill 1", namespace=SYSTEM)
    eventually(lambda: restarts() == [n + 1 for n in before], seconds=20)
    eventually(lambda: c.get("deployment", "coredns", SYSTEM).status.readyReplicas == 2, seconds=20)
    eventually(lambda: dig(c, "+timeout=1", f"web.default.{ZONE}").data() == [cluster_ip(c, "web")])
    assert restarts() == [n + 1 for n in before], "once each, and not in a loop"


def test_killed_servers_come_back_and_answers_go_on(c: Cluster, eventually: Eventually) -> None:
    def right() -> bool:
        return dig(c, "+timeout=1", f"web.default.{ZONE}").data() == [cluster_ip(c, "web")]

    one, _ = servers(c)
    c.delete("pod", one.metadata.name, SYSTEM, wait=0)
    eventually(right, seconds=5)
    eventually(lambda: c.get("deployment", "coredns", SYSTEM).status.readyReplicas == 2)
    gone = {p.metadata.name for p in servers(c)}
    for name in gone:  # all of them
        c.delete("pod", name, SYSTEM, wait=0)
    eventually(lambda: c.get("deployment", "coredns", SYSTEM).status.readyReplicas == 2)
    eventually(right)
    assert not gone & {p.metadata.name for p in servers(c)}
    assert {p.spec.nodeName for p in servers(c)} == {"node-1", "node-2"}


ASK_ON = """
import socket, sys, time
question = b"\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + b"".join(
    bytes([len(label)]) + label.encode() for label in sys.argv[1].split(".")) + b"\\0\\0\\1\\0\\1"
asked, failed, until = 0, [], time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:  # a port of its own: a connection of its own
        client.settimeout(1)
        client.connect(("10.96.0.10", 53))
        asked += 1
        try:
            client.send(question)
            if client.recv(512)[3] & 15:
                failed.append("denied")
        except OSError as error:
            failed.append(str(error))
    time.sleep(0.005)
print(asked, failed)
"""


def test_a_rollout_of_the_servers_loses_no_question(c: Cluster, eventually: Eventually) -> None:
    """`health { lameduck 5s }`: who is sent to a server that is ending is still answered."""
    before = {p.metadata.name for p in servers(c)}
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(c.exec, "client", ["python3", "-c", ASK_ON, f"web.default.{ZONE}", "12"])
        stamp = {"template": {"metadata": {"annotations": {"restarted": "now"}}}}
        path = c.api.resource("deployment").path(SYSTEM, "coredns")
        c.api.request("PATCH", path, {"spec": stamp}, content_type="application/merge-patch+json")
        eventually(lambda: not before & {p.metadata.name for p in servers(c)}, seconds=20)
        eventually(lambda: c.get("deployment", "coredns", SYSTEM).status.readyReplicas == 2, seconds=20)
        asked, _, failed = asking.result().stdout.partition(" ")
    assert int(asked) > 500
    assert failed.strip() == "[]"
