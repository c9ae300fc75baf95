"""Many clients at once on a real socket: to each its own answer, whatever shares a batch with it."""

from __future__ import annotations

import asyncio
import random
import socket

import dns.message
import dns.rcode
import pytest
from dns_objects import namespace, port, service

from minik8s_net.dns.config import parse
from minik8s_net.dns.datagrams import BATCH, Batch
from minik8s_net.dns.listener import Listener
from minik8s_net.dns.manifests import COREFILE, ROOT_ZONE
from minik8s_net.dns.records import ClusterNames

SERVICES = 40
HOSTS = ("127.0.0.1", "::1")


@pytest.mark.parametrize("host", HOSTS)
def test_a_batch_answers_each_asker_his_own_question(host: str) -> None:
    """Known, unknown and broken questions in one batch, cached and not, from clients of their own."""
    rng = random.Random(6)
    asyncio.run(_ask(host, [_question(rng) for _ in range(4 * BATCH)]))


def _question(rng: random.Random) -> bytes:
    kind, number = rng.choice(("service", "service", "absent", "broken", "empty")), rng.randrange(SERVICES)
    if kind in ("broken", "empty"):
        return rng.randbytes(11 if kind == "broken" else 0)
    return dns.message.make_query(f"{kind}-{number}.a.svc.cluster.local", "A", id=rng.randrange(1 << 16)).to_wire()


async def _ask(host: str, questions: list[bytes]) -> None:
    listener = _listener()
    udp, tcp = await listener.listen(host, 0)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    clients = [socket.socket(family, socket.SOCK_DGRAM) for _ in questions]
    try:
        for _ in range(2):  # nothing is cached; all that can be is
            for client, question in zip(clients, questions, strict=True):
                client.connect(udp.getsockname())
                client.send(question)  # the loop does not run meanwhile: they wait together
            await asyncio.sleep(0.1)
            for client, question in zip(clients, questions, strict=True):
                _check(client, question)
    finally:
        asyncio.get_running_loop().remove_reader(udp.fileno())
        for opened in (udp, tcp, *clients):
            opened.close()
        await tcp.wait_closed()
    listener.count()
    assert listener.hits >= len(questions) / 4


def _check(client: socket.socket, question: bytes) -> None:
    client.setblocking(False)
    if len(question) < 12:
        with pytest.raises(BlockingIOError):
            client.recv(512)
        return
    query, reply = dns.message.from_wire(question), dns.message.from_wire(client.recv(512))
    assert query.is_response(reply)  # its id, its question
    kind, number = str(query.question[0].name).split(".")[0].split("-")
    if kind == "absent":
        assert reply.rcode() == dns.rcode.NXDOMAIN
    else:
        assert [str(rr) for rrset in reply.answer for rr in rrset] == [f"10.96.0.{number}"]
    with pytest.raises(BlockingIOError):
        client.recv(512)  # once


def _listener() -> Listener:
    cluster = ClusterNames()
    for obj in (namespace("a"), *(service(f"service-{i}", f"10.96.0.{i}", port(80), ns="a") for i in range(SERVICES))):
        cluster.apply(obj["kind"], obj)
    config = parse(COREFILE, {"db.root": ROOT_ZONE})
    for block in config.blocks:
        block.serve(cluster, 1, synced=True)
    return Listener(config)


@pytest.mark.parametrize("host", HOSTS)
def test_a_batch_knows_who_asked(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as client:
        server.setblocking(False)
        server.bind((host, 0))
        batch = Batch(server)
        assert batch.receive() == 0
        client.connect(server.getsockname())
        for text in (b"one", b"", b"three"):
            client.send(text)
        assert batch.receive() == 3
        assert [batch.received[i].len for i in range(3)] == [3, 0, 5]
        assert {batch.peer(i) for i in range(3)} == {client.getsockname()}
        for i in range(3):
            batch.replies[i].len = batch.received[i].len
        batch.send(1, 3)
        assert [client.recv(9), client.recv(9)] == [b"", b"three"]


def test_what_the_kernel_does_not_take_is_dropped_and_the_rest_is_sent() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setblocking(False)
        server.bind(("127.0.0.1", 0))
        batch = Batch(server)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(server.getsockname())
            for text in (b"too long", b"fits"):
                client.send(text)
            assert batch.receive() == 2
            batch.replies[0].len, batch.replies[1].len = 70_000, 4  # no datagram is that long: EMSGSIZE
            batch.send(0, 2)
            client.settimeout(1)
            assert client.recv(9) == b"fits"
