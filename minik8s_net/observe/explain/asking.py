"""The lower rungs: who asks, and for what. From a target's words to its endpoints, or the cause why it has none."""

from __future__ import annotations

from dataclasses import replace

from lightkube.resources.core_v1 import Pod, Service

from ...boot.live import Live
from ...policy.model import PodFacts
from ..trace.names import Resolver, resolver_of
from ..trace.places import Place, Places
from ..trace.target import Target
from . import ends, names, services, wires
from .model import Cause, Explanation, Step
from .wires import Path

UNSURE = {"node-lost", "partition", "link-down", "forwarding-off", "wrong-gateway", "route-missing", "loss", "delay"}


class Asking:
    """The lower rungs, and what they found."""

    def __init__(self, live: Live, places: Places, source: str, namespace: str, target: Target) -> None:
        self._live, self._places, self._asked, self._target = live, places, source, target
        self._objects = namespace  # where svc/NAME and pod/NAME are; names are looked up from the source's own
        parts = [part for part in source.split("/") if part not in ("pod", "pods", "po")]
        self._namespace, self._name = parts[0] if len(parts) == 2 else namespace, parts[-1]
        self.told = Explanation(f"{self._namespace}/{self._name}", target.text)
        self._place: Place | None = None  # the source's, once it is known to run
        self._service: Service | None = None
        self._aliased = False  # it is an ExternalName: what it stands for is what is asked
        self._ends: list[ends.End] = []
        self._doubt: Cause | None = None  # true, but no matter if there is a harder one
        self._servers = 0  # of DNS, where those are in question
        self._protocol = target.protocol.upper()

    def _say(self, question: str, ok: bool | None, because: str, whom: str = "") -> None:
        self.told.steps.append(Step(question, ok, because, whom))

    def _tell(self, told: ends.Told) -> Cause | None:
        self.told.steps += told[0]
        return told[1]

    def _word(self) -> str:
        metadata = self._service.metadata if self._service else None
        return f"Service {metadata.namespace}/{metadata.name}" if metadata else ""

    # -- who asks ------------------------------------------------------------------------------------------------------
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
        mend = f"kubectl -n {self._namespace} describe pod {self._name}"
        return Cause("pod-not-running", word, f"{word} is {phase}: nothing can be asked from it", mend)

    def _facts(self, place: Place) -> PodFacts | None:
        return self._live.policies.pods.get((self._namespace, self._name)) if place.kind == "pod" else None

    def _node(self, place: Place) -> str:
        """The source's node, "" outside."""
        spec = place.pod.spec if place.pod else None
        return (spec.nodeName if spec else None) or (place.name if place.kind == "node" else "")

    # -- what is asked for ---------------------------------------------------------------------------------------------
    async def _find(self, place: Place) -> Cause | None:
        """Fill in the Service and the endpoints."""
        target = self._target
        if target.kind == "pod":
            namespace, _, name = target.host.rpartition("/")
            pod = self._live.client.get(Pod, name, namespace or self._objects)
            if pod.status and pod.status.podIP:
                self._ends = [(pod.status.podIP, target.port or 80)]
                return None
            word, phase = f"Pod {namespace or self._objects}/{name}", (pod.status and pod.status.phase) or "Pending"
            self._say("has it an address?", False, f"{word} is {phase}, and has none yet", word)
            mend = f"kubectl -n {namespace or self._objects} describe pod {name}"
            return Cause("pod-not-running", word, f"{word} is {phase}, and has no address yet", mend)
        if target.kind == "service":
            namespace, _, name = target.host.rpartition("/")
            if cause := self._named(namespace or self._objects, name):
                return cause
            full = self._full_name()
            nameless = self._nameless(place, await resolver_of(self._live, place)) if full else None
            return nameless or await self._behind(place, full)
        if target.is_address:
            return self._by_address(place, target.host)
        return await self._by_name(place)

    async def _by_name(self, place: Place) -> Cause | None:
        """As a C library does it: /etc/hosts first, then DNS; a Service that is not there needs no question."""
        host, resolver = self._target.host, await resolver_of(self._live, place)
        if host in resolver.hosts and self._target.kind != "dns":
            ip = resolver.hosts[host]
            self._say(f"what is {host}?", None, f"{ip}, by its /etc/hosts: DNS is not asked")
            return self._by_address(place, ip)
        if cause := self._nameless(place, resolver):
            return cause
        if (meant := self._meant(resolver)) and (cause := self._named(*meant)):
            return cause
        return await self._behind(place, host)

    def _nameless(self, place: Place, resolver: Resolver) -> Cause | None:
        host = self._target.host
        if resolver.servers:
            return None
        cause = names.no_server(place.who, host, place.pod is not None)
        self._say(f"who can tell what {host} is?", False, cause.sentence, cause.object)
        return cause

    def _meant(self, resolver: Resolver) -> tuple[str, str] | None:
        """(namespace, name) of the Service that is asked for, if its name alone says so."""
        if f"{self._namespace}.svc.{self._live.config.cluster_domain}" not in resolver.searches:
            return None  # a search path of its own
        return names.service_of(self._live, self._target.host, self._namespace)

    def _named(self, namespace: str, name: str) -> Cause | None:
        self._service = self._live.client.find(Service, name, namespace)
        if self._service is None:
            cause = names.no_such_service(self._live, namespace, name)
            self._say(f"is there a Service {name} in {namespace}?", False, cause.sentence, cause.object)
            return cause
        self._say("is there such a Service?", True, self._word())
        return None

    def _full_name(self) -> str:
        """Of the Service: what has to be asked of DNS, where svc/NAME is only another name. "" where it need not be."""
        assert self._service and self._service.spec and self._service.metadata
        if self._service.spec.type != "ExternalName":
            return ""
        meta = self._service.metadata
        return f"{meta.name}.{meta.namespace}.svc.{self._live.config.cluster_domain}."

    async def _behind(self, place: Place, name: str) -> Cause | None:
        """What is behind the Service, or behind the addresses that DNS gives for `name` ("": it is not asked)."""
        addresses: list[str] = []
        if name:
            cause, addresses = await self._resolves(place, name)
            if cause:
                return cause
        if self._target.kind == "dns":
            return None
        if self._service and self._service.spec and self._service.spec.type != "ExternalName":
            return self._endpoints(place, None)
        if self._service and self._service.spec:
            self._aliased = True
            self._say("what is behind it?", None, f"another name: {self._service.spec.externalName}", self._word())
        return self._by_address(place, *addresses)

    async def _resolves(self, place: Place, name: str) -> tuple[Cause | None, list[str]]:
        steps, cause = names.dns_allowed(self._live, self._facts(place))
        answered = names.Answered()
        if cause is None:
            answered = await names.asked(self._live, self._asked, self._namespace, name)
            steps, cause = steps + answered.steps, answered.cause
        if cause is None or cause.kind in ("dns-dead", "dns-slow"):  # is it the server, or the way to it?
            deeper = await self._before_dns(place, cause is not None and cause.kind == "dns-dead")
            if cause and deeper:
                cause = deeper
                steps[-1] = Step(steps[-1].question, False, cause.sentence, cause.object)
            elif deeper and deeper.kind in UNSURE and self._servers > 1:
                said = f"names fail now and then, as a DNS server is behind this: {deeper.sentence}"
                self._doubt = replace(deeper, sentence=said)
        if answered.addresses:  # a pod's hostname may come before a Service of that name
            self._service = names.answering(self._live, answered.name)
        return self._tell((steps, cause)), answered.addresses

    async def _before_dns(self, place: Place, dead: bool) -> Cause | None:
        """What keeps the source from the DNS servers: their Service, or the wires to them."""
        service = self._live.client.find(Service, names.DNS[1], names.DNS[0])
        if service is None:
            return names.no_dns_service(self._live)
        found = services.behind(self._live, service, 53, "UDP")
        if found.cause and found.cause.kind in ("selector", "service-port", "target-port"):
            return found.cause
        word = f"Service {'/'.join(names.DNS)}"
        _, cause = await ends.listened(self._live, self._places, place, found.ends, "UDP", word)
        if cause and cause.kind == "target-port":
            return cause
        servers = self._live.client.list(Pod, names.DNS[0], labels=names.DNS_PODS)
        addresses = [ip for pod in servers if pod.status and (ip := pod.status.podIP)]
        self._servers = len(addresses)
        wrong = await wires.causes(self._live, self._path(place, addresses, word))
        return wires.severing(wrong) if dead else wrong[0] if wrong else None

    def _by_address(self, place: Place, *addresses: str) -> Cause | None:
        """The endpoints behind the addresses: a Service's, or themselves."""
        ip = addresses[0]  # that is the one a C library tries first
        self._service = services.at(self._live, ip, self._target.port)
        if self._service:
            self._say("whose address is that?", True, self._word())
            return self._endpoints(place, ip)
        self._ends = [(each, self._target.port or 80) for each in addresses]
        return None

    def _endpoints(self, place: Place, ip: str | None) -> Cause | None:
        assert self._service and self._service.spec
        entry = self._entry(place, ip)
        found = services.behind(self._live, self._service, self._target.port, self._protocol, entry)
        self._ends = found.ends
        return self._tell((found.steps, found.cause))

    def _entry(self, place: Place, ip: str | None) -> services.Entry | None:
        """Where a connection to the Service (to `ip`; None: its cluster IP) meets rules that heed a traffic policy.

        kube-proxy spares pods, and a node's own connections, the policy for external addresses.
        """
        assert self._service and self._service.spec
        own = self._node(place)
        if ip is None or ip in (self._service.spec.clusterIPs or ()):
            return services.Entry(own, False) if own else None
        config = self._live.config
        node = next((n for n in self._live.nodes.names() if str(config.node_ip(config.node_index(n))) == ip), own)
        return services.Entry(node, True) if place.kind != "pod" and node != own else None

    # -- the way -------------------------------------------------------------------------------------------------------
    def _path(self, place: Place, addresses: list[str], service: str) -> Path:
        found = {}
        for ip in (ip for ip in addresses if not ends.is_own(ip)):
            key = ends.pod_at(self._live, ip)
            pod = self._live.client.find(Pod, key[1], key[0]) if key else None
            found[ip] = (f"{key[0]}/{key[1]}" if key else "", (pod.spec.nodeName if pod and pod.spec else "") or "")
        source, own = ("", "") if place.kind != "pod" else (place.name, self._own_ip(place))
        return Path(source, self._node(place), own, found, service.removeprefix("Service "))

    def _own_ip(self, place: Place) -> str:
        return (place.pod.status.podIP if place.pod and place.pod.status else None) or ""
