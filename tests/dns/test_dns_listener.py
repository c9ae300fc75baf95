"""One server for many: what one asker does, or what goes wrong with one question, costs the others nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import dns.asyncquery
import dns.message
import dns.rcode
import pytest
from dns_objects import endpoint, namespace, port, service, slice_

from minik8s_net.dns import listener as listening
from minik8s_net.dns.answer import Answer, Source, respond
from minik8s_net.dns.config import parse
from minik8s_net.dns.listener import CACHE_BYTES, LONGEST, OVERHEAD, TURNS, Listener
from minik8s_net.dns.manifests import COREFILE, ROOT_ZONE
from minik8s_net.dns.records import ClusterNames

WEB, MANY = "web.a.svc.cluster.local", "many.a.svc.cluster.local"


def listener(endpoints: int = 3) -> Listener:
    cluster = ClusterNames()
    many = [endpoint(f"10.244.{i // 250}.{i % 250 + 1}") for i in range(endpoints)]
    for obj in (
        namespace("a"),
        service("web", "10.96.0.1", port(80), ns="a"),
        service("many", None, ns="a"),
        slice_("many-1", "many", many, ns="a"),
    ):
        cluster.apply(obj["kind"], obj)
    config = parse(COREFILE, {"db.root": ROOT_ZONE})
    for block in config.blocks:
        block.serve(cluster, 1, synced=True)
    return Listener(config)


@asynccontextmanager
async def serving(server: Listener) -> AsyncIterator[int]:
    udp, tcp = await server.listen("127.0.0.1", 0)
    try:
        yield udp.getsockname()[1]
    finally:
        asyncio.get_running_loop().remove_reader(udp.fileno())
        tcp.close()
        udp.close()


def question(name: str, rtype: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, rtype, **options).to_wire()  # type: ignore[arg-type]


def test_a_fault_with_one_question_leaves_the_others_their_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(sources: Sequence[Source], name: str, qtype: str) -> Answer:
        if name.startswith("bad"):
            raise RuntimeError("nobody foresaw this")
        return respond(sources, name, qtype)

    monkeypatch.setattr(listening, "respond", faulty)

    async def scenario() -> None:
        async with serving(listener()) as where:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.connect(("127.0.0.1", where))
                for name in (WEB, "bad.a.svc.cluster.local", WEB):  # in one batch
                    client.send(question(name))
                await asyncio.sleep(0.05)
                client.setblocking(False)
                replies = [dns.message.from_wire(client.recv(512)) for _ in range(3)]
            assert sorted(dns.rcode.to_text(r.rcode()) for r in replies) == ["NOERROR", "NOERROR", "SERVFAIL"]

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    assert "nobody foresaw this" in caplog.text


def test_many_questions_in_one_piece_let_others_have_their_turn() -> None:
    """RFC 7766 §6.2.1.1: a client may send all its questions at once."""

    async def scenario() -> None:
        async with serving(listener(500)) as where:
            reader, writer = await asyncio.open_connection("127.0.0.1", where)
            packet = question(MANY)
            writer.write((struct.pack("!H", len(packet)) + packet) * 300)
            await writer.drain()
            answered = asyncio.create_task(reader.readexactly(300 * 8000))
            others = 0
            while not answered.done():
                await dns.asyncquery.udp(dns.message.make_query(WEB, "A"), "127.0.0.1", port=where, timeout=5)
                others += 1
            assert others > 20
            writer.close()

    asyncio.run(scenario())


def test_a_flood_of_datagrams_leaves_timers_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long an answer takes: here 2 ms each, 200 of them."""

    def slow(sources: Sequence[Source], name: str, qtype: str) -> Answer:
        time.sleep(0.002)
        return respond(sources, name, qtype)

    monkeypatch.setattr(listening, "respond", slow)

    async def scenario() -> None:
        async with serving(server := listener()) as where:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.connect(("127.0.0.1", where))
                for i in range(200):
                    client.send(question(f"n{i}.a.svc.cluster.local"))
                turns, began = 0, time.monotonic()
                while time.monotonic() - began < 1:
                    await asyncio.sleep(0.001)
                    turns += 1
            assert server.misses == 200
            assert turns >= 5  # one after each batch of 32

    asyncio.run(scenario())


def test_every_address_comes_first_as_often_as_the_others() -> None:
    """And by TCP too, where nothing is kept ready."""

    async def scenario() -> None:
        async with serving(listener(20)) as where:
            query = dns.message.make_query(MANY, "A")
            firsts = [
                (await dns.asyncquery.udp(query, "127.0.0.1", port=where)).answer[0][0].address for _ in range(60)
            ]
            assert sorted(firsts.count(address) for address in set(firsts)) == [3] * 20
            assert [*dict.fromkeys(firsts)] == firsts[20:40] == firsts[40:], "in turn"
            tcp = {(await dns.asyncquery.tcp(query, "127.0.0.1", port=where)).answer[0][0].address for _ in range(100)}
            assert len(tcp) > 10

    asyncio.run(scenario())


def test_the_cache_holds_no_more_than_its_bytes() -> None:
    server = listener(20)
    sizes = set()
    for i in range(200):
        server.handle(question(MANY, use_edns=0, payload=1232 - i), ("127.0.0.1", 1), "udp", lambda _: None)
        sizes.add(server._bytes)
    assert server.entries() == 200
    assert max(sizes) >= 200 * 20 * 16 * 20, "the twenty answers of twenty addresses are counted before they are built"
    server._bytes = CACHE_BYTES - OVERHEAD
    server.handle(question(WEB), ("127.0.0.1", 1), "udp", lambda _: None)
    assert (server.entries(), 0 < server._bytes < 2000) == (1, True)
    padded = question(WEB, pad=LONGEST + 1, use_edns=0)
    server.handle(padded, ("127.0.0.1", 1), "udp", lambda _: None)
    assert server.entries() == 1
    assert TURNS > 20
