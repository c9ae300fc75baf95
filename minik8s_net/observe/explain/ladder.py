"""The order of the questions. Each rung adds steps; the first cause ends the climb."""

from __future__ import annotations

import ipaddress

from lightkube.resources.core_v1 import Pod, Service

from ...boot.live import Live
from ...policy.model import PodFacts
from ..trace.places import Place, Places
from ..trace.target import Target
from . import ends, names, services, wires
from .model import Cause, Explanation, Step
from .proof import connect
from .wires import Path

DEGRADED = {"loss", "delay", "bandwidth", "mtu", "dns-slow"}  # it works, but not as it should


class Ladder:
    """One explanation under way."""

    def __init__(self, live: Live, places: Places, source: str, namespace: str, target: Target) -> None:
        self._live, self._places, self._asked, self._target = live, places, source, target
        parts = [part for part in source.split("/") if part not in ("pod", "pods", "po")]
        self._namespace, self._name = parts[0] if len(parts) == 2 else namespace, parts[-1]
        self.told = Explanation(f"{self._namespace}/{self._name}", target.text)
        self._service: Service | None = None
        self._ends: list[ends.End] = []
        self._protocol = target.protocol.upper()

    async def climb(self) -> Explanation:
        """Up to the first cause."""
        cause = self.told.cause = await self._climb()
        if cause:
            self.told.verdict = "degraded" if cause.kind in DEGRADED else "unreachable"
        return self.told

    async def _climb(self) -> Cause | None:
        if cause := self._source():
            return cause
        place = self._places.source(self._asked, self._namespace)
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
        if wrong:
            return self._tell(([Step(question, False, wrong[0].sentence, wrong[0].object)], wrong[0]))
        self._say(question, True, "no difference")
        return await self._prove(place)

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
            pod = self._live.client.get(Pod, name, namespace or self._namespace)
            self._ends = [((pod.status and pod.status.podIP) or "", target.port or 80)]
            return None
        if target.is_address:
            return self._by_address()
        if meant := names.service_of(self._live, target.host, self._namespace):
            self._service = self._live.client.find(Service, meant[1], meant[0])
            if self._service is None:
                cause = names.no_such_service(self._live, *meant)
                self._say(f"is there a Service {meant[1]} in {meant[0]}?", False, cause.sentence, cause.object)
                return cause
            self._say("is there such a Service?", True, self._word())
        if target.kind != "service" and place.kind == "pod" and (unnamed := await self._resolves(place)):
            return unnamed
        return None if target.kind == "dns" or self._service is None else self._endpoints()

    async def _resolves(self, place: Place) -> Cause | None:
        steps, cause = names.dns_allowed(self._live, self._facts(place))
        if cause is None:
            more, cause = await names.asked(self._live, self._asked, self._namespace, self._target.host)
            steps += more
        if cause and cause.kind in ("dns-dead", "dns-slow"):  # is it the server, or the way to it?
            servers = self._live.client.list(Pod, "kube-system", labels=names.DNS_PODS)
            addresses = [ip for pod in servers if pod.status and (ip := pod.status.podIP)]
            wrong = await wires.causes(self._live, self._path(place, addresses, "Service kube-system/kube-dns"))
            if wrong:
                cause = wrong[0]
                steps[-1] = Step(steps[-1].question, False, cause.sentence, cause.object)
        return self._tell((steps, cause))

    def _by_address(self) -> Cause | None:
        ip = self._target.host
        self._service = services.at(self._live, ip, self._target.port)
        if self._service:
            self._say("whose address is that?", True, self._word())
            return self._endpoints()
        self._ends = [(ip, self._target.port or 80)]
        is_pods = ipaddress.ip_address(ip) in ipaddress.ip_network(self._live.config.pod_cidr)
        if is_pods and ends.pod_at(self._live, ip) is None:
            self._say("whose address is that?", False, f"no pod has the address {ip}")
            return Cause("no-endpoints", ip, f"no pod has the address {ip}", "kubectl get pods -A -o wide")
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
        return Path(place.name if place.kind == "pod" else "", node or "", found, service.removeprefix("Service "))

    async def _prove(self, place: Place) -> Cause | None:
        if self._protocol != "TCP":
            return None
        host, port = self._ends[0]
        spec = self._service.spec if self._service else None
        if self._target.is_address:
            host, port = self._target.host, self._target.port or port
        elif spec and spec.clusterIP not in (None, "", "None"):
            ports = spec.ports or []
            host, port = spec.clusterIP or "", self._target.port or (ports[0].port if ports else port)
        outcome = await connect(place, host, port)
        self._say("does a connection succeed?", not outcome, outcome or f"{host}:{port} answers")
        if not outcome:
            return None
        said = f"by objects and rules it should work, and yet: {outcome}"
        self.told.differences.append(said)
        mend = f"minik8s trace {self._asked} {self._target.text} shows where it ends"
        return Cause("unknown", f"{host}:{port}", said, mend)
