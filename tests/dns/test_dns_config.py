"""Corefiles and zone files: what is taken, and with which words the rest is refused."""

from __future__ import annotations

import pytest

from minik8s_net.config import ClusterConfig
from minik8s_net.dns.answer import Forward, Zone, respond
from minik8s_net.dns.config import parse
from minik8s_net.dns.corefile import CorefileError
from minik8s_net.dns.manifests import manifests
from minik8s_net.dns.wire import NOERROR
from minik8s_net.dns.zonefile import parse_zone

SOA = "@ SOA ns h 1 2 3 4 5\n"
FILES = {
    "bad": "www A nowhere\n",
    "soa": "@ SOA ns h 1 2\n",
    "ttl": SOA + "www 2147483648 A 192.0.2.1\n",
    "srv": SOA + "_x._tcp SRV 0 0 70000 x\n",
}


def block(body: str) -> str:
    return ".:53 {\n" + body + "\n}\n"


def test_the_manifests_own_corefile() -> None:
    objects = {obj["kind"]: obj for obj in manifests(ClusterConfig(cluster_domain="example.test"))}
    data = objects["ConfigMap"]["data"]
    plugin = parse(data["Corefile"], data).kubernetes
    assert plugin is not None
    assert (plugin.zone, plugin.pods, plugin.ttl) == ("example.test", "insecure", 30)
    assert objects["Service"]["spec"]["clusterIP"] == "10.96.0.10"
    assert objects["Deployment"]["spec"]["replicas"] == 2


def test_forward() -> None:
    text = block("forward . 192.0.2.1 192.0.2.2:5353 dns://[fd00::1]:53 fd00::2 {\n except example.org\n }")
    (forward,) = parse(text).blocks[0].sources
    assert isinstance(forward, Forward)
    assert forward.upstreams == (("192.0.2.1", 53), ("192.0.2.2", 5353), ("fd00::1", 53), ("fd00::2", 53))
    assert forward.takes("example.com")
    assert not forward.takes("www.example.org")


def test_the_longest_zone_wins() -> None:
    config = parse("org {\n log\n}\nexample.org. a.test:53 {\n}\n")
    assert config.block("www.example.org") is config.blocks[1]
    assert config.block("other.org") is config.blocks[0]
    assert config.block("example.com") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no server block"),
        (".:53 {\n errors\n", "a '}' is missing"),
        ("}\n", "Corefile:1 - Error during parsing: unexpected '}'"),
        (".:53\n", "has no '{'"),
        (block("nonsense"), "Corefile:2 - Error during parsing: Unknown directive 'nonsense'"),
        (block("") + block(""), "already defined"),
        (block("kubernetes c.l {\n pods maybe\n}"), "wrong value for pods: maybe"),
        (block("kubernetes c.l {\n ttl 4000\n}"), "ttl must be in range [0, 3600]"),
        (block("kubernetes c.l {\n what\n}"), "unknown property 'what'"),
        (block("kubernetes a.b\nkubernetes c.d"), "only once"),
        (block("forward ."), "Wrong argument count"),
        (block("forward . example.org"), "not an IP address"),
        (block("forward . 192.0.2.300"), "not an IP address"),
        (block("hosts {\n 1.2.3 name\n}"), "unknown property '1.2.3'"),
        (block("cache 0"), "cache must be in range [1, 86400]: 0"),
        (block("file /etc/none ."), "no such key in the ConfigMap: none"),
        (block("file /etc/bad ."), "file: bad: line 1"),
        (", {\n errors\n}\n", "server block without a zone"),
        (".:5353 {\n errors\n}\n", ".:5353: only port 53 is listened at here"),
        (block("health {\n lameduck soon\n}"), "unknown property 'lameduck soon'"),
        ("10.0.0.0/33 {\n}\n", "not a zone: '10.0.0.0/33'"),
        ("a..b {\n}\n", "not a zone: 'a..b'"),
        (block("kubernetes"), "a cluster's zone has a name"),
        (block("kubernetes in-addr.arpa"), "non-reverse zone name must be used"),
        (block("kubernetes a.b c.d in-addr.arpa"), "a cluster has one zone here, not 2: a.b c.d"),
        ("a {\n kubernetes a\n}\nb {\n kubernetes b\n}\n", "one zone and one mode for pods here, not 2"),
        (block("kubernetes c.l {\n ttl ²\n}"), "ttl must be in range [0, 3600]: ²"),
        (block("hosts {\n fe80::1%x name\n}"), "unknown property 'fe80::1%x'"),
        (block("hosts {\n 192.0.2.1 a..b\n}"), "Corefile:2 - Error during parsing: hosts: "),
        (block("hosts /etc/none"), "hosts: open /etc/none: no such key in the ConfigMap: none"),
        (block("hosts bad"), "hosts: bad: not an address with names: www A nowhere"),
        (block("forward . 192.0.2.1:0"), "not an IP address"),
        (block("forward . 192.0.2.1:99999"), "not an IP address"),
        (block("forward . 192.0.2.1 {\n max_concurrent 0\n}"), "max_concurrent must be in range [1, "),
        (block("forward 10.0.0.0/23 192.0.2.1"), "forward: one zone, not 2"),
        (block("file soa ."), "not a record: SOA"),
        (block("file ttl ."), "not a TTL: 2147483648"),
        (block("file srv ."), "not a record: SRV (0, 0, 70000, 'x')"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(CorefileError) as refused:
        parse(text, FILES)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("errors", None), ("errors {\n consolidate 5m .*\n}", "errors { consolidate 5m .* }"),
        ("health", None), ("health {\n lameduck 5s\n}", None), ("health :9000", "POD:8080/health"),
        ("ready", None), ("ready :8182", "POD:8181/ready"),
        ("prometheus :9153", None), ("prometheus :9", "POD:9153/metrics"),
        ("reload", None), ("reload 10s", "taken at once"),
        ("loadbalance", None), ("loadbalance round_robin", None), ("loadbalance weighted f", "take turns"),
        ("log", None), ("log . {\n class denial\n}", "every question"),
        ("cache", None), ("cache 30", None), ("cache 30 cluster.local", "only the TTL counts"),
        ("loop", None), ("bind 127.0.0.1", "all addresses"),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_said(line: str, words: str | None) -> None:
    warnings = parse(block(line)).warnings
    assert [words in w and w.startswith("Corefile:2: `") for w in warnings if words] == ([True] if words else [])
    assert bool(warnings) == bool(words)


def test_lameduck() -> None:
    times = [parse(block(f"health {{\n lameduck {t}\n}}")).lameduck for t in ("5s", "1m30s", "250ms", "0.5s")]
    assert times == [5, 90, 0.25, 0.5]
    assert parse(block("health")).lameduck == 0


def test_cache_bounds_what_forward_keeps() -> None:
    kept = [parse(block(f"forward . 192.0.2.1\n{line}")).blocks[0].sources[0] for line in ("", "cache", "cache 30")]
    assert [f.keep for f in kept if isinstance(f, Forward)] == [0, 3600, 30]


def test_zone_file() -> None:
    zone = parse_zone(
        '$TTL 60\n@ IN SOA ns hostmaster (\n 1 2 ; a comment\n 3 4 5 )\nwww 30 IN A 192.0.2.1\n  TXT "two words" b\n'
        "alias CNAME www\nout MX 10 mail.example.com.\n",
        "example.org",
    )
    assert [(r.type, r.data, r.ttl) for r in zone["www.example.org"]] == [
        ("A", "192.0.2.1", 30),
        ("TXT", ("two words", "b"), 60),
    ]
    assert zone["alias.example.org"][0].data == "www.example.org"
    assert zone["out.example.org"][0].data == (10, "mail.example.com")


@pytest.mark.parametrize(
    "line", ["www A x", "www", "www NOPE 1", "www.example.com. A 1.2.3.4", "a SRV 1 2", "( x", "a..b A 1.2.3.4"]
)
def test_bad_zone_file(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_zone(SOA + line, "example.org")


@pytest.mark.parametrize(
    ("written", "zones"),
    [
        ("Example.ORG.:53 dns://a.test", {"example.org", "a.test"}),
        ("10.96.0.0/16", {"96.10.in-addr.arpa"}),
        ("10.96.0.0/15", {"96.10.in-addr.arpa", "97.10.in-addr.arpa"}),
        ("192.0.2.77", {"192.0.2.77"}),
        ("192.0.2.64/27", {f"{i}.2.0.192.in-addr.arpa" for i in range(64, 96)}),
        ("2001:db8::/32", {"8.b.d.0.1.0.0.2.ip6.arpa"}),
        ("fd00::/7", {"c.f.ip6.arpa", "d.f.ip6.arpa"}),
    ],
)
def test_zones(written: str, zones: set[str]) -> None:
    assert set(parse(f"{written} {{\n}}\n").blocks[0].zones) == zones


def test_reverse_zones_of_a_range_are_the_clusters() -> None:
    plugin = parse(block("kubernetes cluster.local 10.96.0.0/16")).kubernetes
    assert plugin is not None
    assert (plugin.zone, plugin.zones) == ("cluster.local", ("cluster.local", "96.10.in-addr.arpa"))


def test_hosts_of_a_file_and_of_the_block() -> None:
    text = block("hosts /etc/coredns/lan example.org {\n 192.0.2.8 a.example.org\n}")
    (hosts,) = parse(text, {"lan": "# ours\n192.0.2.7 printer.example.org b.example.org # two\n"}).blocks[0].sources
    assert isinstance(hosts, Zone)
    assert hosts.apexes == ("example.org",)
    assert [[rr.record.data for rr in hosts.at(f"{n}.example.org")] for n in ("printer", "b", "a")] == [
        ["192.0.2.7"], ["192.0.2.7"], ["192.0.2.8"],
    ]  # fmt: skip


def test_hosts_that_fall_through_hide_no_other_name() -> None:
    entries = "hosts {\n 192.0.2.7 x.web.example.org\n fallthrough\n}\nfile db"
    sources = (
        parse(block(entries), {"db": SOA + "example.org A 192.0.2.1\nweb.example.org A 192.0.2.2\n"}).blocks[0].sources
    )
    for name, address in (("example.org", "1"), ("web.example.org", "2"), ("x.web.example.org", "7")):
        assert [rr.record.data for rr in respond(sources, name, "A").answer] == [f"192.0.2.{address}"]
    assert respond(sources, "x.web.example.org", "MX").rcode == NOERROR
