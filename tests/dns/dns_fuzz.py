"""One packet through the whole server, judged: what fuzzers call. `benchmarks/fuzz_dns.py` guides it by coverage."""

from __future__ import annotations

import sys
from pathlib import Path

import dns.exception
import dns.flags
import dns.message

sys.path.insert(0, str(Path(__file__).parent))

from dns_objects import endpoint, external, namespace, port, service, slice_

from minik8s_net.dns import forward, wire
from minik8s_net.dns.config import parse
from minik8s_net.dns.listener import Listener, Request
from minik8s_net.dns.manifests import COREFILE, ROOT_ZONE
from minik8s_net.dns.records import ClusterNames

ASKED = wire.parse(dns.message.make_query("web.testns.svc.cluster.local", "A").to_wire())
PEER = ("127.0.0.1", 4711)
HOSTS = "hosts {\n 192.0.2.7 printer.example\n 2001:db8::7 printer.example\n fallthrough\n }\n log"


class Strict(Listener):
    """Its own faults end the run: a user's server says SERVFAIL and goes on."""

    def _failed(self, request: Request) -> None:
        raise


class Target:
    """A listener with one record of every kind. `one` raises AssertionError for whatever must not be."""

    def __init__(self) -> None:
        cluster = ClusterNames()
        many = [endpoint(f"10.244.1.{i}", f"pet-{i}" if i % 2 else "") for i in range(1, 60)]
        for obj in (
            namespace("testns"),
            service("web", "10.96.0.1", port(80, "http"), port(53, "dns", "UDP")),
            service("six", "fd00::6", port(80, "http")),
            service("pets", None, port(80, "http")),
            slice_("pets-1", "pets", many, port(80, "http")),
            external("out", "www.example.org"),
            external("alias", "web.testns.svc.cluster.local"),
            external("loop", "loop.testns.svc.cluster.local"),
        ):
            cluster.apply(obj["kind"], obj)
        config = parse(COREFILE.replace("errors", HOSTS), {"db.root": ROOT_ZONE})
        for block in config.blocks:
            block.serve(cluster, 1, synced=True)
        self.listener = Strict(config)
        self.listener.log_line = self._log

    def _log(self, line: str) -> None:
        assert "\n" not in line, f"a name wrote its own line into the log: {line!r}"

    def one(self, packet: bytes) -> None:
        """As a query by UDP and by TCP, and as an upstream's reply."""
        replies = {protocol: self._ask(packet, protocol) for protocol in ("udp", "tcp")}
        assert (replies["udp"] is None) == (replies["tcp"] is None), "answered by one protocol only"
        try:
            rcode, answer, authority = forward.read_reply(packet)
        except ValueError:
            return  # the one documented error
        told = wire.build(ASKED, rcode, answer=answer, authority=authority)
        assert forward.read_reply(told) == (rcode, answer, authority), "what is passed on is not what was told"

    def _ask(self, packet: bytes, protocol: str) -> bytes | None:
        replies: list[bytes] = []
        self.listener.handle(packet, PEER, protocol, replies.append)
        assert len(replies) <= 1
        if not replies:
            assert len(packet) < 12 or packet[2] & 0x80, "a question was left without an answer"
            return None
        (reply,) = replies
        assert reply[:2] == packet[:2]
        assert len(reply) <= (wire.MAX_UDP if protocol == "udp" else 65535)
        message = dns.message.from_wire(reply, ignore_trailing=False)
        assert message.flags & dns.flags.QR
        return reply


def seeds() -> list[bytes]:
    """What the corpus began with: good questions of every kind, and their answers."""
    zone, target = "testns.svc.cluster.local", Target()
    names = [
        f"web.{zone}",
        f"_http._tcp.pets.{zone}",
        f"out.{zone}",
        f"alias.{zone}",
        f"loop.{zone}",
        f"six.{zone}",
        "1.0.96.10.in-addr.arpa",
        "10-1-2-3.testns.pod.cluster.local",
        "fe80--1%eth0.testns.pod.cluster.local",
        "printer.example",
        ".",
        "cluster.local",
    ]
    questions = [
        dns.message.make_query(name, rtype, id=7, **options).to_wire()  # type: ignore[arg-type]
        for name in names
        for rtype in ("A", "SRV", "ANY")
        for options in ({}, {"use_edns": 0, "payload": 1400})
    ]  # fmt: skip
    return [*questions, *(reply for q in questions[::3] if (reply := target._ask(q, "tcp")))]
