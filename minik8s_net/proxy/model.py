"""What one node has to do for one port of one Service: typed objects in, a flat `ServicePort` out. Pure.

Which endpoints are used follows kube-proxy's topology rules: ready ones; if there is none, those that still serve
while terminating; for the policy "Local" only this node's own. `cluster` and `local` are the answers for the two
policies, `endpoints_anywhere` tells "nobody serves this" (refuse) from "nobody here does" (drop).
https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-policies
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from lightkube.models.core_v1 import ServicePort as ApiPort
from lightkube.models.core_v1 import ServiceSpec
from lightkube.models.discovery_v1 import Endpoint as ApiEndpoint
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ..config import is_ipv4

SERVICE_NAME = "kubernetes.io/service-name"  # the label by which an EndpointSlice belongs to a Service
DEFAULT_AFFINITY = 10800  # seconds


@dataclass(frozen=True, slots=True)
class Node:
    """The node that rules are rendered for. `cluster_cidr` is what tells pods' traffic from traffic from outside."""

    name: str
    ip: str
    cluster_cidr: str = "10.244.0.0/16"


@dataclass(frozen=True, slots=True)
class Endpoint:
    ip: str
    port: int
    local: bool
    ready: bool = True
    serving: bool = True
    terminating: bool = False

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service as one node sees it. `protocol` is tcp, udp or sctp; addresses are IPv4."""

    namespace: str
    service: str
    port_name: str
    protocol: str
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    affinity_seconds: int = 0  # 0: no session affinity
    internal_local: bool = False
    external_local: bool = False
    health_check_node_port: int = 0
    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    endpoints_anywhere: bool = False

    def __str__(self) -> str:
        """As kube-proxy names it, in comments and hashes: `default/web:http`, `default/web` for an unnamed port."""
        return f"{self.namespace}/{self.service}" + (f":{self.port_name}" if self.port_name else "")

    @property
    def external(self) -> bool:
        """Reachable otherwise than by its cluster IP."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def internal_endpoints(self) -> tuple[Endpoint, ...]:
        return self.local if self.internal_local else self.cluster

    @property
    def external_endpoints(self) -> tuple[Endpoint, ...]:
        return self.local if self.external_local else self.cluster

    @property
    def reachable(self) -> tuple[Endpoint, ...]:
        """Every endpoint that traffic on this node may be sent to, once."""
        return self.cluster + tuple(e for e in self.local if e not in self.cluster)


def service_ports(service: Service, slices: Iterable[EndpointSlice], node: Node) -> list[ServicePort]:
    """One entry for each port; none for a headless or ExternalName Service (DNS alone serves those)."""
    spec, metadata = service.spec, service.metadata
    if spec is None or metadata is None or spec.type == "ExternalName":
        return []
    cluster_ip = next((ip for ip in spec.clusterIPs or [spec.clusterIP or ""] if is_ipv4(ip)), "")
    if not cluster_ip:
        return []
    slices = [s for s in slices if s.addressType == "IPv4"]
    return [
        _service_port(service, spec, port, cluster_ip, _endpoints(slices, port, node.name)) for port in spec.ports or []
    ]


def _service_port(
    service: Service, spec: ServiceSpec, port: ApiPort, cluster_ip: str, endpoints: list[Endpoint]
) -> ServicePort:
    assert service.metadata is not None
    affinity = 0
    if spec.sessionAffinity == "ClientIP":
        config = spec.sessionAffinityConfig
        affinity = (config.clientIP.timeoutSeconds if config and config.clientIP else None) or DEFAULT_AFFINITY
    external_ips = tuple(ip for ip in spec.externalIPs or [] if is_ipv4(ip))
    vips = _load_balancer_ips(service) if spec.type == "LoadBalancer" else ()
    node_port = (port.nodePort or 0) if spec.type in ("NodePort", "LoadBalancer") else 0
    internal_local = spec.internalTrafficPolicy == "Local"
    external = bool(node_port or external_ips or vips)
    external_local = external and spec.externalTrafficPolicy == "Local"
    cluster = _usable(endpoints) if not internal_local or external else ()
    local = _usable([e for e in endpoints if e.local]) if internal_local or external_local else ()
    return ServicePort(
        namespace=service.metadata.namespace or "default",
        service=service.metadata.name or "",
        port_name=port.name or "",
        protocol=(port.protocol or "TCP").lower(),
        cluster_ip=cluster_ip,
        port=port.port,
        node_port=node_port,
        external_ips=external_ips,
        load_balancer_ips=vips,
        source_ranges=_networks(spec.loadBalancerSourceRanges or []) if spec.type == "LoadBalancer" else (),
        affinity_seconds=affinity,
        internal_local=internal_local,
        external_local=external_local,
        health_check_node_port=(spec.healthCheckNodePort or 0) if external_local else 0,
        cluster=cluster,
        local=local,
        endpoints_anywhere=bool(_usable(endpoints)),
    )


def _usable(endpoints: list[Endpoint]) -> tuple[Endpoint, ...]:
    """The ready ones; failing those, the ones that finish their work while terminating."""
    ready = tuple(e for e in endpoints if e.ready)
    return ready or tuple(e for e in endpoints if e.serving and e.terminating)


def _endpoints(slices: Iterable[EndpointSlice], port: ApiPort, node: str) -> list[Endpoint]:
    """All endpoints of the port named `port.name`, each address once, in kube-proxy's order (by text)."""
    found: dict[str, Endpoint] = {}
    for piece in slices:
        for slice_port in piece.ports or []:
            same = (slice_port.name or "") == (port.name or "")
            if not same or (slice_port.protocol or "TCP") != (port.protocol or "TCP") or not slice_port.port:
                continue
            for entry in piece.endpoints or []:
                endpoint = _endpoint(entry, slice_port.port, node)
                if endpoint and (str(endpoint) not in found or endpoint.local):
                    found[str(endpoint)] = endpoint
    return [found[key] for key in sorted(found)]


def _endpoint(entry: ApiEndpoint, port: int, node: str) -> Endpoint | None:
    """A condition that is not given counts as ready and serving, and not terminating (EndpointSlice API)."""
    if not entry.addresses:
        return None
    given = entry.conditions
    return Endpoint(
        ip=entry.addresses[0],
        port=port,
        local=entry.nodeName == node,
        ready=given is None or given.ready is not False,
        serving=given is None or given.serving is not False,
        terminating=given is not None and bool(given.terminating),
    )


def _load_balancer_ips(service: Service) -> tuple[str, ...]:
    status = service.status.loadBalancer if service.status else None
    ingress = (status.ingress if status else None) or []
    return tuple(i.ip for i in ingress if i.ip and is_ipv4(i.ip) and i.ipMode in (None, "VIP"))


def _networks(ranges: list[str]) -> tuple[str, ...]:
    return tuple(str(IPv4Network(r.strip(), strict=False)) for r in ranges if ":" not in r)


def allows_node(port: ServicePort, node: Node) -> bool:
    """Whether loadBalancerSourceRanges include the node itself."""
    return any(IPv4Address(node.ip) in IPv4Network(r) for r in port.source_ranges)
