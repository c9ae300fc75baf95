"""The whole process over real sockets, against a real HTTPS list/watch peer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest
from dns_objects import config_map, endpoint, external, namespace, pod, port, service, slice_
from dns_peer import Peer

from minik8s_net.dns import http, manifests
from minik8s_net.dns.client import Api
from minik8s_net.dns.config import parse
from minik8s_net.dns.listener import Listener
from minik8s_net.dns.server import Dns

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
            config_map(manifests.COREFILE, **{"db.root": manifests.ROOT_ZONE}),
        ):
            await peer.put(obj)
    await peer.start()
    dns_ = Dns(Api("127.0.0.1", peer.port, folder), host="127.0.0.1", port=0, http_ports=dict.fromkeys(http.PORTS, 0))
    task = asyncio.create_task(dns_.run())
    try:
        while not dns_.port:
            assert not task.done(), task.exception()
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


def test_before_sync_servfail_and_not_ready(tmp_path: Path) -> None:
    async def scenario() -> None:
        peer = Peer(tmp_path)
        peer.hold.clear()
        async with running(tmp_path, peer) as (dns_, _):
            for name in ("web.testns.svc.cluster.local", "web.default.svc.example.test", "printer.example.org"):
                assert await answers(dns_, name) == ["SERVFAIL"], "no Corefile is known yet"
            assert (await get(dns_, "ready"))[0] == 503
            assert (await get(dns_, "health"))[0] == 200
            await peer.put(config_map(COREFILE % "insecure"))
            peer.hold.set()
            await asyncio.wait_for(dns_.ready.wait(), 5)
            assert await answers(dns_, "web.testns.svc.cluster.local") == ["NXDOMAIN"]
            assert await get(dns_, "ready") == (200, "OK")

    asyncio.run(scenario())


def test_old_records_outlive_the_api_and_what_happened_meanwhile_is_caught_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, peer):
            await asyncio.wait_for(dns_.ready.wait(), 5)
            await peer.stop()
            assert await answers(dns_, "web.testns.svc.cluster.local") == ["10.96.1.1"]
            await peer.delete("Service", "web", "testns")
            await peer.put(service("late", "10.96.1.3"))
            peer.forget_history()  # the watch can't be resumed: 410, list again
            peer.requests.clear()
            await peer.start()
            await until(lambda: _is(dns_, "late.testns.svc.cluster.local", ["10.96.1.3"]))
            assert await answers(dns_, "web.testns.svc.cluster.local") == ["NXDOMAIN"]
            assert sum("watch" not in r and "/services" in r for r in peer.requests) == 1

    asyncio.run(scenario())


def test_a_cut_watch_is_resumed_not_listed_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, peer):
            await asyncio.wait_for(dns_.ready.wait(), 5)
            await until(lambda: _true(sum("watch" in r for r in peer.requests) == 4))
            peer.requests.clear()
            peer.cut_watches()
            await peer.put(service("late", "10.96.1.3"))
            await until(lambda: _is(dns_, "late.testns.svc.cluster.local", ["10.96.1.3"]))
            assert all("watch" in r for r in peer.requests)

    asyncio.run(scenario())


def test_a_change_is_answered_within_50_ms_at_500_pods(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, peer):
            await asyncio.wait_for(dns_.ready.wait(), 5)
            many = [endpoint(f"10.244.{2 + i // 250}.{i % 250 + 1}", f"pod-{i}") for i in range(500)]
            await peer.put(service("many", None, port(80, "http")))
            await peer.put(slice_("many-1", "many", many[:499], port(80, "http")))
            await until(lambda: _is(dns_, "pod-498.many.testns.svc.cluster.local", ["10.244.3.249"]))
            began = asyncio.get_running_loop().time()
            await peer.put(slice_("many-1", "many", many, port(80, "http")))
            await until(lambda: _is(dns_, "pod-499.many.testns.svc.cluster.local", ["10.244.3.250"]))
            assert asyncio.get_running_loop().time() - began < 0.05

    asyncio.run(scenario())


def test_corefile_is_changed_live_and_a_bad_one_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, peer):
            await asyncio.wait_for(dns_.ready.wait(), 5)
            name = "10-244-9-9.testns.pod.cluster.local"
            await peer.put(pod("client", "10.244.6.1"))
            assert await answers(dns_, name) == ["10.244.9.9"]
            assert await answers(dns_, "example.org") == ["NXDOMAIN"]  # the default Corefile's empty world
            await peer.put(config_map(COREFILE % "verified"))
            await until(lambda: _is(dns_, name, ["NXDOMAIN"]))
            assert await answers(dns_, "10-244-6-1.testns.pod.cluster.local") == ["10.244.6.1"]
            assert await answers(dns_, "web.testns.svc.cluster.local") == ["10.96.1.1"]
            assert await answers(dns_, "example.org") == ["REFUSED"]
            caplog.clear()
            await peer.put(config_map(COREFILE % "sometimes"))
            await until(lambda: _true("wrong value for pods" in caplog.text))
            assert "Corefile:3" in caplog.text
            assert await answers(dns_, "10-244-6-1.testns.pod.cluster.local") == ["10.244.6.1"]
            hosts = "    hosts {\n        192.0.2.7 printer.example.org\n        fallthrough\n    }\n}\n"
            await peer.put(config_map((COREFILE % "insecure").rstrip()[:-1] + hosts))
            await until(lambda: _is(dns_, "printer.example.org", ["192.0.2.7"]))
            assert await answers(dns_, "7.2.0.192.in-addr.arpa", "PTR") == ["printer.example.org."]

    asyncio.run(scenario())


def test_a_configuration_that_waits_for_its_lists_holds_up_no_later_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, peer):
            await asyncio.wait_for(dns_.ready.wait(), 5)
            dns_.reflectors["Pod"].run = lambda: asyncio.sleep(3600)  # type: ignore[method-assign]
            await peer.put(config_map(COREFILE % "verified"))
            await until(lambda: _true("Pod" in dns_._watched))
            assert await answers(dns_, "10-1-2-3.testns.pod.cluster.local") == ["10.1.2.3"], "the old one serves on"
            await peer.put(config_map(COREFILE % "disabled"))
            await until(lambda: _is(dns_, "10-1-2-3.testns.pod.cluster.local", ["NXDOMAIN"]))

    asyncio.run(scenario())


def test_without_a_good_corefile_nothing_is_answered_and_the_last_one_serves_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A pod that starts beside a wrong ConfigMap must not deny what the others know by the one before."""

    async def scenario() -> None:
        peer = Peer(tmp_path)
        for obj in (namespace("testns"), service("web", "10.96.1.1"), config_map(".:53 {\n bogus\n}\n")):
            await peer.put(obj)
        async with running(tmp_path, peer) as (dns_, _):
            await until(
                lambda: _true("there is none yet" in caplog.text and "Unknown directive 'bogus'" in caplog.text)
            )
            for name in ("web.testns.svc.cluster.local", "none.testns.svc.cluster.local", "myhost.example"):
                assert await answers(dns_, name) == ["SERVFAIL"]
            assert (await get(dns_, "ready"))[0] == 503
            await peer.put(config_map(COREFILE % "insecure"))
            await until(lambda: _is(dns_, "web.testns.svc.cluster.local", ["10.96.1.1"]))
            await peer.delete("ConfigMap", "coredns", "kube-system")
            await until(lambda: _true("ConfigMap kube-system/coredns is gone, the old one is kept" in caplog.text))
            assert await answers(dns_, "web.testns.svc.cluster.local") == ["10.96.1.1"]

    asyncio.run(scenario())


def test_no_ttl_is_longer_than_cache_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, peer):
            hosts = "hosts {\n 192.0.2.7 printer.example.org\n fallthrough\n }"
            await peer.put(config_map(COREFILE.replace("{\n", f"{{\n {hosts}\n cache 20\n", 1) % "insecure"))
            await until(lambda: _is(dns_, "printer.example.org", ["192.0.2.7"]))
            for name, rtype in (("printer.example.org", "A"), ("dns-version.cluster.local", "TXT")):
                assert (await ask(dns_, name, rtype)).answer[0].ttl == 20
            assert (await ask(dns_, "none.cluster.local")).authority[0].ttl == 20

    asyncio.run(scenario())


def test_a_configuration_that_breaks_us_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, peer):
            await asyncio.wait_for(dns_.ready.wait(), 5)
            with monkeypatch.context() as patch:
                patch.setattr("minik8s_net.dns.config.parse", lambda *_: 1 // 0)
                await peer.put(config_map(COREFILE % "disabled"))
                await until(lambda: _true("Corefile not understood, the old one is kept" in caplog.text))
            assert await answers(dns_, "10-1-2-3.testns.pod.cluster.local") == ["10.1.2.3"]
            await peer.put(config_map(COREFILE % "disabled"))
            await until(lambda: _is(dns_, "10-1-2-3.testns.pod.cluster.local", ["NXDOMAIN"]))

    asyncio.run(scenario())


def test_log_shows_the_search_path_walk(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, peer):
            await peer.put(config_map((COREFILE % "insecure").replace("{\n", "{\n    log\n", 1)))
            lines: list[str] = []
            dns_.listener.log_line = lines.append
            await asyncio.wait_for(dns_.ready.wait(), 5)
            await until(lambda: _true(dns_.listener.config.blocks[0].log))
            for suffix in ("other.svc.cluster.local", "svc.cluster.local", "cluster.local", ""):
                await ask(dns_, f"web.testns.{suffix}")
            await ask(dns_, "web.testns.svc.cluster.local")  # a second time, too: the cache keeps no secrets
            assert [line.split('"')[1].split()[2] for line in lines[:4]] == [
                "web.testns.other.svc.cluster.local.",
                "web.testns.svc.cluster.local.",
                "web.testns.cluster.local.",
                "web.testns.",
            ]
            pattern = r'\[INFO\] 127\.0\.0\.1:\d+ - \d+ "A IN [^ ]+ udp \d+ false 512" (\w+) qr[a-z,]* \d+ \d\.\d{9}s'
            matches = [re.fullmatch(pattern, line) for line in lines]
            assert [m and m[1] for m in matches] == ["NXDOMAIN", "NOERROR", "NXDOMAIN", "REFUSED", "NOERROR"]

    asyncio.run(scenario())


def test_forward_asks_the_users_server_and_only_outside(tmp_path: Path) -> None:
    """Another Listener is the upstream: it has example.org, with one answer too big for UDP."""

    async def scenario() -> None:
        zone = "example.org. SOA ns h 1 1 1 1 60\nwww 60 A 192.0.2.1\n"
        zone += "".join(f"big 60 A 192.0.3.{i}\n" for i in range(1, 200))
        upstream = Listener(parse("example.org {\n file db\n}\n", {"db": zone}))
        udp, tcp = await upstream.listen("127.0.0.1", 0)
        forward = f"    forward . 127.0.0.1:{udp.getsockname()[1]}\n}}\n"
        async with running(tmp_path) as (dns_, peer):
            await peer.put(external("out", "www.example.org"))
            await peer.put(config_map((COREFILE % "insecure").rstrip()[:-1] + forward))
            await until(lambda: _is(dns_, "www.example.org", ["192.0.2.1"]))
            assert await answers(dns_, "none.example.org") == ["NXDOMAIN"]
            assert await answers(dns_, "none.testns.svc.cluster.local") == ["NXDOMAIN"]
            assert len((await ask(dns_, "big.example.org", tcp=True)).answer[0]) == 199
            await until(lambda: _is(dns_, "out.testns.svc.cluster.local", ["192.0.2.1", "www.example.org."]))
            tcp.close()
            asyncio.get_running_loop().remove_reader(udp.fileno())
            udp.close()
            assert await answers(dns_, "www.example.org") == ["SERVFAIL"]

    asyncio.run(scenario())


def test_cache_keeps_what_was_told_no_longer_than_it_may(tmp_path: Path) -> None:
    """Like above; a count of the upstream's questions shows which ones were asked again."""

    async def scenario() -> None:
        upstream = Listener(
            parse("example.org {\n file db\n}\n", {"db": "@ SOA ns h 1 1 1 1 60\nwww 60 A 192.0.2.1\n"})
        )
        udp, tcp = await upstream.listen("127.0.0.1", 0)
        lines = f"    forward . 127.0.0.1:{udp.getsockname()[1]}\n    cache 30\n}}\n"

        def asked() -> int:
            upstream.count()
            return sum(upstream.responses.values())

        async with running(tmp_path) as (dns_, peer):
            now = [1000.0]
            dns_.listener._told._clock = lambda: now[0]
            await peer.put(external("out", "www.example.org"))
            await peer.put(config_map((COREFILE % "insecure").rstrip()[:-1] + lines))
            await until(lambda: _is(dns_, "www.example.org", ["192.0.2.1"]))
            before = asked()
            now[0] += 20
            reply = await ask(dns_, "www.example.org")
            assert (reply.answer[0].ttl, asked()) == (10, before)
            assert await answers(dns_, "out.testns.svc.cluster.local") == ["192.0.2.1", "www.example.org."]
            assert asked() == before
            now[0] += 11  # 31 s: the directive's 30 are over, though the record's 60 are not
            assert (await ask(dns_, "www.example.org")).answer[0].ttl == 30
            assert asked() == before + 1
            for _ in range(3):
                assert await answers(dns_, "none.example.org") == ["NXDOMAIN"]
            assert asked() == before + 2
            tcp.close()
            asyncio.get_running_loop().remove_reader(udp.fileno())
            udp.close()
            assert await answers(dns_, "www.example.org") == ["192.0.2.1"], "kept though the upstream is gone"
            now[0] += 60
            assert await answers(dns_, "www.example.org") == ["SERVFAIL"]
            assert await answers(dns_, "other.example.org") == ["SERVFAIL"]

    asyncio.run(scenario())


def test_tcp_answers_several_queries_on_one_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, _):
            await asyncio.wait_for(dns_.ready.wait(), 5)
            reader, writer = await asyncio.open_connection("127.0.0.1", dns_.port)
            for name in ("web.testns.svc.cluster.local", "pets.testns.svc.cluster.local"):
                wire = dns.message.make_query(name, "A").to_wire()
                writer.write(len(wire).to_bytes(2, "big") + wire)
            for address in ("10.96.1.1", "10.244.1.7"):
                size = int.from_bytes(await reader.readexactly(2), "big")
                reply = dns.message.from_wire(await reader.readexactly(size))
                assert reply.answer[0][0].address == address
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario())


def test_addresses_take_turns_and_metrics_count(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as (dns_, peer):
            await peer.put(slice_("pets-1", "pets", [endpoint(f"10.244.1.{i}") for i in (1, 2, 3)]))
            await until(lambda: _is(dns_, "pets.testns.svc.cluster.local", ["10.244.1.1", "10.244.1.2", "10.244.1.3"]))
            firsts = {
                (await ask(dns_, "pets.testns.svc.cluster.local")).answer[0].to_text().split()[4] for _ in range(6)
            }
            assert len(firsts) == 3
            code, text = await get(dns_, "metrics", "/metrics")
            assert code == 200
            assert 'coredns_dns_responses_total{type="A",rcode="NOERROR"}' in text
            assert (await get(dns_, "metrics", "/nothing"))[0] == 404

    asyncio.run(scenario())


async def _true(value: bool) -> bool:
    return value


async def get(dns_: Dns, what: str, path: str = "") -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", dns_.endpoints.ports[what])
    writer.write(f"GET {path or '/' + what} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body
