"""Services: addresses and node ports are allocated, kept over updates that leave them out, and given back.

https://kubernetes.io/docs/reference/networking/virtual-ips/#ip-address-objects
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...api.errors import FieldError
from .strategy import Json, Strategy

if TYPE_CHECKING:
    from .registry import Registry

NODE_PORT_TYPES = ("NodePort", "LoadBalancer")
CLUSTER_IP_FIELDS = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")


class ServiceStrategy(Strategy):
    """Addresses and ports: given, kept over updates, and given back."""

    returns_object = True

    def __init__(self, registry: Registry) -> None:
        from ..allocators import ServiceAllocator

        super().__init__(registry)
        existing = [version.tree for version in registry.store.list("services")]
        self._allocator = ServiceAllocator(registry.config, existing)

    def prepare_update(self, new: Json, old: Json) -> None:
        """Keeps addresses and node ports that the new spec leaves out and still needs."""
        spec, before = new["spec"], old["spec"]
        if spec["type"] != "ExternalName" and before["type"] != "ExternalName":
            _keep_addresses(spec, before)
        if spec["type"] in NODE_PORT_TYPES and before["type"] in NODE_PORT_TYPES:
            _keep_node_ports(spec, before)
        _drop_unfit(spec, before)

    def allocate(self, new: Json, old: Json | None) -> list[FieldError]:
        """Takes what `new` needs and `old` has not; errors where somebody else has it."""
        return self._allocator.allocate(new, old)

    def release(self, gone: Json, kept: Json | None = None) -> None:
        """Gives back what `gone` had and `kept` has not."""
        self._allocator.release(gone, kept)


def _keep_addresses(spec: Json, before: Json) -> None:
    """A client that leaves the address out keeps it; one that changes `clusterIP` alone means the list, too."""
    if not spec.get("clusterIP") and not spec.get("clusterIPs"):
        for field in ("clusterIP", "clusterIPs"):
            if field in before:
                spec[field] = before[field]
    elif spec.get("clusterIP") != before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"], *spec.get("clusterIPs", [])[1:]]


def _keep_node_ports(spec: Json, before: Json) -> None:
    taken = {_port_key(port): port["nodePort"] for port in before.get("ports", []) if port.get("nodePort")}
    given = {port.get("nodePort") for port in spec.get("ports", [])}
    for port in spec.get("ports", []):
        known = taken.get(_port_key(port))
        if not port.get("nodePort") and known and known not in given:
            port["nodePort"] = known
    if before.get("healthCheckNodePort") and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before["healthCheckNodePort"]


def _drop_unfit(spec: Json, before: Json) -> None:
    """Fields that only the former type had go, unless the client changed them (which validation then refuses)."""
    if spec["type"] == "ExternalName" != before["type"]:
        for field in CLUSTER_IP_FIELDS:
            if spec.get(field) == before.get(field):
                spec.pop(field, None)
    if spec["type"] not in NODE_PORT_TYPES and before["type"] in NODE_PORT_TYPES:
        known = {_port_key(port): port.get("nodePort") for port in before.get("ports", [])}
        for port in spec.get("ports", []):
            if port.get("nodePort") == known.get(_port_key(port)):
                port.pop("nodePort", None)
        for field in ("externalTrafficPolicy", "allocateLoadBalancerNodePorts", "healthCheckNodePort"):
            if spec.get(field) == before.get(field) and not (field.startswith("external") and spec.get("externalIPs")):
                spec.pop(field, None)


def _port_key(port: Json) -> tuple[Any, Any]:
    return port.get("protocol", "TCP"), port.get("port")
