"""The Kubernetes DNS specification, paragraph by paragraph, as tables in zone syntax.

Each case: the paragraph, the question, the expected rcode, and the answer (and after `+`, additional) records. An
answer without records must carry the zone's SOA. The world it is asked about is `WORLD`.
"""

from __future__ import annotations

import pytest
from dns_objects import Json, endpoint, external, namespace, pod, port, service, slice_

from minik8s_net.dns.answer import Answer, Zone, respond
from minik8s_net.dns.config import parse
from minik8s_net.dns.names import Names, Record
from minik8s_net.dns.records import ClusterNames
from minik8s_net.dns.wire import RCODES, RR

Z = "svc.cluster.local"
WORLD: list[Json] = [
    namespace("testns"),
    namespace("empty"),
    namespace("kube-system"),
    service("kube-dns", "10.96.0.10", port(53, "dns", "UDP"), ns="kube-system"),
    service("web", "10.96.0.1", port(80, "http"), port(8443)),
    slice_("web-1", "web", [endpoint("10.244.1.1"), endpoint("10.244.1.2", ready=False)], port(8080, "http")),
    service("lonely", "10.96.0.2", port(80, "http")),
    service("both", "10.96.0.3,fd00::3", port(80, "http")),
    service("six", "fd00::6", port(80, "http")),
    service("pets", None, port(80, "http")),
    slice_(
        "pets-1",
        "pets",
        [
            endpoint("10.244.2.1", "pet-0"),
            endpoint("10.244.2.2", ready=None),
            endpoint("10.244.2.3", "twin"),
            endpoint("10.244.2.4", "twin"),
            endpoint("10.244.2.9", "asleep", ready=False),
        ],
        port(8080, "http"),
        port(9090),
    ),
    slice_("pets-2", "pets", [endpoint("fd00::21")], port(8080, "http")),
    service("eager", None, publishNotReadyAddresses=True),
    slice_("eager-1", "eager", [endpoint("10.244.3.1", "eager-0", ready=False)]),
    service("deserted", None, port(80, "http")),
    slice_("deserted-1", "deserted", [endpoint("10.244.4.1", ready=False)]),
    service("portless", None),
    slice_("portless-1", "portless", [endpoint("10.244.5.1")]),
    external("out", "www.example.com"),
    external("alias", f"web.testns.{Z}."),
    external("loop", f"loop.testns.{Z}"),
    pod("client", "10.244.6.1"),
    pod("done", "10.244.6.2", phase="Succeeded"),
]

CASES = """
2.2    dns-version.cluster.local TXT    NOERROR  dns-version.cluster.local 28800 TXT 1.1.0
2.2    dns-version.cluster.local A      NOERROR
2.3.1  web.testns.svc.cluster.local A   NOERROR  web.testns.svc.cluster.local 30 A 10.96.0.1
2.3.1  web.testns.svc.cluster.local AAAA NOERROR
2.3.1  six.testns.svc.cluster.local AAAA NOERROR six.testns.svc.cluster.local 30 AAAA fd00::6
2.3.1  six.testns.svc.cluster.local A   NOERROR
2.3.1  both.testns.svc.cluster.local A  NOERROR  both.testns.svc.cluster.local 30 A 10.96.0.3
2.3.1  both.testns.svc.cluster.local AAAA NOERROR both.testns.svc.cluster.local 30 AAAA fd00::3
2.3.1  lonely.testns.svc.cluster.local A NOERROR lonely.testns.svc.cluster.local 30 A 10.96.0.2
2.3.1  none.testns.svc.cluster.local A  NXDOMAIN
2.3.1  none.testns.svc.cluster.local AAAA NXDOMAIN
2.3.1  web.nowhere.svc.cluster.local A  NXDOMAIN
2.3.2  _http._tcp.web.testns.svc.cluster.local SRV NOERROR _http._tcp.web.testns.svc.cluster.local 30 SRV 0 100 80 web.testns.svc.cluster.local + web.testns.svc.cluster.local 30 A 10.96.0.1
2.3.2  web.testns.svc.cluster.local SRV NOERROR web.testns.svc.cluster.local 30 SRV 0 50 80 web.testns.svc.cluster.local ; web.testns.svc.cluster.local 30 SRV 0 50 8443 web.testns.svc.cluster.local + web.testns.svc.cluster.local 30 A 10.96.0.1
2.3.2  both.testns.svc.cluster.local SRV NOERROR both.testns.svc.cluster.local 30 SRV 0 50 80 both.testns.svc.cluster.local + both.testns.svc.cluster.local 30 A 10.96.0.3 ; both.testns.svc.cluster.local 30 AAAA fd00::3
2.3.2  _http._udp.web.testns.svc.cluster.local SRV NXDOMAIN
2.3.2  _tcp.web.testns.svc.cluster.local SRV NOERROR
2.3.2  _http._tcp.web.testns.svc.cluster.local A NOERROR
2.3.3  1.0.96.10.in-addr.arpa PTR       NOERROR  1.0.96.10.in-addr.arpa 30 PTR web.testns.svc.cluster.local
2.3.3  200.0.96.10.in-addr.arpa PTR     NXDOMAIN
2.3.3  96.10.in-addr.arpa PTR           NOERROR
2.4.1  pets.testns.svc.cluster.local A  NOERROR  pets.testns.svc.cluster.local 30 A 10.244.2.1 ; pets.testns.svc.cluster.local 30 A 10.244.2.2 ; pets.testns.svc.cluster.local 30 A 10.244.2.3 ; pets.testns.svc.cluster.local 30 A 10.244.2.4
2.4.1  pets.testns.svc.cluster.local AAAA NOERROR pets.testns.svc.cluster.local 30 AAAA fd00::21
2.4.1  deserted.testns.svc.cluster.local A NXDOMAIN
2.4.1  portless.testns.svc.cluster.local A NOERROR portless.testns.svc.cluster.local 30 A 10.244.5.1
2.4.1  pet-0.pets.testns.svc.cluster.local A NOERROR pet-0.pets.testns.svc.cluster.local 30 A 10.244.2.1
2.4.1  twin.pets.testns.svc.cluster.local A NOERROR twin.pets.testns.svc.cluster.local 30 A 10.244.2.3 ; twin.pets.testns.svc.cluster.local 30 A 10.244.2.4
2.4.1  10-244-2-2.pets.testns.svc.cluster.local A NOERROR 10-244-2-2.pets.testns.svc.cluster.local 30 A 10.244.2.2
2.4.1  10-244-2-1.pets.testns.svc.cluster.local A NXDOMAIN
2.4.1  fd00--21.pets.testns.svc.cluster.local AAAA NOERROR fd00--21.pets.testns.svc.cluster.local 30 AAAA fd00::21
2.4.1  asleep.pets.testns.svc.cluster.local A NXDOMAIN
2.4.1  eager-0.eager.testns.svc.cluster.local A NOERROR eager-0.eager.testns.svc.cluster.local 30 A 10.244.3.1
2.4.1  10-244-1-1.web.testns.svc.cluster.local A NOERROR 10-244-1-1.web.testns.svc.cluster.local 30 A 10.244.1.1
2.4.1  10-244-1-2.web.testns.svc.cluster.local A NXDOMAIN
2.4.1  none.pets.testns.svc.cluster.local A NXDOMAIN
2.4.2  _http._tcp.pets.testns.svc.cluster.local SRV NOERROR _http._tcp.pets.testns.svc.cluster.local 30 SRV 0 20 8080 pet-0.pets.testns.svc.cluster.local ; _http._tcp.pets.testns.svc.cluster.local 30 SRV 0 20 8080 10-244-2-2.pets.testns.svc.cluster.local ; _http._tcp.pets.testns.svc.cluster.local 30 SRV 0 20 8080 twin.pets.testns.svc.cluster.local ; _http._tcp.pets.testns.svc.cluster.local 30 SRV 0 20 8080 fd00--21.pets.testns.svc.cluster.local + pet-0.pets.testns.svc.cluster.local 30 A 10.244.2.1 ; 10-244-2-2.pets.testns.svc.cluster.local 30 A 10.244.2.2 ; twin.pets.testns.svc.cluster.local 30 A 10.244.2.3 ; twin.pets.testns.svc.cluster.local 30 A 10.244.2.4 ; fd00--21.pets.testns.svc.cluster.local 30 AAAA fd00::21
2.4.2  _http._tcp.deserted.testns.svc.cluster.local SRV NXDOMAIN
2.4.3  1.2.244.10.in-addr.arpa PTR      NOERROR  1.2.244.10.in-addr.arpa 30 PTR pet-0.pets.testns.svc.cluster.local
2.4.3  2.2.244.10.in-addr.arpa PTR      NOERROR  2.2.244.10.in-addr.arpa 30 PTR 10-244-2-2.pets.testns.svc.cluster.local
2.4.3  9.2.244.10.in-addr.arpa PTR      NXDOMAIN
2.5    out.testns.svc.cluster.local CNAME NOERROR out.testns.svc.cluster.local 30 CNAME www.example.com
2.5    out.testns.svc.cluster.local A   NOERROR  out.testns.svc.cluster.local 30 CNAME www.example.com
2.5    alias.testns.svc.cluster.local A NOERROR  alias.testns.svc.cluster.local 30 CNAME web.testns.svc.cluster.local ; web.testns.svc.cluster.local 30 A 10.96.0.1
2.5    loop.testns.svc.cluster.local A  SERVFAIL
2.5    pod.out.testns.svc.cluster.local CNAME NXDOMAIN
2.6    10-244-9-9.testns.pod.cluster.local A NOERROR 10-244-9-9.testns.pod.cluster.local 30 A 10.244.9.9
2.6    10-244-9-9.testns.pod.cluster.local AAAA NOERROR
2.6    10-244-9-999.testns.pod.cluster.local A NXDOMAIN
2.6    10-244-9-9.nowhere.pod.cluster.local A NXDOMAIN
2.6    x.10-244-9-9.testns.pod.cluster.local A NXDOMAIN
tree   cluster.local SOA                NOERROR  cluster.local 30 SOA ns.dns.cluster.local hostmaster.cluster.local 7 7200 1800 86400 30
tree   cluster.local NS                 NOERROR  cluster.local 30 NS kube-dns.kube-system.svc.cluster.local + kube-dns.kube-system.svc.cluster.local 30 A 10.96.0.10
tree   ns.dns.cluster.local A           NOERROR  ns.dns.cluster.local 30 A 10.96.0.10
tree   cluster.local A                  NOERROR
tree   svc.cluster.local A              NOERROR
tree   pod.cluster.local A              NOERROR
tree   testns.svc.cluster.local NS      NOERROR
tree   empty.svc.cluster.local A        NOERROR
tree   nowhere.svc.cluster.local A      NXDOMAIN
tree   foo.cluster.local A              NXDOMAIN
tree   _http._tcp.x.web.testns.svc.cluster.local A NXDOMAIN
any    web.testns.svc.cluster.local ANY NOERROR  web.testns.svc.cluster.local 30 A 10.96.0.1
any    web.testns.svc.cluster.local AXFR REFUSED
out    example.org A                    REFUSED
out    notcluster.local A               REFUSED
out    local A                          REFUSED
"""  # noqa: E501
TABLE = CASES.strip().splitlines()


def cluster(pods: str = "insecure") -> ClusterNames:
    names = ClusterNames(pods=pods)
    for obj in WORLD:
        names.apply(obj["kind"], obj)
    return names


def zone(pods: str = "insecure", *, synced: bool = True) -> Zone:
    apexes = ("cluster.local", "in-addr.arpa", "ip6.arpa")
    insecure = "cluster.local" if pods == "insecure" else ""
    return Zone(apexes, cluster(pods).names, 30, (), 7, synced, insecure)


def show(section: list[RR]) -> list[str]:
    def text(data: object) -> str:
        return " ".join(map(str, data)) if isinstance(data, tuple) else str(data)

    return sorted(f"{rr.name} {rr.ttl} {rr.record.type} {text(rr.record.data)}" for rr in section)


def check(result: Answer, rcode: str, wanted: str) -> None:
    answer, _, additional = wanted.partition("+")
    assert RCODES[result.rcode] == rcode
    assert show(result.answer) == sorted(line.strip() for line in answer.split(";") if line.strip())
    assert show(result.additional) == sorted(line.strip() for line in additional.split(";") if line.strip())
    negative = rcode in ("NOERROR", "NXDOMAIN") and not result.answer
    assert [rr.record.type for rr in result.authority] == (["SOA"] if negative else [])


@pytest.mark.parametrize("line", TABLE)
def test_specification(line: str) -> None:
    _, name, rtype, rcode, *wanted = line.split(None, 4)
    check(respond([zone()], name, rtype), rcode, wanted[0] if wanted else "")


@pytest.mark.parametrize(
    ("pods", "name", "rcode"),
    [
        ("disabled", "10-244-6-1.testns.pod.cluster.local", "NXDOMAIN"),
        ("disabled", "testns.pod.cluster.local", "NXDOMAIN"),
        ("disabled", "pod.cluster.local", "NOERROR"),
        ("verified", "10-244-6-1.testns.pod.cluster.local", "NOERROR"),
        ("verified", "10-244-6-1.empty.pod.cluster.local", "NXDOMAIN"),
        ("verified", "10-244-6-2.testns.pod.cluster.local", "NXDOMAIN"),
        ("verified", "10-244-9-9.testns.pod.cluster.local", "NXDOMAIN"),
        ("verified", "testns.pod.cluster.local", "NOERROR"),
    ],
)
def test_pod_modes(pods: str, name: str, rcode: str) -> None:
    assert RCODES[respond([zone(pods)], name, "A").rcode] == rcode


def test_before_the_first_sync_nothing_is_denied() -> None:
    for name in ("none.testns.svc.cluster.local", "web.testns.svc.cluster.local"):
        assert RCODES[respond([zone(synced=False)], name, "A").rcode] == "SERVFAIL"


def test_reverse_zone_falls_through_to_the_next_source() -> None:
    hosts = Names()
    hosts.put("hosts", {"1.2.0.192.in-addr.arpa": [Record("PTR", "router.example.org")]})
    ours = zone()
    ours.fallthrough = ("in-addr.arpa",)
    behind = Zone(("",), hosts, 60)
    assert show(respond([ours, behind], "1.2.0.192.in-addr.arpa", "PTR").answer) == [
        "1.2.0.192.in-addr.arpa 60 PTR router.example.org"
    ]
    assert respond([ours, behind], "none.testns.svc.cluster.local", "A").authority[0].name == "cluster.local"


def test_incremental_updates_equal_a_fresh_start() -> None:
    names = cluster()
    size = len(list(names.names))
    extra = [
        service("new", None, port(1, "x")),
        slice_("new-1", "new", [endpoint("10.244.7.1", "a")], port(1, "x")),
        namespace("later"),
        service("web", "10.96.7.7", port(81, "other")),
    ]
    names.apply("Service", extra[0])
    for obj in extra:
        assert names.apply(obj["kind"], obj) == (obj is not extra[0])
        assert not names.apply(obj["kind"], obj), "the same again changes nothing"
    web = next(obj for obj in WORLD if obj["metadata"]["name"] == "web")
    for obj in extra[1::-1] + extra[2:3]:
        names.apply(obj["kind"], obj, deleted=True)
    assert names.apply("Service", web)
    assert len(list(names.names)) == size
    fresh = cluster().names
    assert {name: set(fresh.at(name)) for name in fresh} == {n: set(names.names.at(n)) for n in names.names}
    assert not names.names.exists("_x._tcp.new.testns.svc.cluster.local")
    assert not names.names.exists("_tcp.new.testns.svc.cluster.local")


def test_a_slice_may_come_before_its_service_and_stay_after_it() -> None:
    names = ClusterNames()
    names.apply("Namespace", namespace("testns"))
    pets = slice_("pets-1", "pets", [endpoint("10.244.2.1", "pet-0")])
    assert not names.apply("EndpointSlice", pets)
    assert names.apply("Service", service("pets", None))
    assert names.names.exists("pet-0.pets.testns.svc.cluster.local")
    assert names.apply("Service", service("pets", None), deleted=True)
    assert not names.names.exists("pet-0.pets.testns.svc.cluster.local")
    assert not names.names.exists("pets.testns.svc.cluster.local")


def test_a_slice_that_is_given_to_another_service_leaves_the_first() -> None:
    names = ClusterNames()
    names.apply("Namespace", namespace("testns"))
    for name in ("old", "new"):
        names.apply("Service", service(name, None))
    assert names.apply("EndpointSlice", slice_("s", "old", [endpoint("10.244.2.1")]))
    assert names.apply("EndpointSlice", slice_("s", "new", [endpoint("10.244.2.1")]))
    assert not names.names.exists("old.testns.svc.cluster.local")
    assert names.names.exists("new.testns.svc.cluster.local")
    assert names.apply("EndpointSlice", slice_("s", "new", []), deleted=True)
    assert not names.names.exists("new.testns.svc.cluster.local")


def test_a_pods_name_holds_no_scope() -> None:
    for label in ("fe80--1%eth0", "10-1-2-3%x", "%"):
        assert RCODES[respond([zone()], f"{label}.testns.pod.cluster.local", "AAAA").rcode] == "NXDOMAIN"


def test_a_cname_out_of_the_cluster_is_nxdomain_only_if_that_zone_is_known() -> None:
    files = {"db": ". SOA ns. root. 1 1 1 1 60"}
    root = parse(".:53 {\n file /etc/coredns/db .\n}\n", files).blocks[0].sources[0]
    result = respond([zone(), root], "out.testns.svc.cluster.local", "A")
    assert RCODES[result.rcode] == "NXDOMAIN"
    assert show(result.answer) == ["out.testns.svc.cluster.local 30 CNAME www.example.com"]
