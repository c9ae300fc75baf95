"""Third rung: the endpoints. May the source reach them by policy, and does somebody listen there?"""

from __future__ import annotations

import ipaddress

from lightkube.resources.core_v1 import Pod

from ...boot.live import Live
from ...kernel.sockets import Listener, listeners
from ...policy.evaluate import Endpoint, Verdict, evaluate
from ...policy.model import PodFacts
from ..trace.places import Place, Places
from .model import Cause, Step

End = tuple[str, int]  # address, port
Told = tuple[list[Step], Cause | None]


def pod_at(live: Live, ip: str) -> tuple[str, str] | None:
    """(namespace, name) of the pod with that address."""
    return next((key for key, facts in live.policies.pods.items() if facts.ip == ip), None)


def is_own(ip: str) -> bool:
    """Whether it means the one who asks: no packet leaves, no policy is asked."""
    return ipaddress.ip_address(ip).is_loopback


# -- policies ----------------------------------------------------------------------------------------------------------
def allowed(live: Live, source: PodFacts, ends: list[End], protocol: str) -> Told:
    """By the policies of both sides, for every endpoint: one that is forbidden is a cause, as it fails sometimes."""
    index, denied = live.policies, []
    for ip, port in (end for end in ends if not is_own(end[0])):
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
    """The policies that isolate, and why none of their rules matches; to be mended is best one that has rules."""
    egress = not verdict.egress.allowed
    side, pod = (verdict.egress, verdict.source.pod) if egress else (verdict.ingress, verdict.destination.pod)
    field, whom = side.direction.lower(), f"{pod.namespace}/{pod.name}" if pod else ""
    asked = [f for f in side.findings if f.policy in side.isolating]  # the others do not select the pod
    asked.sort(key=lambda finding: not finding.rule)
    whys = "; ".join(f"{' '.join(filter(None, (f.policy, f.rule)))}: {f.why}" for f in asked[:3])
    names = list(dict.fromkeys(f.policy for f in asked))
    policy = f"NetworkPolicy {names[0]}"
    if asked[0].rule:
        mend = f"add a rule that allows it to {policy}: {field} with this peer and port"
    else:  # nobody would put a hole into a policy that is there to deny
        mend = f"write a NetworkPolicy that selects {whom} and allows {field} with this peer and port: policies add up"
    verb = "isolates" if len(names) == 1 else "isolate"
    said = f"NetworkPolicy {' and '.join(names)} {verb} {whom} and no rule allows it{some}: {whys}"
    return Cause("policy-egress" if egress else "policy-ingress", policy, said, mend)


# -- listeners ---------------------------------------------------------------------------------------------------------
async def listened(live: Live, places: Places, source: Place, ends: list[End], protocol: str, service: str) -> Told:
    """By the sockets of the namespaces that have the addresses; `service`: "Service default/web", or "" for none."""
    question = "does somebody listen there?"
    seen, unseen = [], []
    for ip, port in ends:
        place = _place(live, places, source, ip)
        if place is None and (nobody := _nowhere(live, service, ip)):
            return [Step("whose address is that?", False, nobody.sentence, nobody.object)], nobody
        if place is None:
            unseen.append(f"{ip}:{port}")
            continue
        there = await place.run(listeners, protocol.lower())
        if not any(one.port == port and one.takes(ip) for one in there):
            cause = _nobody(_name(live, place, ip), ip, port, there, service)
            return [Step(question, False, cause.sentence, cause.object)], cause
        seen.append(f"{ip}:{port}")
    steps = [Step(question, True, ", ".join(seen[:4]))] if seen else []
    if unseen:
        steps.append(Step(question, None, f"{', '.join(unseen[:4])} cannot be looked at: none of the cluster's"))
    return steps, None


def _place(live: Live, places: Places, source: Place, ip: str) -> Place | None:
    """The namespace that has the address; None for what is none of ours."""
    if is_own(ip):
        return source
    if key := pod_at(live, ip):
        return places.of(live.client.get(Pod, key[1], key[0]))
    config = live.config
    if ip in (str(config.outside_ip), str(config.fabric_ip)):
        return places.shared["outside" if ip == str(config.outside_ip) else "fabric"]
    for name in live.nodes.names():
        index = config.node_index(name)
        if ip in (str(config.node_ip(index)), str(config.node_pod_cidr(index)[1])):  # the latter is its bridge's
            return places.shared[name]
    return None


def _name(live: Live, place: Place, ip: str) -> str:
    pod = place.name if place.kind == "pod" else "/".join(pod_at(live, ip) or ())
    return f"Pod {pod}" if pod else f"Node {place.name}" if place.kind == "node" else place.name


def is_foreign(live: Live, ip: str) -> bool:
    """Whether the address is of no network of the cluster: nothing there leads to it."""
    config, address = live.config, ipaddress.ip_address(ip)
    ours = (config.fabric_cidr, config.pod_cidr, config.service_cidr)
    return not address.is_loopback and not any(address in ipaddress.ip_network(cidr) for cidr in ours)


def _nowhere(live: Live, service: str, ip: str) -> Cause | None:
    address, config = ipaddress.ip_address(ip), live.config
    if pod_at(live, ip):
        return None  # it has one, and no network yet (or no more)
    if address in ipaddress.ip_network(config.service_cidr):
        return Cause("no-endpoints", ip, f"no Service has the address {ip}", "kubectl get services -A")
    if address not in ipaddress.ip_network(config.pod_cidr):
        return None
    said = f"no pod has the address {ip}" + (f", which an endpoint of {service} names" if service else "")
    name = service.partition("/")[2]
    look = f"kubectl get endpointslices -l kubernetes.io/service-name={name} -o yaml; " if service else ""
    return Cause("no-endpoints", service or ip, said, f"{look}kubectl get pods -A -o wide")


def _nobody(whose: str, ip: str, port: int, there: list[Listener], service: str) -> Cause:
    on = ", ".join(sorted({f"{one.ip}:{one.port}" for one in there})) or "nothing"
    said = f"nobody listens on {ip}:{port} in {whose}; it listens on {on}"
    same, others = any(one.port == port for one in there), [one for one in there if one.takes(ip)]
    if service and others and not same and whose.startswith("Pod "):  # what else a node listens on is not meant
        mend = f"set targetPort to {others[0].port}"
        return Cause("target-port", service, f"{service} sends to port {port}, but {said}", mend)
    if same:
        return Cause("listener", whose, said, "let it listen on 0.0.0.0, not only on that address")
    return Cause("listener", whose, said, "start a server there, or ask another port")
