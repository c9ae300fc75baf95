"""Asking another server, which here says and does exactly what a test tells it to."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.asyncquery
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

from minik8s_net.dns.config import parse
from minik8s_net.dns.listener import Listener

Reply = Callable[[dns.message.Message], dns.message.Message | None]


class Upstream(asyncio.DatagramProtocol):
    """Answers by `reply`, None being silence, `delay` seconds later; `asked` has the names."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.asked, self.delay = reply, list[str](), 0.0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query.question[0].name.to_text())
        if reply := self.reply(query):
            asyncio.get_running_loop().call_later(self.delay, self.transport.sendto, reply.to_wire(), addr)


@asynccontextmanager
async def forwarding(reply: Reply, options: str = "", more: str = "") -> AsyncIterator[tuple[int, Upstream, Listener]]:
    """The port of a server that forwards everything to an upstream."""
    loop = asyncio.get_running_loop()
    transport, upstream = await loop.create_datagram_endpoint(lambda: Upstream(reply), local_addr=("127.0.0.1", 0))
    to = transport.get_extra_info("sockname")[1]
    listener = Listener(parse(f".:53 {{\n forward . 127.0.0.1:{to} {{\n{options}\n}}\n{more}\n}}\n"))
    udp, tcp = await listener.listen("127.0.0.1", 0)
    try:
        yield udp.getsockname()[1], upstream, listener
    finally:
        transport.close()
        tcp.close()
        loop.remove_reader(udp.fileno())
        udp.close()


def answering(*lines: str, rcode: int = 0, authority: tuple[str, ...] = ()) -> Reply:
    """Every question with these records, in presentation form."""

    def reply(query: dns.message.Message) -> dns.message.Message:
        message = dns.message.make_response(query)
        message.set_rcode(rcode)
        for section, texts in ((message.answer, lines), (message.authority, authority)):
            for text in texts:
                name, ttl, rtype, data = text.split(None, 3)
                section.append(dns.rrset.from_text(name, int(ttl), "IN", rtype, data))
        return message

    return reply


async def ask(port: int, name: str, rtype: str = "A", timeout: float = 5) -> dns.message.Message:
    return await dns.asyncquery.udp(dns.message.make_query(name, rtype), "127.0.0.1", port=port, timeout=timeout)


@pytest.mark.parametrize(
    ("rtype", "data"),
    [
        ("CAA", '0 issue "ca.example.org"'),
        ("HINFO", '"cpu" "os"'),
        ("TXT", r'"\233\255\128" "two"'),
        ("HTTPS", "1 . alpn=h2"),
        ("DS", "1 8 2 " + "ab" * 32),
        ("TYPE65280", r"\# 3 616263"),
        ("MX", "10 mail.example.org."),
        ("SRV", "1 2 3 a.example.org."),
        ("SOA", r"ns.example.org. the\.admin.example.org. 1 2 3 4 5"),
        ("PTR", r"with\.dot.and\\backslash.example.org."),
    ],
)
def test_what_was_told_is_passed_on_as_it_is(rtype: str, data: str) -> None:
    """RFC 3597 §4 for types that nobody here has heard of; RFC 1035 §8 for a dot in a mail address."""

    async def scenario() -> None:
        told = answering(f"a.example.org. 60 {rtype} {data}")
        async with forwarding(told) as (port, _, _):
            reply = await ask(port, "a.example.org", rtype)
            assert reply.answer == told(dns.message.make_query("a.example.org", rtype)).answer  # type: ignore[union-attr]

    asyncio.run(scenario())


@pytest.mark.parametrize("name", [r"a\.b.example.org.", r"back\\slash.example.org.", "\\\\" * 40 + ".example.org."])
def test_a_name_is_asked_for_as_it_was_asked(name: str) -> None:
    async def scenario() -> None:
        async with forwarding(answering(rcode=3)) as (port, upstream, _):
            assert (await ask(port, name)).rcode() == dns.rcode.NXDOMAIN
            assert upstream.asked == [name]

    asyncio.run(scenario())


def test_a_denial_behind_an_alias_is_kept_for_the_soas_time() -> None:
    """RFC 2308 §5: not for the alias' hour."""
    alias, soa = "www.example.org. 3600 CNAME gone.example.org.", "example.org. 900 SOA ns. h. 1 2 3 4 5"

    async def scenario() -> None:
        now = [1000.0]
        async with forwarding(answering(alias, rcode=3, authority=(soa,)), more="cache 600") as (
            port,
            upstream,
            listener,
        ):
            listener._told._clock = lambda: now[0]
            for _ in range(2):
                assert (await ask(port, "www.example.org")).rcode() == dns.rcode.NXDOMAIN
            assert len(upstream.asked) == 1
            now[0] += 6
            await ask(port, "www.example.org")
            assert len(upstream.asked) == 2

    asyncio.run(scenario())


def test_who_asks_what_is_being_asked_waits_for_the_same_answer() -> None:
    async def scenario() -> None:
        async with forwarding(answering("a.example.org. 60 A 192.0.2.1")) as (port, upstream, _):
            upstream.delay = 0.2
            replies = await asyncio.gather(*(ask(port, "a.example.org") for _ in range(50)))
            assert {reply.answer[0][0].address for reply in replies} == {"192.0.2.1"}
            assert len(upstream.asked) == 1
            await ask(port, "a.example.org")
            assert len(upstream.asked) == 2, "without `cache` nothing is kept"

    asyncio.run(scenario())


def test_beyond_max_concurrent_questions_are_refused() -> None:
    """CoreDNS' words: any new query that would raise the number of concurrent queries above the max is REFUSED."""

    async def scenario() -> None:
        async with forwarding(answering(rcode=3), "max_concurrent 10") as (port, upstream, _):
            upstream.delay = 0.3
            replies = await asyncio.gather(*(ask(port, f"n{i}.example.org") for i in range(25)))
            assert sorted(dns.rcode.to_text(r.rcode()) for r in replies) == ["NXDOMAIN"] * 10 + ["REFUSED"] * 15
            assert (await ask(port, "later.example.org")).rcode() == dns.rcode.NXDOMAIN

    asyncio.run(scenario())


def test_a_forward_to_ourselves_ends_in_servfail(monkeypatch: pytest.MonkeyPatch) -> None:
    """And in as many questions as were asked, not in thousands."""
    monkeypatch.setattr("minik8s_net.dns.forward.TIMEOUT", 0.3)

    async def scenario() -> None:
        listener = Listener(parse(".:53 {\n forward . 127.0.0.1:1\n}\n"))
        udp, tcp = await listener.listen("127.0.0.1", 0)
        port = udp.getsockname()[1]
        listener.config = parse(f".:53 {{\n forward . 127.0.0.1:{port}\n}}\n")
        assert (await ask(port, "a.example.org")).rcode() == dns.rcode.SERVFAIL
        assert listener.misses == 2
        await asyncio.sleep(0.1)
        assert not listener._forwards
        asyncio.get_running_loop().remove_reader(udp.fileno())
        tcp.close()
        udp.close()

    asyncio.run(scenario())


def test_a_client_that_closes_its_half_gets_what_it_asked_for() -> None:
    async def scenario() -> None:
        async with forwarding(answering("a.example.org. 60 A 192.0.2.1")) as (port, upstream, _):
            upstream.delay = 0.2
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            query = dns.message.make_query("a.example.org", "A")
            packet = query.to_wire()
            writer.write(struct.pack("!H", len(packet)) + packet)
            writer.write_eof()
            raw = await asyncio.wait_for(reader.read(), 5)
            assert query.is_response(dns.message.from_wire(raw[2:]))
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario())
