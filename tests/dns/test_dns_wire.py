"""Messages: dnspython is the independent reader and writer; then broken ones of every kind."""

from __future__ import annotations

import random
import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from dns_objects import endpoint, namespace, port, service, slice_
from hypothesis import given, settings
from hypothesis import strategies as st

from minik8s_net.dns import wire
from minik8s_net.dns.config import parse
from minik8s_net.dns.listener import Listener
from minik8s_net.dns.manifests import COREFILE, ROOT_ZONE
from minik8s_net.dns.names import Record
from minik8s_net.dns.records import ClusterNames

WEB = "web.testns.svc.cluster.local"


def listener(endpoints: int = 3, corefile: str = COREFILE) -> Listener:
    cluster = ClusterNames()
    many = [endpoint(f"10.244.{i // 250}.{i % 250 + 1}") for i in range(endpoints)]
    for obj in (
        namespace("testns"),
        service("web", "10.96.0.1", port(80, "http")),
        service("many", None),
        slice_("many-1", "many", many, port(80, "http")),
    ):
        cluster.apply(obj["kind"], obj)
    config = parse(corefile, {"db.root": ROOT_ZONE})
    for block in config.blocks:
        block.serve(cluster, 1, synced=True)
    return Listener(config)


def exchange(to: Listener, packet: bytes, protocol: str = "udp") -> bytes | None:
    replies: list[bytes] = []
    to.handle(packet, ("127.0.0.1", 4711), protocol, replies.append)
    assert len(replies) <= 1
    return replies[0] if replies else None


def ask(to: Listener, name: str, rtype: str = "A", protocol: str = "udp", **options: object) -> dns.message.Message:
    query = dns.message.make_query(name, rtype, **options)
    reply = exchange(to, query.to_wire(), protocol)
    assert reply is not None
    message = dns.message.from_wire(reply, ignore_trailing=False)
    assert query.is_response(message)
    return message


def test_case_is_preserved_and_ignored() -> None:
    reply = exchange(listener(), dns.message.make_query("wEb.TestNS.svc.CLUSTER.local", "A").to_wire())
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert message.answer[0].name.to_text() == "wEb.TestNS.svc.CLUSTER.local."
    assert message.answer[0][0].address == "10.96.0.1"


def test_flags() -> None:
    reply = ask(listener(), WEB)
    assert reply.flags & dns.flags.AA
    assert reply.flags & dns.flags.RD
    assert not reply.flags & (dns.flags.TC | dns.flags.RA)
    assert reply.edns == -1


def test_edns_is_answered_with_edns() -> None:
    reply = ask(listener(), WEB, use_edns=0, payload=4096, want_dnssec=True)
    assert (reply.edns, reply.payload) == (0, wire.MAX_UDP)
    assert reply.ednsflags & dns.flags.DO


def test_an_unknown_edns_version_is_badvers() -> None:
    reply = ask(listener(), WEB, use_edns=1)
    assert reply.rcode() == dns.rcode.BADVERS
    assert reply.edns == 0
    assert not reply.answer


@pytest.mark.parametrize(("payload", "size"), [(None, 512), (600, 600), (4096, wire.MAX_UDP)])
def test_truncation_says_so_and_tcp_has_it_all(payload: int | None, size: int) -> None:
    server = listener(200)
    options = {} if payload is None else {"use_edns": 0, "payload": payload}
    name = "many.testns.svc.cluster.local"
    query = dns.message.make_query(name, "A", **options)
    reply = exchange(server, query.to_wire())
    assert reply is not None
    assert size - 40 < len(reply) <= size
    message = dns.message.from_wire(reply)
    assert message.flags & dns.flags.TC
    assert 0 < len(message.answer[0]) < 200
    assert len(ask(server, name, protocol="tcp", **options).answer[0]) == 200


def test_additional_records_are_left_out_without_truncation() -> None:
    server = listener(6)
    reply = ask(server, "_http._tcp.many.testns.svc.cluster.local", "SRV")
    assert not reply.flags & dns.flags.TC
    assert len(reply.answer[0]) == 6
    assert sum(map(len, reply.additional)) < 6


def test_an_additional_rrset_is_left_out_as_a_whole() -> None:
    """RFC 2181 §9: and what fits before it stays."""
    query = wire.parse(dns.message.make_query(WEB, "SRV").to_wire())
    answer = [wire.RR(WEB, Record("SRV", (0, 1, 80, "t.a")), 5)]
    additional = [wire.RR(name, Record("A", f"10.0.0.{i}"), 5) for name in ("t.a", "u.a") for i in range(1, 20)]
    reply = dns.message.from_wire(wire.build(query, 0, answer=answer, additional=additional, limit=512))
    assert not reply.flags & dns.flags.TC
    assert [(str(rrset.name), len(rrset)) for rrset in reply.additional] == [("t.a.", 19)]


def test_unknown_opcode_is_notimp() -> None:
    for opcode in (dns.opcode.STATUS, dns.opcode.NOTIFY, dns.opcode.UPDATE):
        query = dns.message.make_query(WEB, "A")
        query.set_opcode(opcode)
        reply = exchange(listener(), query.to_wire())
        assert reply is not None
        assert reply[3] & 15 == wire.NOTIMP


def test_other_classes_are_refused() -> None:
    for rdclass in (dns.rdataclass.CH, dns.rdataclass.HS, dns.rdataclass.ANY):
        query = dns.message.make_query(WEB, "A", rdclass=rdclass)
        reply = exchange(listener(), query.to_wire())
        assert reply is not None
        assert reply[3] & 15 == wire.REFUSED


def test_unknown_types_are_nodata() -> None:
    for rtype in ("TYPE4711", "HTTPS", "CAA"):
        reply = ask(listener(), WEB, rtype)
        assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])
        assert reply.authority[0].rdtype == dns.rdatatype.SOA


QUERY = dns.message.make_query(WEB, "A", id=7).to_wire()
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


@pytest.mark.parametrize(
    ("what", "packet", "rcode"),
    [
        ("nothing", b"", None),
        ("half a header", QUERY[:11], None),
        ("an answer", QUERY[:2] + b"\x81\x80" + QUERY[4:], None),
        ("no question", struct.pack("!6H", 7, 0x0100, 0, 0, 0, 0), wire.FORMERR),
        ("two questions", struct.pack("!6H", 7, 0x0100, 2, 0, 0, 0) + QUERY[12:] * 2, wire.FORMERR),
        ("question cut off", QUERY[:-3], wire.FORMERR),
        ("name cut off", QUERY[:20], wire.FORMERR),
        ("label of 64", QUERY[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", wire.FORMERR),
        ("name of 300", QUERY[:12] + (b"\x3b" + b"a" * 59) * 5 + b"\0\0\1\0\1", wire.FORMERR),
        ("pointer to itself", QUERY[:12] + b"\xc0\x0c\0\1\0\1", wire.FORMERR),
        ("pointer forwards", QUERY[:12] + b"\xc0\x10\0\1\0\1", wire.FORMERR),
        ("missing OPT", QUERY[:10] + b"\0\1" + QUERY[12:], wire.FORMERR),
        ("two OPTs", QUERY[:10] + b"\0\2" + QUERY[12:] + OPT * 2, wire.FORMERR),
        ("OPT as answer", QUERY[:6] + b"\0\1" + QUERY[8:] + OPT, wire.FORMERR),
        ("OPT longer than the message", QUERY[:10] + b"\0\1" + QUERY[12:] + OPT[:-1] + b"\x09", wire.FORMERR),
        ("65535 records promised", QUERY[:6] + b"\xff\xff\xff\xff\xff\xff" + QUERY[12:], wire.FORMERR),
        ("trailing bytes", QUERY + b"junk", wire.NOERROR),
        ("the root", QUERY[:12] + b"\0\0\1\0\1", wire.NOERROR),
        ("a binary label", QUERY[:12] + b"\3\xff\0\x2e\0\0\1\0\1", wire.NXDOMAIN),
    ],
)
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_malformed(what: str, packet: bytes, rcode: int | None, protocol: str) -> None:
    reply = exchange(listener(), packet, protocol)
    if rcode is None:
        assert reply is None, what
    else:
        assert reply is not None, what
        assert reply[:2] == packet[:2]
        assert reply[3] & 15 == rcode, what


def test_a_dot_inside_a_label_is_not_a_dot_between_labels() -> None:
    labels = (b"web.testns", b"svc", b"cluster", b"local", b"")
    query = dns.message.make_query(dns.name.Name(labels), "A")
    reply = exchange(listener(), query.to_wire())
    assert reply is not None
    assert dns.message.from_wire(reply).rcode() == dns.rcode.NXDOMAIN


def test_fuzz() -> None:
    """Mutations of good queries: never an exception, every reply readable, the state bounded."""
    rng, server = random.Random(6), listener()
    log_all = listener(corefile=COREFILE.replace("errors", "log"))
    log_all.log_line = lambda line: None
    seeds = [
        dns.message.make_query(name, rtype, **options).to_wire()
        for name in (WEB, "1.0.96.10.in-addr.arpa", "10-2-3-4.testns.pod.cluster.local", ".", "example.org")
        for rtype in ("A", "SRV", "PTR", "ANY", "TXT")
        for options in (
            {},
            {"use_edns": 0, "payload": 1400},
            {"use_edns": 0, "options": [dns.edns.CookieOption(b"12345678", b"")]},
        )
    ]
    for turn in range(20_000):
        packet = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            match rng.randrange(5):
                case 0 if packet:
                    packet[rng.randrange(len(packet))] = rng.randrange(256)
                case 1 if packet:
                    del packet[rng.randrange(len(packet)) :]
                case 2:
                    at = rng.randint(0, len(packet))
                    packet[at:at] = rng.choice((b"\xc0\x0c", b"\xff", b"\0", OPT, rng.randbytes(8)))
                case 3 if packet:
                    at = rng.randrange(len(packet))
                    packet[at] ^= 1 << rng.randrange(8)
                case _:
                    packet += rng.choice(seeds)[rng.randrange(12) :]
        protocol = "tcp" if turn % 2 else "udp"
        reply = exchange(server if turn % 3 else log_all, bytes(packet), protocol)
        if reply is not None:
            message = dns.message.from_wire(reply)
            assert message.id == int.from_bytes(packet[:2], "big")
            assert message.flags & dns.flags.QR
            assert len(reply) <= wire.MAX_UDP or protocol == "tcp"
    assert server.entries() < 20_000


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
ADDRESS = st.integers(0x0AF40001, 0x0AF4FFFE).map(lambda n: ".".join(str(n >> s & 255) for s in (24, 16, 8, 0)))
WORLD = st.dictionaries(
    st.tuples(LABEL, LABEL),
    st.one_of(ADDRESS, st.dictionaries(ADDRESS, st.one_of(st.just(""), LABEL), max_size=5)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(world=WORLD, probe=st.tuples(LABEL, LABEL), flip=st.integers(0, 2**64))
def test_every_name_that_exists_is_found_and_no_other(
    world: dict[tuple[str, str], str | dict[str, str]], probe: tuple[str, str], flip: int
) -> None:
    server = listener()
    cluster = ClusterNames()
    expected: dict[str, set[str]] = {}
    for (name, ns), what in world.items():
        base = f"{name}.{ns}.svc.cluster.local"
        cluster.apply("Namespace", namespace(ns))
        if isinstance(what, str):
            cluster.apply("Service", service(name, what, ns=ns))
            expected[base] = {what}
            continue
        cluster.apply("Service", service(name, None, ns=ns))
        cluster.apply("EndpointSlice", slice_(f"{name}-s", name, [endpoint(ip, h) for ip, h in what.items()], ns=ns))
        for ip, hostname in what.items():
            expected.setdefault(base, set()).add(ip)
            expected.setdefault(f"{hostname or ip.replace('.', '-')}.{base}", set()).add(ip)
    server.config.blocks[0].serve(cluster, 1, synced=True)
    for name, addresses in expected.items():
        asked = "".join(c.upper() if flip >> i % 64 & 1 else c for i, c in enumerate(name))
        reply = ask(server, asked, protocol="tcp")
        assert {rr.address for rr in reply.answer[0]} == addresses
        assert ask(server, asked, "AAAA").rcode() == dns.rcode.NOERROR
    stranger = ".".join(probe) + ".svc.cluster.local"
    if stranger not in expected:
        assert ask(server, stranger).rcode() == dns.rcode.NXDOMAIN
