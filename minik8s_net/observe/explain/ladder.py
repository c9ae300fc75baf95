"""The order of the questions. Each rung adds steps; the first cause ends the climb."""

from __future__ import annotations

from dataclasses import replace

from lightkube.resources.core_v1 import Pod, Service

from ...boot.live import Live
from ...policy.model import PodFacts
from ..trace.model import Trace
from ..trace.places import Place, Places
from ..trace.target import Target
from . import ends, names, services, wires
from .model import Cause, Explanation, Step
from .proof import arrived, compare, traced
from .wires import Path

UNSURE = {"node-lost", "partition", "link-down", "forwarding-off", "wrong-gateway", "route-missing", "loss", "delay"}
STALE = {"proxy-stopped", "drift"}  # it stops what is new or changed, perhaps
DEGRADED = {"loss", "delay", "bandwidth", "mtu", "dns-slow"}  # it works, but not as it should


class Ladder:
    """One explanation under way."""

    def __init__(self, live: Live, places: Places, source: str, namespace: str, target: Target) -> None:
        self._live, self._places, self._asked, self._target = live, places, source, target
        self._objects = namespace  # where svc/NAME and pod/NAME are; names are looked up from the source's own
        parts = [part for part in source.split("/") if part not in ("pod", "pods", "po")]
        self._namespace, self._name = parts[0] if len(parts) == 2 else namespace, parts[-1]
        self.told = Explanation(f"{self._namespace}/{self._name}", target.text)
        self._place: Place | None = None  # the source's, once it is known to run
        self._service: Service | None = None
        self._ends: list[ends.End] = []
        self._doubt: Cause | None = None  # true, but no matter if there is a harder one
        self._servers = 0  # of DNS, where those are in question
        self._protocol = target.protocol.upper()

    async def climb(self) -> Explanation:
        """Up to the first cause."""
        cause = self.told.cause = await self._climb() or self._doubt or await self._prove(None)
        if cause:
            mild = cause.kind in DEGRADED or cause is self._doubt
            self.told.verdict = "degraded" if mild else "unreachable"
            if cause.kind != "unknown":
                await self._prove(cause)
        return self.told

    async def _climb(self) -> Cause | None:
        if cause := self._source():
            return cause
        place = self._place = self._places.source(self._asked, self._namespace)
        if cause := await self._find(place):
            return cause
        if not self._ends:
            return None  # names were all that was asked, or what is behind them is none of the cluster's
        facts = self._facts(place)
        if facts and (cause := self._tell(ends.allowed(self._live, facts, self._ends, self._protocol))):
            return cause
        told = await ends.listened(self._live, self._places, self._ends, self._protocol, self._word())
        if cause := self._tell(told):
            return cause
        wrong = await wires.causes(self._live, self._path(place, [ip for ip, _ in self._ends], self._word()))
        question = "is the kernel as it was written, along the way?"
        if not wrong:
            self._say(question, True, "no difference")
            return None
        if wrong[0].kind in STALE and await self._answered():  # it will matter to somebody, not to this way
            self._say(question, None, wrong[0].sentence, wrong[0].object)
            return None
        return self._tell(([Step(question, False, wrong[0].sentence, wrong[0].object)], wrong[0]))

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

    # -- what is asked for ---------------------------------------------------------------------------------------------
    async def _find(self, place: Place) -> Cause | None:
        """Fill in the Service and the endpoints."""
        target = self._target
        if target.kind == "pod":
            namespace, _, name = target.host.rpartition("/")
            pod = self._live.client.get(Pod, name, namespace or self._objects)
            self._ends = [((pod.status and pod.status.podIP) or "", target.port or 80)]
            return None
        if target.is_address:
            return self._by_address()
        if meant := self._meant():
            self._service = self._live.client.find(Service, meant[1], meant[0])
            if self._service is None:
                cause = names.no_such_service(self._live, *meant)
                self._say(f"is there a Service {meant[1]} in {meant[0]}?", False, cause.sentence, cause.object)
                return cause
            self._say("is there such a Service?", True, self._word())
        if target.kind != "service" and place.pod and (unnamed := await self._resolves(place)):
            return unnamed
        return None if target.kind == "dns" or self._service is None else self._endpoints()

    def _meant(self) -> tuple[str, str] | None:
        """(namespace, name) of the Service that is asked for."""
        if self._target.kind != "service":
            return names.service_of(self._live, self._target.host, self._namespace)
        namespace, _, name = self._target.host.rpartition("/")
        return namespace or self._objects, name

    async def _resolves(self, place: Place) -> Cause | None:
        steps, cause = names.dns_allowed(self._live, self._facts(place))
        if cause is None:
            more, cause = await names.asked(self._live, self._asked, self._namespace, self._target.host)
            steps += more
        if cause is None or cause.kind in ("dns-dead", "dns-slow"):  # is it the server, or the way to it?
            deeper = await self._before_dns(place)
            if cause and deeper:
                cause = deeper
                steps[-1] = Step(steps[-1].question, False, cause.sentence, cause.object)
            elif deeper and deeper.kind in UNSURE and self._servers > 1:
                said = f"names fail now and then, as a DNS server is behind this: {deeper.sentence}"
                self._doubt = replace(deeper, sentence=said)
        return self._tell((steps, cause))

    async def _before_dns(self, place: Place) -> Cause | None:
        """What keeps the source from the DNS servers: their Service, or the wires to them."""
        service = self._live.client.find(Service, names.DNS[1], names.DNS[0])
        if service is None:
            return names.no_such_service(self._live, *names.DNS)
        found = services.behind(self._live, service, 53, "UDP")
        if found.cause and found.cause.kind in ("selector", "service-port", "target-port"):
            return found.cause
        word = f"Service {'/'.join(names.DNS)}"
        _, cause = await ends.listened(self._live, self._places, found.ends, "UDP", word)
        if cause and cause.kind == "target-port":
            return cause
        servers = self._live.client.list(Pod, names.DNS[0], labels=names.DNS_PODS)
        addresses = [ip for pod in servers if pod.status and (ip := pod.status.podIP)]
        self._servers = len(addresses)
        wrong = await wires.causes(self._live, self._path(place, addresses, word))
        return wrong[0] if wrong else None

    def _by_address(self) -> Cause | None:
        ip = self._target.host
        self._service = services.at(self._live, ip, self._target.port)
        if self._service:
            self._say("whose address is that?", True, self._word())
            return self._endpoints()
        self._ends = [(ip, self._target.port or 80)]
        return None

    def _endpoints(self) -> Cause | None:
        assert self._service and self._service.spec
        if self._service.spec.type == "ExternalName":
            self._say("what is behind it?", None, f"another name: {self._service.spec.externalName}")
            return None
        found = services.behind(self._live, self._service, self._target.port, self._protocol)
        self._ends = found.ends
        return self._tell((found.steps, found.cause))

    # -- the way -------------------------------------------------------------------------------------------------------
    def _facts(self, place: Place) -> PodFacts | None:
        return self._live.policies.pods.get((self._namespace, self._name)) if place.kind == "pod" else None

    def _path(self, place: Place, addresses: list[str], service: str) -> Path:
        found = {}
        for ip in addresses:
            key = ends.pod_at(self._live, ip)
            pod = self._live.client.find(Pod, key[1], key[0]) if key else None
            found[ip] = (f"{key[0]}/{key[1]}" if key else "", (pod.spec.nodeName if pod and pod.spec else "") or "")
        node = place.pod.spec.nodeName if place.pod and place.pod.spec else place.name if place.kind == "node" else ""
        source = place.name if place.kind == "pod" else ""
        ip = (place.pod.status.podIP if source and place.pod and place.pod.status else None) or ""
        return Path(source, node or "", ip, found, service.removeprefix("Service "))

    async def _prove(self, cause: Cause | None) -> Cause | None:
        """A real packet beside the reasoning; it is the cause itself if there should be none."""
        if cause is None and not self._ends and self._target.kind != "dns":
            return None  # behind the name is nobody of the cluster
        trace = await self._trace(cause is None)
        if trace is None:
            return None
        step, difference = compare(trace, cause, max(len(self._ends), self._servers))
        self.told.steps.append(step)
        if not difference:
            return None
        self.told.differences.append(difference)
        mend = f"minik8s trace {self._asked} {self._target.text} shows every station"
        return Cause("unknown", self.told.target, difference, mend)

    async def _answered(self) -> bool:
        trace = await self._trace(True)
        return trace is not None and arrived(trace)

    async def _trace(self, want: bool) -> Trace | None:
        """One real exchange; None where nothing can be sent."""
        if self._place is None:
            return None
        namespace = self._objects if self._target.kind in ("service", "pod") else self._namespace
        return await traced(self._live, self._places, self._place, self._target, namespace, want)
