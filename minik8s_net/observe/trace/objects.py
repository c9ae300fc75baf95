"""What the API knows about an address: hints where to listen and which port is meant, never evidence."""

from __future__ import annotations

from lightkube.resources.core_v1 import Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ...store.client import Client

MANY = 32
"""Pods listened in at most; an answer of another one shows as a gap."""


def pods_behind(client: Client, ip: str, port: int) -> list[Pod]:
    """The pods a packet to this address may end in: the pod itself, or the endpoints of the Service."""
    by_ip = {p.status.podIP: p for p in client.list(Pod) if p.status and p.status.podIP and _runs(p)}
    if ip in by_ip and not _on_host_network(by_ip[ip]):
        return [by_ip[ip]]
    addresses = [a for s in client.list(Service) if _answers(s, ip, port) for a in _endpoints(client, s)]
    return [by_ip[a] for a in dict.fromkeys(addresses) if a in by_ip][:MANY]


def port_of(client: Client, ip: str, protocol: str) -> int:
    """The port meant when none is named: the Service's first, the pod's first, else 80."""
    for service in client.list(Service):
        if _has(service, ip) and service.spec and service.spec.ports:
            return service.spec.ports[0].port
    for pod in client.list(Pod):
        if pod.status and pod.status.podIP == ip and pod.spec and not _on_host_network(pod):
            for container in pod.spec.containers:
                if container.ports:
                    return container.ports[0].containerPort
    return 53 if protocol == "udp" else 80


def _answers(service: Service, ip: str, port: int) -> bool:
    ports = (service.spec.ports if service.spec else None) or []
    return _has(service, ip) or any(p.nodePort == port for p in ports)


def _has(service: Service, ip: str) -> bool:
    spec, status = service.spec, service.status
    if spec is None:
        return False
    given = [*(spec.clusterIPs or [spec.clusterIP or ""]), *(spec.externalIPs or [])]
    ingress = (status.loadBalancer.ingress if status and status.loadBalancer else None) or []
    return ip in given or any(i.ip == ip for i in ingress)


def _endpoints(client: Client, service: Service) -> list[str]:
    assert service.metadata and service.metadata.name
    labels = {"kubernetes.io/service-name": service.metadata.name}
    slices = client.list(EndpointSlice, service.metadata.namespace, labels)
    return [a for s in slices for e in s.endpoints or [] for a in e.addresses]


def _runs(pod: Pod) -> bool:
    return pod.status is not None and pod.status.phase not in ("Succeeded", "Failed")


def _on_host_network(pod: Pod) -> bool:
    return bool(pod.spec and pod.spec.hostNetwork)
