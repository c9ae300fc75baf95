"""Second rung: the Service. Its port, its endpoints, and why it has none."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

from lightkube.models.core_v1 import ServicePort
from lightkube.resources.apps_v1 import Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Node, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ...boot.live import Live
from ...proxy.model import ServicePort as Proxied
from ...proxy.model import service_ports
from .model import Cause, Step


@dataclass
class Behind:
    """Where connections to a Service's port end: [(address, port)], ready ones only."""

    steps: list[Step] = field(default_factory=list)
    ends: list[tuple[str, int]] = field(default_factory=list)
    cause: Cause | None = None


@dataclass(frozen=True)
class Entry:
    """The node whose rules choose the endpoint, and whether `externalTrafficPolicy` is the one that counts there."""

    node: str
    external: bool


def behind(live: Live, service: Service, number: int | None, protocol: str, entry: Entry | None = None) -> Behind:
    """The endpoints of a Service's port (those that `entry` may send to), or the cause why there are none."""
    assert service.metadata and service.spec
    name = f"Service {service.metadata.namespace}/{service.metadata.name}"
    found, ports = Behind(), service.spec.ports or []
    wanted = [p for p in ports if (p.protocol or "TCP") == protocol and number in (None, p.port, p.nodePort)]
    headless = service.spec.clusterIP == "None"
    if not wanted and not (headless and number):
        there = ", ".join(f"{p.port}/{p.protocol or 'TCP'}" for p in ports) or "none"
        said = f"{name} has no port {number}/{protocol}; it has {there}"
        found.steps.append(Step(f"does it have port {number}/{protocol}?", False, f"it has {there}", name))
        found.cause = Cause("service-port", name, said, f"ask for one of {there}, or add the port to the Service")
        return found
    port = wanted[0] if wanted else None
    if port:
        found.steps.append(Step("does it have the port?", True, f"{port.port}/{protocol} -> {port.targetPort}", name))
    for slice_ in _slices(live, service):
        matching = [p for p in slice_.ports or [] if port is None or (p.name or "") == (port.name or "")]
        target = number if headless and number else next((p.port for p in matching if p.port), None)
        ready = [e for e in slice_.endpoints if e.conditions is None or e.conditions.ready is not False]
        found.ends += [(address, target) for e in ready for address in e.addresses if target]
    if found.ends:
        found.steps.append(Step("does it have endpoints?", True, _shown(found.ends), name))
        if entry and port:
            _keep_local(live, service, port, entry, found)
    else:
        found.cause = _none(live, service, port, name)
        found.steps.append(Step("does it have endpoints?", False, found.cause.sentence, found.cause.object))
    return found


def _shown(ends: list[tuple[str, int]]) -> str:
    return ", ".join(f"{ip}:{port}" for ip, port in ends[:6])


def _keep_local(live: Live, service: Service, port: ServicePort, entry: Entry, found: Behind) -> None:
    """Where a traffic policy is Local, only the entry's own endpoints are left, and none is a cause."""
    assert service.metadata and service.spec
    policy = "externalTrafficPolicy" if entry.external else "internalTrafficPolicy"
    if getattr(service.spec, policy) != "Local":
        return
    seen = _as_seen(live, service, port, entry.node)
    if seen is None:
        return
    local = {(e.ip, e.port) for e in (seen.external_endpoints if entry.external else seen.internal_endpoints)}
    name, question = (
        f"Service {service.metadata.namespace}/{service.metadata.name}",
        f"has {entry.node} an endpoint of its own?",
    )
    if local:
        found.ends = [end for end in found.ends if end in local]
        found.steps.append(Step(question, True, f"it needs one, as {policy} is Local: {_shown(found.ends)}", name))
        return
    there = sorted({node for e in found.ends if (node := _node_of(live, e[0]))})
    elsewhere = f"they are on {', '.join(there)}" if there else "no node of the cluster has one"
    said = f"spec.{policy} of {name} is Local, and {entry.node} has no endpoint of its own ({elsewhere}): it drops this"
    ask = f"ask {there[0]} instead, or " if there else ""
    patch = f"kubectl -n {service.metadata.namespace} patch service {service.metadata.name}"
    mend = f'{ask}let every node answer: {patch} -p \'{{"spec":{{"{policy}":"Cluster"}}}}\''
    found.cause = Cause("traffic-policy", name, said, mend)
    found.steps.append(Step(question, False, said, name))


def _as_seen(live: Live, service: Service, port: ServicePort, node: str) -> Proxied | None:
    """The port as kube-proxy of that node has to see it."""
    ports = service_ports(service, _slices(live, service), live.nodes.agents(node).proxier.node)
    return next((p for p in ports if (p.port, p.protocol.upper()) == (port.port, port.protocol or "TCP")), None)


def _node_of(live: Live, ip: str) -> str:
    """The node of the pod at an address."""
    pods = (p for p in live.client.list(Pod) if p.status and p.status.podIP == ip and not _ended(p))
    return next(((p.spec.nodeName if p.spec else None) or "" for p in pods), "")


def at(live: Live, ip: str, port: int | None) -> Service | None:
    """The Service that has an address: cluster IP, external IP, load balancer, or a node's with its node port."""
    found = list(live.client.list(Service))
    for service in found:
        spec, status = service.spec, service.status
        ingress = (status.loadBalancer.ingress if status and status.loadBalancer else None) or []
        if spec and ip in (*(spec.clusterIPs or ()), *(spec.externalIPs or ()), *(i.ip for i in ingress)):
            return service
    nodes = {a.address for n in live.client.list(Node) for a in (n.status and n.status.addresses) or []}
    if ip not in nodes or port is None:
        return None
    return next((s for s in found if s.spec and any(p.nodePort == port for p in s.spec.ports or [])), None)


def _slices(live: Live, service: Service) -> list[EndpointSlice]:
    assert service.metadata
    label = {"kubernetes.io/service-name": service.metadata.name or ""}
    return list(live.client.list(EndpointSlice, service.metadata.namespace, labels=label))


def _none(live: Live, service: Service, port: ServicePort | None, name: str) -> Cause:
    assert service.metadata and service.spec
    selector, namespace = service.spec.selector or {}, service.metadata.namespace or ""
    if not selector:
        said = f"{name} has no selector, and nobody wrote endpoints for it"
        return Cause("no-endpoints", name, said, "create an EndpointSlice with the label kubernetes.io/service-name")
    pods = [p for p in live.client.list(Pod, namespace) if p.metadata and not _ended(p)]
    chosen = [p for p in pods if p.metadata and selector.items() <= (p.metadata.labels or {}).items()]
    if not chosen:
        text = ",".join(f"{k}={v}" for k, v in sorted(selector.items()))
        if idle := _without_pods(live, namespace, selector):
            scale = f"kubectl -n {namespace} scale {idle.lower()} --replicas=1"
            kind, _, workload = idle.partition("/")
            said = f"{name} selects {text}, and {kind} {workload}, whose pods have that, is scaled to 0"
            return Cause("no-endpoints", f"{kind} {namespace}/{workload}", said, scale)
        return Cause("selector", name, f"{name} selects {text}, and no pod has that{_near(selector, pods)}",
                     f"compare: kubectl -n {namespace} get pods --show-labels")  # fmt: skip
    target = port.targetPort if port else None
    if isinstance(target, str) and not any(_has_port(p, target) for p in chosen):
        said = f"{name} sends to the port named {target}, and its pods name no port so"
        return Cause("target-port", name, said, f"name the container's port {target}, or give targetPort its number")
    return _not_ready(chosen, name)


def _without_pods(live: Live, namespace: str, selector: dict[str, str]) -> str:
    """`Deployment/web`: what would make such pods, had it not been told to make none."""
    kinds: tuple[Any, ...] = (Deployment, StatefulSet, ReplicaSet)
    for kind in kinds:
        for found in live.client.list(kind, namespace):
            template = found.spec.template.metadata if found.spec and found.spec.template else None
            labels = (template.labels if template else None) or {}
            if found.metadata and found.spec and found.spec.replicas == 0 and selector.items() <= labels.items():
                return f"{kind.__name__}/{found.metadata.name}"
    return ""


def _not_ready(chosen: list[Pod], name: str) -> Cause:
    pod = chosen[0]
    assert pod.metadata
    conditions = (pod.status.conditions if pod.status else None) or []
    why = next((c.message for c in conditions if c.type == "Ready" and c.message), None)
    waiting = [s.state.waiting.reason for s in (pod.status and pod.status.containerStatuses) or []
               if s.state and s.state.waiting]  # fmt: skip
    word, phase = f"{pod.metadata.namespace}/{pod.metadata.name}", (pod.status and pod.status.phase) or "Pending"
    told = ", ".join(filter(None, [why, *waiting]))
    said = f"{name} selects {len(chosen)} pod(s), none ready: Pod {word} is {phase} ({told or 'no condition says why'})"
    kind = "readiness" if phase == "Running" else "pod-not-running"
    return Cause(kind, f"Pod {word}", said, f"kubectl -n {pod.metadata.namespace} describe pod {pod.metadata.name}")


def _ended(pod: Pod) -> bool:
    return bool(pod.status and pod.status.phase in ("Succeeded", "Failed"))


def _has_port(pod: Pod, name: str) -> bool:
    containers = (pod.spec.containers if pod.spec else None) or []
    return any(p.name == name for c in containers for p in c.ports or [])


def _near(selector: dict[str, str], pods: list[Pod]) -> str:
    """The labels most like the selector: a typo shows."""
    labels = {f"{k}={v}" for p in pods for k, v in ((p.metadata and p.metadata.labels) or {}).items()}
    near = [m for k, v in selector.items() for m in difflib.get_close_matches(f"{k}={v}", sorted(labels), 1, 0.6)]
    return f"; near to it: {', '.join(near)}" if near else ""
