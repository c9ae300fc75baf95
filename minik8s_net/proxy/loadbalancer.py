"""Type LoadBalancer: an address of the fabric for each Service, and the node that answers for it.

In Kubernetes: a cloud's load balancer controller, on bare metal MetalLB (layer 2 mode). The Service's own status holds
its address, so an allocation is as durable as the Service: a restart reads it back. `announce.py` does what the
annotation ANNOUNCED_BY says; kube-proxy's rules do the rest.
https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network

from lightkube.models.core_v1 import ServiceSpec
from lightkube.resources.core_v1 import Node, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ..config import ClusterConfig
from ..controllers.common import node_is_ready
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder
from .announce import ANNOUNCED_BY
from .model import SERVICE_NAME

CLASS = "minik8s.net/fabric"  # ours, beside none at all; Services of another class are another controller's
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
Key = tuple[str, str]  # namespace, name


class Unavailable(Exception):
    """No address can be given: says why, in a sentence for an Event."""


class LoadBalancerController:
    """Gives and takes back addresses, and names the announcing node. `run` until cancelled."""

    def __init__(self, client: Client, config: ClusterConfig) -> None:
        self._client, self._pool = client, config.load_balancer_pool
        self._events = EventRecorder(client, "minik8s-load-balancer")
        self._services: dict[Key, Service] = {}  # type LoadBalancer, of our class
        self._owners: dict[str, Key] = {}  # address -> who has it
        self._slices: dict[Key, dict[str, EndpointSlice]] = {}
        self._loop: Reconciler[Key] = Reconciler("load balancer", self._reconcile)

    async def run(self) -> None:
        """Until cancelled."""
        ends = [
            self._client.watch(EndpointSlice, self._on_slice),
            self._client.watch(Service, self._on_service),
            self._client.watch(Node, self._on_node),
        ]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    # -- what changed ------------------------------------------------------------------------------------------------
    def _on_service(self, change: Change[Service]) -> None:
        service = change.new
        assert service.metadata
        key = (service.metadata.namespace or "", service.metadata.name or "")
        if change.type == "DELETED" or not is_ours(service):
            waiting = self._release(key) if self._services.pop(key, None) else []
        else:
            self._services[key] = service
            waiting = []
            for ip in addresses(service):
                self._owners.setdefault(ip, key)
        for each in (key, *waiting):
            self._loop.mark(each)

    def _release(self, key: Key) -> list[Key]:
        """Free what `key` had; the Services that wait for an address and may now get one."""
        held = [ip for ip, owner in self._owners.items() if owner == key]
        for ip in held:
            del self._owners[ip]
        return [other for other, service in self._services.items() if not addresses(service)] if held else []

    def _on_slice(self, change: Change[EndpointSlice]) -> None:
        metadata = change.new.metadata
        name = ((metadata.labels if metadata else None) or {}).get(SERVICE_NAME)
        if metadata is None or not name:
            return
        key = (metadata.namespace or "", name)
        slices = self._slices.setdefault(key, {})
        if change.type == "DELETED":
            slices.pop(metadata.name or "", None)
            if not slices:
                del self._slices[key]
        else:
            slices[metadata.name or ""] = change.new
        service = self._services.get(key)
        if service and service.spec and service.spec.externalTrafficPolicy == "Local":
            self._loop.mark(key)

    def _on_node(self, change: Change[Node]) -> None:
        before = change.old is not None and change.type != "DELETED" and may_announce(change.old)
        if before != (change.type != "DELETED" and may_announce(change.new)):
            for key in self._services:
                self._loop.mark(key)

    # -- one Service ---------------------------------------------------------------------------------------------
    async def _reconcile(self, key: Key) -> None:
        service = self._client.find(Service, key[1], key[0])
        if service is None or service.spec is None:
            return
        if not is_ours(service):
            self._forget(key, service)
            return
        try:
            ip = choose(service, self._pool, self._owners, key)
        except Unavailable as why:
            self._events.warning(service, "AllocationFailed", f'Failed to allocate IP for "{key[0]}/{key[1]}": {why}')
            self._write(key, service, None, None)
            return
        if self._owners.get(ip) != key:
            self._release(key)
            self._owners[ip] = key
            self._events.normal(service, "IPAllocated", f'Assigned IP ["{ip}"]')
        nodes = [node for node in self._client.list(Node) if may_announce(node)]
        node = announcer(ip, service, nodes, self._slices.get(key, {}).values())
        if node and node != (service.metadata.annotations or {}).get(ANNOUNCED_BY):  # type: ignore[union-attr]
            self._events.normal(service, "nodeAssigned", f'announcing from node "{node}"')
        self._write(key, service, ip, node)

    def _forget(self, key: Key, service: Service) -> None:
        """It was ours (only we write the annotation) and is no more: another type, or another class."""
        if ANNOUNCED_BY in ((service.metadata.annotations if service.metadata else None) or {}):
            self._write(key, service, None, None)

    def _write(self, key: Key, service: Service, ip: str | None, node: str | None) -> None:
        assert service.metadata
        wanted: list[Json] = [{"ip": ip, "ipMode": "VIP"}] if ip else []
        if addresses(service) != [entry["ip"] for entry in wanted]:
            status = {"status": {"loadBalancer": {"ingress": wanted or None}}}
            self._client.patch(Service, key[1], status, key[0], subresource="status")
        mark = node or ("" if ip else None)  # "": ours, and nobody announces it now
        if (service.metadata.annotations or {}).get(ANNOUNCED_BY) != mark:
            self._client.patch(Service, key[1], {"metadata": {"annotations": {ANNOUNCED_BY: mark}}}, key[0])


# -- pure ------------------------------------------------------------------------------------------------------------
def is_ours(service: Service) -> bool:
    """Whether a Service is of type LoadBalancer and of our class."""
    spec, metadata = service.spec, service.metadata
    if spec is None or spec.type != "LoadBalancer" or (metadata and metadata.deletionTimestamp):
        return False
    return spec.loadBalancerClass in (None, "", CLASS)


def addresses(service: Service) -> list[str]:
    """The addresses a Service has."""
    status = service.status.loadBalancer if service.status else None
    return [entry.ip for entry in (status.ingress if status else None) or [] if entry.ip]


def choose(service: Service, pool: IPv4Network, owners: Mapping[str, Key], key: Key) -> str:
    """The address asked for (spec.loadBalancerIP), else the one it has, else the first free. Raises Unavailable."""
    spec = service.spec or ServiceSpec()
    asked = spec.loadBalancerIP
    if asked:
        if not _in_pool(asked, pool):
            raise Unavailable(f"{asked} is not in the pool {pool}")
        if owners.get(asked, key) != key:
            raise Unavailable(f"{asked} is already the address of {'/'.join(owners[asked])}")
        return asked
    for ip in addresses(service):
        if _in_pool(ip, pool) and owners.get(ip, key) == key:
            return ip
    for address in pool.hosts():
        if owners.get(str(address), key) == key:
            return str(address)
    raise Unavailable(f"no address left in the pool {pool}")


def _in_pool(text: str, pool: IPv4Network) -> bool:
    try:
        address = IPv4Address(text)
    except ValueError:
        return False
    return address in pool and address not in (pool.network_address, pool.broadcast_address)


def may_announce(node: Node) -> bool:
    """Whether a node may answer for load balancer addresses."""
    labels = (node.metadata.labels if node.metadata else None) or {}
    return node_is_ready(node) and EXCLUDED not in labels


def announcer(ip: str, service: Service, nodes: Iterable[Node], slices: Iterable[EndpointSlice]) -> str | None:
    """The node that answers for `ip`: the same one while it can, spread over the nodes by a hash, as MetalLB does.

    For externalTrafficPolicy Local only nodes with a ready endpoint of their own may: the others would drop.
    """
    names = {(node.metadata.name if node.metadata else None) or "" for node in nodes}
    if service.spec and service.spec.externalTrafficPolicy == "Local":
        names &= {e.nodeName or "" for s in slices for e in s.endpoints or () if not e.conditions or e.conditions.ready}
    return min(names, key=lambda name: sha256(f"{name}#{ip}".encode()).digest(), default=None)
