"""Who has which cluster IP and node port. Rebuilt from the Services at start, so it is as durable as they are.

Both ranges have two bands (KEP-3070, KEP-3668): addresses the cluster chooses come from the upper one while it lasts,
so that the lower one stays free for those people choose. The choice starts at a hash of namespace/name: the same
Service gets the same address in every cluster, and a deleted one's address is not at once another's.
https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from zlib import crc32

from ..api.errors import FieldError, Go, bad_value
from ..config import ClusterConfig, is_ipv4

Json = dict[str, Any]
NODE_PORTS = range(30000, 32768)


class Full(Exception):
    """No number of the range is free."""


class Band:
    """A range of numbers, each with at most one owner."""

    def __init__(self, numbers: range, static: int) -> None:
        """`static`: how many of the first numbers are given out unasked only when the rest is used up."""
        self.numbers = numbers
        self._choices = (numbers[static:], numbers[:static])
        self._owner: dict[int, str] = {}

    def owner(self, number: int) -> str | None:
        """Who holds an address or port ("namespace/name"), None if it is free."""
        return self._owner.get(number)

    def choose(self, owner: str, taken: Sequence[int] = (), seed: str = "") -> int:
        """A free number, not in `taken`; nothing is reserved yet. Raises Full."""
        for band in self._choices:
            start = crc32((seed or owner).encode()) % len(band) if band else 0
            for step in range(len(band)):
                number = band[(start + step) % len(band)]
                if number not in self._owner and number not in taken:
                    return number
        raise Full

    def set(self, owner: str, numbers: Iterable[int], instead_of: Iterable[int] = ()) -> None:
        """`owner` now has `numbers`; those of `instead_of` that it no longer has are free."""
        numbers = set(numbers)
        for number in set(instead_of) - numbers:
            if self._owner.get(number) == owner:
                del self._owner[number]
        self._owner.update(dict.fromkeys(numbers, owner))


class ServiceAllocator:
    """One per cluster. Call `allocate` last before the write: what it reserves is the Service's from then on."""

    def __init__(self, config: ClusterConfig, services: Iterable[Json]) -> None:
        network = IPv4Network(config.service_cidr)
        self.network = network
        first, last = int(network.network_address) + 1, int(network.broadcast_address)
        self._addresses = Band(range(first, last), min(max(16, network.num_addresses // 16), 256))
        self._ports = Band(NODE_PORTS, min(max(16, len(NODE_PORTS) // 32), 128))
        for service in services:
            self._addresses.set(_owner(service), _addresses(service))
            self._ports.set(_owner(service), _ports(service))

    def allocate(self, new: Json, old: Json | None = None) -> list[FieldError]:
        """Fill clusterIP(s), node ports and healthCheckNodePort of `new`; reserve them, and free what `old` had more.

        With errors (in the API server's words) nothing is reserved or freed. `old` is None on creation.
        """
        owner = _owner(new)
        errors = [*self._allocate_address(new, owner), *self._allocate_ports(new, owner)]
        if not errors:
            self._addresses.set(owner, _addresses(new), _addresses(old) if old else ())
            self._ports.set(owner, _ports(new), _ports(old) if old else ())
        return errors

    def release(self, gone: Json, kept: Json | None = None) -> None:
        """The Service is gone, or is `kept` after all. May be called more than once."""
        self._addresses.set(_owner(gone), _addresses(kept) if kept else (), _addresses(gone))
        self._ports.set(_owner(gone), _ports(kept) if kept else (), _ports(gone))

    def _allocate_address(self, new: Json, owner: str) -> list[FieldError]:
        spec = new["spec"]
        given = _cluster_ip(spec)
        if not needs_cluster_ip(spec) or given == "None":
            return []
        if not given:
            try:
                given = str(IPv4Address(self._addresses.choose(owner)))
            except Full:
                return [_internal("spec.clusterIPs", "failed to allocate a serviceIP: range is full")]
        elif is_ipv4(given):
            number, why = int(IPv4Address(given)), ""
            if number not in self._addresses.numbers:
                why = f"the provided IP ({given}) is not in the valid range. The range of valid IPs is {self.network}"
            elif self._addresses.owner(number) not in (None, owner):
                why = "provided IP is already allocated"
            if why:
                given_list = Go.strings(spec.get("clusterIPs") or [given])
                return [bad_value("spec.clusterIPs", given_list, f"failed to allocate IP {given}: {why}")]
        spec["clusterIP"], spec["clusterIPs"] = given, [given]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        return []

    def _allocate_ports(self, new: Json, owner: str) -> list[FieldError]:
        spec, errors = new["spec"], []
        taken = _ports(new)
        for i, port in enumerate(spec.get("ports") or []):
            path = f"spec.ports[{i}].nodePort"
            if port.get("nodePort"):
                errors += self._check_port(path, port["nodePort"], owner)
            elif needs_node_port(spec):
                # One number may serve both protocols, and does for a port that is served in both.
                twin = next((q["nodePort"] for q in spec["ports"][:i] if _twins(q, port) and q.get("nodePort")), None)
                try:
                    seed = f"{owner}:{port.get('name', '')}"
                    port["nodePort"] = twin or self._ports.choose(owner, taken, seed)
                except Full:
                    return [*errors, _internal(path, "failed to allocate a nodePort: range is full")]
                taken.append(port["nodePort"])
        if needs_health_check_port(spec):
            if spec.get("healthCheckNodePort"):
                errors += self._check_port("spec.healthCheckNodePort", spec["healthCheckNodePort"], owner)
            else:
                try:
                    spec["healthCheckNodePort"] = self._ports.choose(owner, taken, f"{owner} health")
                except Full:
                    path = "spec.healthCheckNodePort"
                    errors.append(_internal(path, "failed to allocate a nodePort: range is full"))
        return errors

    def _check_port(self, path: str, port: int, owner: str) -> list[FieldError]:
        if port not in NODE_PORTS:
            allowed = f"{NODE_PORTS[0]}-{NODE_PORTS[-1]}"
            why = f"provided port is not in the valid range. The range of valid ports is {allowed}"
            return [bad_value(path, port, why)]
        if self._ports.owner(port) not in (None, owner):
            return [bad_value(path, port, "provided port is already allocated")]
        return []


# -- what a type needs ------------------------------------------------------------------------------------------------
def needs_cluster_ip(spec: Json) -> bool:
    """Whether a Service spec gets addresses: not headless, not ExternalName."""
    return bool(spec.get("type", "ClusterIP") != "ExternalName")


def needs_node_port(spec: Json) -> bool:
    """Whether a Service spec gets node ports."""
    if spec.get("type") == "LoadBalancer":
        return bool(spec.get("allocateLoadBalancerNodePorts", True))
    return bool(spec.get("type") == "NodePort")


def needs_health_check_port(spec: Json) -> bool:
    """Whether a Service spec gets a health check node port: LoadBalancer, Local."""
    return bool(spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local")


def _twins(one: Json, other: Json) -> bool:
    return bool(one["port"] == other["port"]) and one.get("protocol", "TCP") != other.get("protocol", "TCP")


def _owner(service: Json) -> str:
    return f"{service['metadata'].get('namespace', 'default')}/{service['metadata'].get('name', '')}"


def _cluster_ip(spec: Json) -> str:
    given: Sequence[str] = spec.get("clusterIPs") or ()
    return str(spec.get("clusterIP") or (given[0] if given else ""))


def _addresses(service: Json) -> list[int]:
    ip = _cluster_ip(service["spec"])
    return [int(IPv4Address(ip))] if is_ipv4(ip) else []


def _node_ports(spec: Json) -> list[int]:
    return [p["nodePort"] for p in spec.get("ports") or [] if p.get("nodePort")]


def _ports(service: Json) -> list[int]:
    health = service["spec"].get("healthCheckNodePort")
    return [*_node_ports(service["spec"]), *([health] if health else [])]


def _internal(path: str, detail: str) -> FieldError:
    return FieldError(path, "InternalError", None, detail)
