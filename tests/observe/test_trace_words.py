"""The trace's pure parts: targets, resolv.conf, idle jumps, who wrote a rule, text, and messages nobody sane sends."""

from __future__ import annotations

import os
import random
import struct

import pytest

from minik8s_net.api.errors import StatusError
from minik8s_net.kernel.nftrace import Event
from minik8s_net.observe import decode
from minik8s_net.observe.trace import provenance
from minik8s_net.observe.trace.filters import Flow, frame_filter
from minik8s_net.observe.trace.model import IDLE, LAYERS, Station, Trace
from minik8s_net.observe.trace.names import parse as resolver
from minik8s_net.observe.trace.stations import _idle, _translates
from minik8s_net.observe.trace.target import Target, parse
from minik8s_net.observe.trace.text import text


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("http://web", ("tcp", "web", 80, "/", "")),
        ("http://web.shop:8080/a?b=c", ("tcp", "web.shop", 8080, "/a?b=c", "")),
        ("https://web", ("tcp", "web", 443, None, "")),
        ("udp://10.96.0.10:53", ("udp", "10.96.0.10", 53, None, "")),
        ("10.244.1.3:8080", ("tcp", "10.244.1.3", 8080, None, "")),
        ("web", ("tcp", "web", None, None, "")),
        ("svc/web:81", ("tcp", "web", 81, None, "service")),
        ("pod/web:81", ("tcp", "web", 81, None, "pod")),
        ("dns:web.shop", ("udp", "web.shop", 53, None, "dns")),
    ],
)
def test_targets(words: str, target: tuple[str, str, int | None, str | None, str]) -> None:
    found = parse(words)
    assert (found.protocol, found.host, found.port, found.http, found.kind) == target
    assert isinstance(found, Target)


@pytest.mark.parametrize("words", ["", "web:http", "web:70000", "ftp://web", "http://", "dns:", "a b"])
def test_no_targets(words: str) -> None:
    with pytest.raises(StatusError, match="a target is one of"):
        parse(words)


def test_the_search_path() -> None:
    found = resolver(
        "nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local\noptions ndots:5 timeout:1\n",
        "127.0.0.1 localhost\n10.244.1.3\tclient  # me\n::1 ip6-localhost\n",
    )
    assert found.candidates("web") == ["web.default.svc.cluster.local", "web.svc.cluster.local", "web"]
    assert found.candidates("a.b.c.d.e.f") == [
        "a.b.c.d.e.f", "a.b.c.d.e.f.default.svc.cluster.local", "a.b.c.d.e.f.svc.cluster.local",
    ]  # fmt: skip
    assert found.candidates("web.") == ["web"]
    assert found.hosts == {"localhost": "127.0.0.1", "client": "10.244.1.3"}
    assert resolver("").candidates("a.b") == ["a.b"]


def test_who_wrote_a_rule() -> None:
    svc = '-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "shop/web:http cluster IP" -j KUBE-SVC-X'
    assert provenance.written_for("KUBE-SERVICES", svc) == "Service shop/web"
    drop = '-A KUBE-PODIN-X -m comment --comment "ingress allowed by none of shop/deny, shop/more" -j DROP'
    assert provenance.written_for("KUBE-PODIN-X", drop) == "NetworkPolicy shop/deny, shop/more"
    assert (
        provenance.written_for("services", "ip daddr … vmap @service-ips", "service-ULMVA6XW-a/b/tcp/p")
        == "Service a/b"
    )
    forward = '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD'
    assert provenance.written_for("FORWARD", forward) == ""


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ("-A KUBE-SEP-X -p tcp -m tcp -j DNAT --to-destination 10.244.1.3:80", "DNAT"),
        ("meta l4proto tcp dnat to 10.244.1.3:80", "DNAT"),
        ('-m comment --comment "requiring SNAT" -j MASQUERADE --random-fully', "masquerade"),
        ("masquerade fully-random", "masquerade"),
        ("ip saddr 10.244.1.3 jump mark-for-masquerade", ""),
        ('-A KUBE-EXT-X -m comment --comment "masquerade traffic for a/b" -j KUBE-MARK-MASQ', ""),
        ("jump masquerading", ""),
    ],
)
def test_what_translates(rule: str, kind: str) -> None:
    assert _translates(rule) == kind


def event(chain: str, target: str = "", verdict: str = "jump") -> Event:
    return Event(1, "rule", "ip", "filter", chain, 1, verdict, target, 0, 0, 0, b"", b"")


def test_jumps_that_led_nowhere() -> None:
    hits = [
        event("FORWARD", "A"), event("A", "B"), event("A", "C"),  # nothing in any of them
        event("FORWARD", "D"), event("D", "E"), event("D", verdict="accept"),
    ]  # fmt: skip
    assert _idle(hits) == {0, 1, 2, 4}
    nested = [event("FORWARD", "A"), event("A", "B"), event("B", "C"), event("A", verdict="accept")]
    assert _idle(nested) == {1, 2}


def test_the_text_fits_80_columns_and_folds_what_had_nothing_to_say() -> None:
    long = "KUBE-SVC-ABCDEFGHIJKLMNOP " * 9
    stations = [
        Station(i + 1, "out", "default/" + "x" * 60, layer, long, long, "Service a/b") for i, layer in enumerate(LAYERS)
    ]
    idle = [Station(12 + i, "out", "node-1", "rule", f"filter FORWARD: jump X-{i}{IDLE}") for i in range(30)]
    told = text(Trace("default/a", "http://b", "dropped", [*stations, *idle], 3.0, [long], long))
    assert max(len(line) for line in told.splitlines()) <= 80
    assert told.count("nothing matched in") == 1
    assert "12-41" in told


def test_the_frame_filter_runs_in_the_kernel_and_is_forward_only() -> None:
    program = frame_filter(Flow("tcp", "10.244.1.3", 4444, 3))
    assert len(program) < 64
    for at, (code, jt, jf, _) in enumerate(program):
        if code & 7 == 5:
            assert at + 1 + max(jt, jf) < len(program)


def test_decoding_never_raises() -> None:
    chance = random.Random(7)
    syn = bytes.fromhex("0a580af401010a580af40103080045000028000040004006") + bytes(2)
    syn += bytes([10, 244, 1, 3, 10, 96, 0, 10]) + struct.pack("!HHIIBBHHH", 4000, 80, 1, 0, 0x50, 2, 0, 0, 0)
    assert str(decode.ethernet(syn)) == "TCP 10.244.1.3:4000 -> 10.96.0.10:80 SYN"
    for _ in range(3000):
        garbled = bytearray(syn + os.urandom(40))
        for _ in range(3):
            garbled[chance.randrange(len(garbled))] = chance.randrange(256)
        str(decode.ethernet(bytes(garbled[: chance.randrange(len(garbled))])))
        decode.dns(os.urandom(60))


def test_dns_messages() -> None:
    import dns.message
    import dns.rrset

    query = dns.message.make_query("web.default.svc.cluster.local", "A")
    assert str(decode.dns(query.to_wire())) == "A? web.default.svc.cluster.local"
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text("web.default.svc.cluster.local.", 5, "IN", "A", "10.96.0.7", "10.96.0.8"))
    found = decode.dns(answer.to_wire())
    assert found is not None
    assert sorted(found.answers) == [("A", "10.96.0.7"), ("A", "10.96.0.8")]
    ours = dns.message.from_wire(decode.dns_query(77, "web.default"))
    assert (ours.id, str(ours.question[0])) == (77, "web.default. IN A")
