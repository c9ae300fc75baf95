"""One trace from beginning to end: look the name up, record one exchange, tell what the kernel said of it."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import Coroutine
from dataclasses import replace

from lightkube.resources.core_v1 import Pod, Service

from ...api.errors import bad_request
from ...boot.live import Live
from ..decode import dns_query
from . import objects, probe
from .evidence import gather
from .filters import Flow, dscp
from .matching import Matcher
from .model import Station, Trace
from .names import Lookup, Resolver, look_up, resolver_of
from .path import visits
from .places import Place, Places
from .probe import NoSource, Outcome
from .recorder import Record, Recorder
from .stations import Teller
from .target import Target
from .verdict import judge

_numbers = itertools.count()
SETTLE = 0.005  # seconds: what is under way when the answer has come may still pass
LOOK = 0.05  # seconds between two looks at what was recorded so far


class Tracer:
    """Traces one target from one source. Use once."""

    def __init__(
        self, live: Live, source: Place, places: Places, target: Target, namespace: str, seconds: float
    ) -> None:
        self._live, self._source, self._places, self._target = live, source, places, target
        self._namespace, self._seconds = namespace, seconds
        self._began = time.monotonic()
        self._began_ns = time.time_ns()
        self._stations: list[Station] = []
        self._gaps: list[str] = []
        self._recorders: list[Recorder] = []

    async def trace(self) -> Trace:
        """Raises StatusError for a target that cannot be (no such Service, a headless one by svc/…)."""
        try:
            found = await self._trace()
        finally:
            await asyncio.gather(*(recorder.close() for recorder in self._recorders))
        return replace(found, milliseconds=1000 * (time.monotonic() - self._began))

    async def _trace(self) -> Trace:
        ip = await self._address()
        if isinstance(ip, Trace):
            return ip
        port = self._target.port or objects.port_of(self._live.client, ip, self._target.protocol)
        payload = b""
        if self._target.protocol == "udp":  # `echo …` is what agnhost's netexec answers
            payload = _question() if port == 53 else b"echo minik8s-trace-" + os.urandom(4).hex().encode()
        try:
            sock = await probe.open_socket(self._source, self._target.protocol, ip, dscp(next(_numbers)))
        except NoSource as error:
            self._say("route", f"to {ip}: {error}", f"ip route get {ip}")
            return self._done("error", f"{self._source.name} has no way to {ip}: {error}")
        with sock:
            flow = self._flow(sock, payload)
            recorder = await self._record(ip, port, flow)
            exchange = probe.exchange(sock, self._target, ip, port, payload, self._seconds)
            outcome = await self._unless_dropped(exchange, recorder, flow)
            await asyncio.sleep(SETTLE)
            return await self._told(outcome, recorder.collect(), flow)

    # -- names -------------------------------------------------------------------------------------------------------
    async def _address(self) -> str | Trace:
        """The target's address; or the trace that ends with its name."""
        t = self._target
        if t.kind == "service":
            return self._service_address(t.host)
        if t.kind == "pod":
            return self._pod_address(t.host)
        if t.is_address and t.kind != "dns":
            return t.host
        resolver = await resolver_of(self._live, self._source)
        if t.host in resolver.hosts and t.kind != "dns":
            self._say("name", f"{t.host} is {resolver.hosts[t.host]}", "found in /etc/hosts: no DNS server is asked")
            return resolver.hosts[t.host]
        if not resolver.servers:
            why = "has no nameserver in /etc/resolv.conf" if self._source.pod else "knows no cluster names"
            self._say("name", f"{t.host} cannot be looked up: {self._source.who} {why}")
            hint = f"{self._source.who} {why}; give an address, or svc/{t.host.partition('.')[0]}"
            return self._done("error", hint)
        return await self._resolved(resolver)

    async def _resolved(self, resolver: Resolver) -> str | Trace:
        """By real questions, recorded: if one stays unanswered (or DNS is what is traced), its way is the trace."""
        server = resolver.servers[0]
        try:
            sock = await probe.open_socket(self._source, "udp", server, dscp(next(_numbers)))
        except NoSource as error:
            self._say("route", f"to the DNS server {server}: {error}", f"ip route get {server}")
            return self._done("error", f"{self._source.name} has no way to its DNS server {server}: {error}")
        with sock:
            flow = self._flow(sock, b"")
            recorder = await self._record(server, 53, flow)
            asked = await look_up(sock, resolver, self._target.host, self._seconds)
            for number, lookup in enumerate(asked, 1):
                self._say_lookup(lookup, number, resolver)
            last = asked[-1]
            if last.addresses and self._target.kind != "dns":
                return last.addresses[0]
            await asyncio.sleep(SETTLE)
            flow = replace(flow, payload=last.query, is_dns=True)
            return await self._told_of_dns(last, recorder.collect(), flow)

    async def _told_of_dns(self, last: Lookup, records: list[Record], flow: Flow) -> Trace:
        if last.answer is None:
            outcome = Outcome("failed" if last.error else "silent", last.error or f"DNS did not answer for {last.name}")
            refused = "refused" in last.error
            return await self._told(replace(outcome, end="refused") if refused else outcome, records, flow)
        if last.addresses:
            return await self._told(Outcome("answered", str(last.answer)), records, flow)
        if self._target.kind == "dns":
            told = await self._told(Outcome("answered", ""), records, flow)
            return replace(told, verdict="refused", because=f"no name of the search path exists: {last.answer.rcode}")
        return self._done("refused", f"the name {self._target.host} does not exist: {last.answer.rcode} for every try")

    def _say_lookup(self, lookup: Lookup, number: int, resolver: Resolver) -> None:
        told = "no answer" if lookup.answer is None else ", ".join(lookup.addresses) or lookup.answer.rcode
        if lookup.answer is not None and not lookup.answer.answers and lookup.answer.rcode == "NOERROR":
            told = "exists, but has no address (NOERROR, no A record)"
        of = len(resolver.candidates(self._target.host))
        detail = f"question {number} of at most {of}: A {lookup.name}, asked of {lookup.server}"
        detail += f", {lookup.milliseconds:.1f} ms" if lookup.answer else f": {lookup.error or 'silence'}"
        if number == 1 and of > 1:
            detail += f"\nsearch {' '.join(resolver.searches)}; ndots {resolver.ndots}"
        self._say("name", f"{lookup.name}: {told}", detail)

    def _service_address(self, name: str) -> str:
        namespace, _, short = name.rpartition("/")
        service = self._live.client.get(Service, short, namespace or self._namespace)
        spec = service.spec
        if spec and spec.type == "ExternalName":
            namespace = (service.metadata and service.metadata.namespace) or namespace
            raise bad_request(
                f"Service {name} is an ExternalName, no more than another name for {spec.externalName}: it has no "
                f"address of its own; trace the name instead: http://{short}.{namespace}, or http://{spec.externalName}"
            )
        ip = spec.clusterIP if spec else None
        if not ip or ip == "None":
            raise bad_request(f"Service {name} is headless: it has no address of its own; trace its name instead")
        self._say("name", f"Service {name} has the cluster IP {ip}", "asked of the API: no DNS look-up is part of this")
        return ip

    def _pod_address(self, name: str) -> str:
        namespace, _, short = name.rpartition("/")
        pod = self._live.client.get(Pod, short, namespace or self._namespace)
        if not (pod.status and pod.status.podIP):
            raise bad_request(f"pod {name} has no address yet")
        self._say("name", f"pod {name} has the address {pod.status.podIP}", "asked of the API: no DNS look-up")
        return pod.status.podIP

    # -- recording and telling -----------------------------------------------------------------------------------------
    def _flow(self, sock: socket.socket, payload: bytes) -> Flow:
        ip, port = sock.getsockname()
        protocol = "tcp" if sock.type == socket.SOCK_STREAM else "udp"
        mark = sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2
        return Flow(protocol, ip, port, mark, payload)

    async def _record(self, ip: str, port: int, flow: Flow) -> Recorder:
        """Closed at the end of the trace, all of them together."""
        recorder = Recorder(self._listening_to(ip, port), flow)
        self._recorders.append(recorder)
        await recorder.start()
        return recorder

    async def _unless_dropped(
        self, exchange: Coroutine[None, None, Outcome], recorder: Recorder, flow: Flow
    ) -> Outcome:
        """Its outcome; or silence, as soon as the kernel has said that a rule dropped the packet."""
        waiting = asyncio.ensure_future(exchange)
        try:
            while not (await asyncio.wait({waiting}, timeout=LOOK))[0]:
                if _dropped(flow, recorder.collect()):
                    await asyncio.wait({waiting}, timeout=LOOK)  # a rule that refuses drops too, and then says so
                    break
            return waiting.result() if waiting.done() else Outcome("silent", "no answer")
        finally:
            waiting.cancel()

    def _listening_to(self, ip: str, port: int) -> list[Place]:
        """Every node, the fabric, outside, the source, and the pods it may be for."""
        pods = [place for pod in objects.pods_behind(self._live.client, ip, port) if (place := self._places.of(pod))]
        all_ = [self._source, *self._places.shared.values(), *pods]
        return list({place.name: place for place in all_}.values())

    async def _told(self, outcome: Outcome, records: list[Record], flow: Flow) -> Trace:
        for record in records:
            self._gaps += record.gaps
        matcher = Matcher(flow, records)
        evidence, hooks = await gather(matcher, flow, self._gaps)
        for direction, leg in (("out", matcher.out), ("back", matcher.back)):
            self._stations += Teller(direction, evidence, self._began_ns).tell(visits(leg, hooks))
        verdict, because, gaps = judge(outcome, matcher, self._stations)
        self._gaps += gaps
        for gap in gaps:
            last = self._stations[-1] if self._stations else None
            place, direction = (last.place, last.direction) if last else (self._source.name, "out")
            self._stations.append(Station(0, direction, place, "gap", gap))
        return self._done(verdict, because)

    def _say(self, layer: str, what: str, detail: str = "") -> None:
        self._stations.append(Station(0, "out", self._source.name, layer, what, detail))

    def _done(self, verdict: str, because: str) -> Trace:
        numbered = [replace(s, number=i) for i, s in enumerate(self._stations, 1)]
        return Trace(self._source.name, self._target.text, verdict, numbered, 0.0, self._gaps, because)


def _dropped(flow: Flow, records: list[Record]) -> bool:
    """Whether a rule dropped this very packet (or its answer)."""
    if not any(event.verdict == "drop" for record in records for event in record.events):
        return False
    matcher = Matcher(flow, records)
    walks = (*matcher.out.walks, *matcher.back.walks)
    return any(event.verdict == "drop" for walk in walks for event in walk.events)


def _question() -> bytes:
    """A DNS server answers nothing but questions: one about a name that every cluster has."""
    return dns_query(int.from_bytes(os.urandom(2), "big"), "kubernetes.default.svc.cluster.local")
