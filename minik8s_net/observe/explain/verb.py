"""The verb "explain": {"source": "client", "target": "http://web", "namespace": "default"} -> an Explanation."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket

from lightkube.resources.core_v1 import Node, Pod, Service

from ...api.errors import StatusError
from ...boot.live import Live
from ...kernel import sockets
from ...policy.evaluate import Endpoint, evaluate
from ..trace.places import Place, Places
from ..trace.target import Target, parse
from . import names, services
from .model import Cause, Explanation, Json, Step
from .wires import Path, causes

SECONDS = 1.2  # for a connection: one retransmission fits in
SERIOUS = {"loss", "delay", "bandwidth", "mtu", "dns-slow"}  # it works, but not as it should


async def explain(live: Live, asked: Json) -> Json:
    """Raises StatusError: 400 for what is no target, 404 for a source that is not there."""
    target, namespace = parse(str(asked.get("target") or "")), str(asked.get("namespace") or "default")
    places = Places(live)
    try:
        walk = Ladder(live, places, str(asked.get("source") or ""), namespace, target)
        return (await walk.climb()).to_dict()
    finally:
        places.close()


class Ladder:
    """One explanation under way: each rung adds steps; the first cause ends it."""

    def __init__(self, live: Live, places: Places, source: str, namespace: str, target: Target) -> None:
        self._live, self._places, self._asked, self._target = live, places, source, target
        parts = [part for part in source.split("/") if part not in ("pod", "pods", "po")]
        self._namespace, self._name = parts[0] if len(parts) == 2 else namespace, parts[-1]
        self.told = Explanation(f"{self._namespace}/{self._name}", target.text)
        self._service: Service | None = None
        self._ends: list[tuple[str, int]] = []
        self._protocol = target.protocol.upper()

    async def climb(self) -> Explanation:
        cause = await self._climb()
        self.told.cause = cause
        if cause:
            self.told.verdict = "degraded" if cause.kind in SERIOUS else "unreachable"
        return self.told

    async def _climb(self) -> Cause | None:
        cause = self._source()
        if cause:
            return cause
        place = self._places.source(self._asked, self._namespace)
        cause = await self._target_of(place)
        if cause or self._external:
            return cause
        path = self._path(place)
        for rung in (self._policies, self._listeners):
            cause = await rung(place)
            if cause:
                return cause
        if wrong := await causes(self._live, path):
            self.told.steps.append(Step("is the kernel as it was written, along the way?", False, wrong[0].sentence,
                                        wrong[0].object))  # fmt: skip
            return wrong[0]
        self.told.steps.append(Step("is the kernel as it was written, along the way?", True, "no difference"))
        return await self._try(place)

    def _say(self, question: str, ok: bool | None, because: str, whom: str = "") -> None:
        self.told.steps.append(Step(question, ok, because, whom))

    # -- who asks ----------------------------------------------------------------------------------------------------
    def _source(self) -> Cause | None:
        if self._asked in self._places.shared:
            self.told.source = self._asked
            return None
        pod = self._live.client.get(Pod, self._name, self._namespace)
        phase = (pod.status.phase if pod.status else None) or "Pending"
        word = f"Pod {self._namespace}/{self._name}"
        self._say("does the source run?", phase == "Running", f"{word} is {phase}", word)
        if phase == "Running":
            return None
        return Cause("pod-not-running", word, f"{word} is {phase}: nothing can be asked from it",
                     f"kubectl -n {self._namespace} describe pod {self._name}")  # fmt: skip

    # -- what is asked for ---------------------------------------------------------------------------------------------
    async def _target_of(self, place: Place) -> Cause | None:
        """Fill in Service and endpoints."""
        self._external = False
        target, live = self._target, self._live
        if target.kind == "pod":
            namespace, _, name = target.host.rpartition("/")
            pod = live.client.get(Pod, name, namespace or self._namespace)
            self._ends = [((pod.status and pod.status.podIP) or "", target.port or 80)]
            return None
        if target.is_address:
            return self._by_address()
        meant = names.service_of(live, target.host, self._namespace)
        if meant and (target.kind == "service" or target.kind in ("", "dns")):
            self._service = live.client.find(Service, meant[1], meant[0])
            if self._service is None:
                cause = names.no_such_service(live, *meant)
                self._say(f"is there a Service {meant[1]} in {meant[0]}?", False, cause.sentence, cause.object)
                return cause
            self._say("is there such a Service?", True, f"Service {meant[0]}/{meant[1]}")
        if target.kind != "service" and place.kind == "pod":
            unnamed = await self._dns(place)
            if unnamed:
                return unnamed
        if target.kind == "dns" or self._service is None:
            self._external = True  # names were all that was asked, or it is no Service's
            return None
        return self._endpoints()

    async def _dns(self, place: Place) -> Cause | None:
        facts = self._live.policies.pods.get((self._namespace, self._name))
        steps, cause = names.dns_allowed(self._live, facts)
        if cause is None:
            more, cause = await names.asked(self._live, self._asked, self._namespace, self._target.host)
            steps += more
        if cause and cause.kind in ("dns-dead", "dns-slow"):  # is it the server, or the way to it?
            wrong = await causes(self._live, self._dns_path(place))
            if wrong:
                steps[-1] = Step(steps[-1].question, False, wrong[0].sentence, wrong[0].object)
                cause = wrong[0]
        self.told.steps += steps
        return cause

    def _dns_path(self, place: Place) -> Path:
        pods = self._live.client.list(Pod, "kube-system", labels={"k8s-app": "kube-dns"})
        return self._between(place, [ip for p in pods if p.status and (ip := p.status.podIP)], "kube-system/kube-dns")

    def _by_address(self) -> Cause | None:
        for service in self._live.client.list(Service):
            spec, status = service.spec, service.status
            ingress = (status.loadBalancer.ingress if status and status.loadBalancer else None) or []
            mine = {*((spec.clusterIPs if spec else None) or []), *((spec.externalIPs if spec else None) or []),
                    *(i.ip for i in ingress)}  # fmt: skip
            if self._target.host in mine:
                return self._of_service(service)
        nodes = {a.address for n in self._live.client.list(Node) for a in (n.status and n.status.addresses) or []}
        if self._target.host in nodes:
            for service in self._live.client.list(Service):
                ports = (service.spec.ports if service.spec else None) or []
                if any(p.nodePort == self._target.port for p in ports):
                    return self._of_service(service)
        self._ends = [(self._target.host, self._target.port or 80)]
        inside = ipaddress.ip_address(self._target.host) in ipaddress.ip_network(self._live.config.pod_cidr)
        if inside and self._pod_at(self._target.host) is None:
            said = f"no pod has the address {self._target.host}"
            self._say("whose address is that?", False, said)
            return Cause("no-endpoints", self._target.host, said, "kubectl get pods -A -o wide")
        return None

    def _of_service(self, service: Service) -> Cause | None:
        assert service.metadata
        self._service = service
        self._say("whose address is that?", True, f"Service {service.metadata.namespace}/{service.metadata.name}")
        return self._endpoints()

    def _endpoints(self) -> Cause | None:
        assert self._service and self._service.spec
        if self._service.spec.type == "ExternalName":
            self._say("what is behind it?", None, f"another name: {self._service.spec.externalName}")
            self._external = True
            return None
        found = services.behind(self._live, self._service, self._target.port, self._protocol)
        self.told.steps += found.steps
        self._ends = found.ends
        return found.cause

    # -- may it, does somebody listen ----------------------------------------------------------------------------------
    def _pod_at(self, ip: str) -> tuple[str, str] | None:
        return next((key for key, facts in self._live.policies.pods.items() if facts.ip == ip), None)

    async def _policies(self, place: Place) -> Cause | None:
        index, denied = self._live.policies, []
        facts = index.pods.get((self._namespace, self._name)) if place.kind == "pod" else None
        if facts is None:
            return None
        for ip, port in self._ends:
            key = self._pod_at(ip)
            ends = Endpoint(facts.ip, facts), Endpoint(ip, index.pods[key] if key else None)
            verdict = evaluate(index.objects.values(), index.namespaces, *ends, port, self._protocol)
            if not verdict.allowed:
                denied.append((ip, verdict))
        if not denied:
            self._say("do policies allow it?", True, "egress and ingress are allowed")
            return None
        ip, verdict = denied[0]
        side, kind = (
            (verdict.egress, "policy-egress") if not verdict.egress.allowed else (verdict.ingress, "policy-ingress")
        )
        isolating = [f for f in side.findings if f.policy in side.why]  # the others do not select the pod
        policy = f"NetworkPolicy {next((f.policy for f in isolating), '')}"
        whys = "; ".join(f"{f.rule or f.policy}: {f.why}" for f in isolating[:3])
        some = f" (for {len(denied)} of {len(self._ends)} endpoints)" if len(denied) < len(self._ends) else ""
        self._say("do policies allow it?", False, f"{side.why}{some}: {whys}", policy)
        mend = f"add a rule that allows it, e.g. to {policy}: {side.direction.lower()} with this peer and port"
        return Cause(kind, policy, f"{policy} isolates and no rule allows it{some}: {whys}", mend)

    async def _listeners(self, place: Place) -> Cause | None:
        for ip, port in self._ends:
            if (key := self._pod_at(ip)) is None:
                continue
            end = self._places.of(self._live.client.get(Pod, key[1], key[0]))
            if end is None:
                continue
            there = await end.run(sockets.listeners, self._protocol.lower())
            if any(one.port == port and one.takes(ip) for one in there):
                continue
            word = f"Pod {key[0]}/{key[1]}"
            return self._nobody(word, ip, port, there)
        if self._ends:
            self._say("does somebody listen there?", True, ", ".join(f"{ip}:{p}" for ip, p in self._ends[:4]))
        return None

    def _nobody(self, word: str, ip: str, port: int, there: list[sockets.Listener]) -> Cause:
        on = ", ".join(sorted({f"{one.ip}:{one.port}" for one in there})) or "nothing"
        said = f"nobody listens on {ip}:{port} in {word}; it listens on {on}"
        others = [one for one in there if one.takes(ip)]
        via = self._service is not None and others and not any(one.port == port for one in there)
        if via and self._service and self._service.metadata:
            name = f"Service {self._service.metadata.namespace}/{self._service.metadata.name}"
            self._say("does somebody listen there?", False, said, name)
            return Cause("target-port", name, f"{name} sends to port {port}, but {said}",
                         f"set targetPort to {others[0].port}")  # fmt: skip
        self._say("does somebody listen there?", False, said, word)
        local = any(one.port == port for one in there)
        mend = (
            "let it listen on 0.0.0.0, not only on that address"
            if local
            else "start a server there, or ask another port"
        )
        return Cause("listener", word, said, mend)

    # -- the way, and the proof ----------------------------------------------------------------------------------------
    def _path(self, place: Place) -> Path:
        name = ""
        if self._service and self._service.metadata:
            name = f"{self._service.metadata.namespace}/{self._service.metadata.name}"
        return self._between(place, [ip for ip, _ in self._ends], name)

    def _between(self, place: Place, addresses: list[str], service: str) -> Path:
        ends = {}
        for ip in addresses:
            key = self._pod_at(ip)
            pod = self._live.client.find(Pod, key[1], key[0]) if key else None
            ends[ip] = (f"{key[0]}/{key[1]}" if key else "", (pod.spec.nodeName if pod and pod.spec else "") or "")
        node = place.name if place.kind == "node" else ""
        if place.pod and place.pod.spec:
            node = place.pod.spec.nodeName or ""
        return Path(place.name if place.kind == "pod" else "", node, ends, service)

    async def _try(self, place: Place) -> Cause | None:
        """A real connection: where reasoning and kernel differ, that is the finding."""
        host = self._target.host if self._target.is_address else ""
        if self._service and self._service.spec and not host:
            host = self._service.spec.clusterIP or ""
        host, port = (
            (host, self._target.port) if host not in ("", "None") else (self._ends[0] if self._ends else ("", 0))
        )
        if not host or self._protocol != "TCP":
            return None
        if port is None and self._service and self._service.spec and self._service.spec.ports:
            port = self._service.spec.ports[0].port
        outcome = await _connect(place, host, port or 80)
        self._say("does a connection succeed?", not outcome, outcome or f"{host}:{port} answers")
        if not outcome:
            return None
        said = f"by objects and rules it should work, and yet: {outcome}"
        self.told.differences.append(said)
        mend = f"minik8s trace {self._asked} {self._target.text} shows where it ends"
        return Cause("unknown", f"{host}:{port}", said, mend)


async def _connect(place: Place, host: str, port: int) -> str:
    """ "" if somebody accepts, else what came back."""
    sock = await place.run(socket.socket, socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with sock, contextlib.suppress(StatusError):
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (host, port)), SECONDS)
        except TimeoutError:
            return f"no answer from {host}:{port} within {SECONDS:g} s"
        except OSError as error:
            return f"{host}:{port}: {error.strerror or errno.errorcode.get(error.errno or 0, 'error')}"
    return ""
