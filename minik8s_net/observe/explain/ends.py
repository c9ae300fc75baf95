"""Third rung: the endpoints. May the source reach them by policy, and does somebody listen there?"""

from __future__ import annotations

import ipaddress

from lightkube.resources.core_v1 import Pod

from ...boot.live import Live
from ...kernel.sockets import Listener, listeners
from ...policy.evaluate import Endpoint, Verdict, evaluate
from ...policy.model import PodFacts
from ..trace.places import Places
from .model import Cause, Step

End = tuple[str, int]  # address, port
Told = tuple[list[Step], Cause | None]


def pod_at(live: Live, ip: str) -> tuple[str, str] | None:
    """(namespace, name) of the pod with that address."""
    return next((key for key, facts in live.policies.pods.items() if facts.ip == ip), None)


# -- policies ----------------------------------------------------------------------------------------------------------
def allowed(live: Live, source: PodFacts, ends: list[End], protocol: str) -> Told:
    """By the policies of both sides, for every endpoint: one that is forbidden is a cause, as it fails sometimes."""
    index, denied = live.policies, []
    for ip, port in ends:
        key = pod_at(live, ip)
        pair = Endpoint(source.ip, source), Endpoint(ip, index.pods[key] if key else None)
        verdict = evaluate(index.objects.values(), index.namespaces, *pair, port, protocol)
        if not verdict.allowed:
            denied.append(verdict)
    question = "do policies allow it?"
    if not denied:
        return [Step(question, True, "egress and ingress are allowed")], None
    some = f" (for {len(denied)} of {len(ends)} endpoints)" if len(denied) < len(ends) else ""
    cause = denial(denied[0], some)
    return [Step(question, False, cause.sentence, cause.object)], cause


def denial(verdict: Verdict, some: str = "") -> Cause:
    """The first policy that isolates, and why none of its rules matches."""
    egress = not verdict.egress.allowed
    side = verdict.egress if egress else verdict.ingress
    isolating = [f for f in side.findings if f.policy in side.why]  # the others do not select the pod
    policy = f"NetworkPolicy {next((f.policy for f in isolating), '')}"
    whys = "; ".join(f"{f.rule or f.policy}: {f.why}" for f in isolating[:3])
    mend = f"add a rule that allows it, e.g. to {policy}: {side.direction.lower()} with this peer and port"
    kind = "policy-egress" if egress else "policy-ingress"
    return Cause(kind, policy, f"{policy} isolates and no rule allows it{some}: {whys}", mend)


# -- listeners ---------------------------------------------------------------------------------------------------------
async def listened(live: Live, places: Places, ends: list[End], protocol: str, service: str) -> Told:
    """By the sockets of the pods' namespaces; `service`: "Service default/web", or "" for an address."""
    question = "does somebody listen there?"
    for ip, port in ends:
        key = pod_at(live, ip)
        if key is None and ipaddress.ip_address(ip) in ipaddress.ip_network(live.config.pod_cidr):
            cause = _nowhere(service, ip)
            return [Step("whose addresses are the endpoints?", False, cause.sentence, cause.object)], cause
        place = places.of(live.client.get(Pod, key[1], key[0])) if key else None
        if key is None or place is None:
            continue  # a host outside: nobody can look there
        there = await place.run(listeners, protocol.lower())
        if not any(one.port == port and one.takes(ip) for one in there):
            cause = _nobody(f"Pod {key[0]}/{key[1]}", ip, port, there, service)
            return [Step(question, False, cause.sentence, cause.object)], cause
    shown = ", ".join(f"{ip}:{port}" for ip, port in ends[:4])
    return [Step(question, True, shown)] if ends else [], None


def _nowhere(service: str, ip: str) -> Cause:
    said = f"no pod has the address {ip}" + (f", which an endpoint of {service} names" if service else "")
    name = service.partition("/")[2]
    look = f"kubectl get endpointslices -l kubernetes.io/service-name={name} -o yaml; " if service else ""
    return Cause("no-endpoints", service or ip, said, f"{look}kubectl get pods -A -o wide")


def _nobody(pod: str, ip: str, port: int, there: list[Listener], service: str) -> Cause:
    on = ", ".join(sorted({f"{one.ip}:{one.port}" for one in there})) or "nothing"
    said = f"nobody listens on {ip}:{port} in {pod}; it listens on {on}"
    same, others = any(one.port == port for one in there), [one for one in there if one.takes(ip)]
    if service and others and not same:
        mend = f"set targetPort to {others[0].port}"
        return Cause("target-port", service, f"{service} sends to port {port}, but {said}", mend)
    if same:
        return Cause("listener", pod, said, "let it listen on 0.0.0.0, not only on that address")
    return Cause("listener", pod, said, "start a server there, or ask another port")
