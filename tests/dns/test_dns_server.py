"""The whole process over real sockets, against a real HTTPS list/watch peer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest

from minik8s_net.dns import http
from minik8s_net.dns.client import Api
from minik8s_net.dns.server import Dns

from dns_objects import config_map, endpoint, namespace, pod, port, service, slice_
from dns_peer import Peer

COREFILE = """.:53 {
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods %s
        ttl 30
    }
}
"""


@asynccontextmanager
async def running(folder: Path, peer: Peer | None = None) -> AsyncIterator[tuple[Dns, Peer]]:
    if peer is None:
        peer = Peer(folder)
        for obj in (
            namespace("testns"),
            service("web", "10.96.1.1", port(80, "http")),
            service("pets", None, port(80, "http")),
            slice_("pets-1", "pets", [endpoint("10.244.1.7", "pet-0")], port(8080, "http")),
        ):
            await peer.put(obj)
    await peer.start()
    dns_ = Dns(
        Api("127.0.0.1", peer.port, folder), host="127.0.0.1", port=0, http_ports=dict.fromkeys(http.PORTS, 0)
    )
    task = asyncio.create_task(dns_.run())
    try:
        while not dns_.port:
            await asyncio.sleep(0.001)
        yield dns_, peer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await peer.stop()


async def ask(dns_: Dns, name: str, rtype: str = "A", *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, rtype)
    if tcp:
        return await dns.asyncquery.tcp(query, "127.0.0.1", port=dns_.port, timeout=5)
    return await dns.asyncquery.udp(query, "127.0.0.1", port=dns_.port, timeout=5)


async def answers(dns_: Dns, name: str, rtype: str = "A") -> list[str]:
    reply = await ask(dns_, name, rtype)
    return sorted(str(rr) for rrset in reply.answer for rr in rrset) or [dns.rcode.to_text(reply.rcode())]


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.005)


def test_names_follow_the_api(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, peer):
            await asyncio.wait_for(dns_.ready.wait(), 5)
            web = "web.testns.svc.cluster.local"
            assert await answers(dns_, web) == ["10.96.1.1"]
            assert await answers(dns_, "pet-0.pets.testns.svc.cluster.local") == ["10.244.1.7"]
            assert await answers(dns_, "new.testns.svc.cluster.local") == ["NXDOMAIN"]
            await peer.put(service("new", "10.96.1.2"))
            await until(lambda: _is(dns_, "new.testns.svc.cluster.local", ["10.96.1.2"]))
            await peer.put(service("web", "10.96.1.9"))
            await until(lambda: _is(dns_, web, ["10.96.1.9"]))
            await peer.delete("Service", "web", "testns")
            await until(lambda: _is(dns_, web, ["NXDOMAIN"]))

    asyncio.run(scenario())


async def _is(dns_: Dns, name: str, expected: list[str]) -> bool:
    return await answers(dns_, name) == expected
