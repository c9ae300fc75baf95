"""From a Service and its pods to endpoints: slices' content and the older Endpoints' subsets. Pure.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from socket import inet_aton

from lightkube.models.core_v1 import ServicePort
from lightkube.resources.core_v1 import Endpoints, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ..store.client import Json
from .common import is_finished, is_ready

PER_SLICE = 100
Group = tuple[list[Json], list[Json]]  # ports, endpoints that have them


class Entries:
    """What the pods of one Service became. A pod that is still the same object is not looked at again: of 500, one."""

    def __init__(self) -> None:
        self._service: Service | None = None
        self._known: dict[str, tuple[Pod, str, list[Json], Json]] = {}  # by uid: ports as text and value, endpoint

    def groups(self, service: Service, pods: Iterable[Pod]) -> list[Group]:
        """Endpoints by the ports their pods resolve to (a named targetPort may differ from pod to pod)."""
        before = self._known if service is self._service else {}
        self._service, self._known = service, {}
        found: dict[str, Group] = {}
        for pod in pods:
            if not _address(pod) or is_finished(pod):
                continue
            uid = (pod.metadata.uid if pod.metadata else "") or ""
            entry = before.get(uid)
            if entry is None or entry[0] is not pod:
                ports = _ports(service, pod)
                entry = pod, json.dumps(ports), ports, endpoint(service, pod)
            self._known[uid] = entry
            found.setdefault(entry[1], (entry[2], []))[1].append(entry[3])
        for _, endpoints in found.values():
            endpoints.sort(key=lambda e: inet_aton(e["addresses"][0]))
        return [found[key] for key in sorted(found)]


def _address(pod: Pod) -> str:
    return (pod.status.podIP if pod.status else "") or ""


def _ports(service: Service, pod: Pod) -> list[Json]:
    """Service ports as this pod has them; a name no container knows is left out."""
    ports = []
    for port in (service.spec.ports if service.spec else None) or ():
        number = target_port(port, pod)
        if number:
            entry: Json = {"name": port.name or "", "port": number, "protocol": port.protocol or "TCP"}
            if port.appProtocol:
                entry["appProtocol"] = port.appProtocol
            ports.append(entry)
    return ports


def target_port(port: ServicePort, pod: Pod) -> int | None:
    """The number a pod has for a Service's port, None if it names none so."""
    target = port.targetPort if port.targetPort is not None else port.port
    if isinstance(target, int):
        return target
    protocol = port.protocol or "TCP"
    spec = pod.spec
    sidecars = [c for c in (spec.initContainers if spec else None) or () if c.restartPolicy == "Always"]
    for container in [*(spec.containers if spec else ()), *sidecars]:
        for known in container.ports or ():
            if known.name == target and (known.protocol or "TCP") == protocol:
                return known.containerPort  # type: ignore[no-any-return]
    return None


def endpoint(service: Service, pod: Pod) -> Json:
    """One entry of an EndpointSlice. serving is readiness; ready is serving and not terminating."""
    assert pod.metadata and pod.spec and service.spec and service.metadata
    serving, terminating = is_ready(pod), pod.metadata.deletionTimestamp is not None
    published = bool(service.spec.publishNotReadyAddresses)
    entry: Json = {
        "addresses": [_address(pod)],
        "conditions": {
            "ready": published or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "uid": pod.metadata.uid,
        },
        "nodeName": pod.spec.nodeName,
    }
    if pod.spec.hostname and pod.spec.subdomain == service.metadata.name:
        entry["hostname"] = pod.spec.hostname
    return entry


def subsets(service: Service, content: list[Group]) -> list[Json]:
    """The same as Endpoints' subsets, where a terminating pod does not appear."""
    result = []
    for ports, endpoints in content:
        subset: Json = {}
        for entry in endpoints:
            conditions = entry["conditions"]
            if conditions["terminating"] and not conditions["ready"]:
                continue
            address: Json = {"ip": entry["addresses"][0], "targetRef": entry["targetRef"]}
            address |= {k: entry[k] for k in ("nodeName", "hostname") if entry.get(k)}
            subset.setdefault("addresses" if conditions["ready"] else "notReadyAddresses", []).append(address)
        if subset:
            named = [{k: v for k, v in port.items() if k != "name" or v} for port in ports]
            result.append({**subset, **({"ports": named} if named else {})})
    return result


def mirrored(endpoints: Endpoints) -> list[Group]:
    """A user's own Endpoints as slices' content."""
    result: list[Group] = []
    for subset in endpoints.subsets or ():
        ports = [{"name": p.name or "", **_plain(p.to_dict())} for p in subset.ports or ()]
        entries = []
        for ready, addresses in ((True, subset.addresses), (False, subset.notReadyAddresses)):
            for address in addresses or ():
                entry: Json = {"addresses": [address.ip], "conditions": {"ready": ready}}
                known = address.to_dict()
                entry |= {k: known[k] for k in ("hostname", "nodeName", "targetRef") if known.get(k)}
                entries.append(entry)
        result.append((ports, entries))
    return result


def _plain(port: Json) -> Json:
    return {"protocol": "TCP", **{k: v for k, v in port.items() if v is not None}}


@dataclass(frozen=True)
class Placed:
    """A stored slice, and its endpoints as JSON (made once per version, not at every look)."""

    slice: EndpointSlice
    endpoints: list[Json]

    @classmethod
    def of(cls, stored: EndpointSlice) -> Placed:
        return cls(stored, [_clean(e.to_dict()) for e in stored.endpoints or ()])

    @property
    def name(self) -> str:
        """The slice's."""
        return (self.slice.metadata.name if self.slice.metadata else "") or ""


def place(content: list[Group], existing: list[Placed]) -> tuple[list[Json], dict[str, Json], list[str]]:
    """Distribute over slices: (new ones, changed ones by name, names of needless ones).

    An endpoint stays in the slice it is in: a change of one pod rewrites one slice of at most 100.
    """
    new: list[Json] = []
    changed: dict[str, Json] = {}
    unused = {s.name: s for s in existing}
    for ports, endpoints in content or [([], [])]:
        left = {_identity(e): e for e in endpoints}
        mine = [s for s in unused.values() if _same_ports(s.slice, ports)]
        kept: list[tuple[Placed, list[Json]]] = []
        for found in mine:
            here = [left.pop(i) for e in found.endpoints if (i := _identity(e)) in left]
            kept.append((found, here))
        for _, here in kept:
            while left and len(here) < PER_SLICE:
                here.append(left.pop(next(iter(left))))
        for found, here in kept:
            if here or (not endpoints and found is kept[0][0]):
                del unused[found.name]
                if found.endpoints != here:
                    changed[found.name] = {"endpoints": here}
        rest = list(left.values())
        if not endpoints and not kept:
            new.append({"endpoints": [], "ports": ports})
        new += [{"endpoints": rest[i : i + PER_SLICE], "ports": ports} for i in range(0, len(rest), PER_SLICE)]
    return new, changed, list(unused)


def _identity(entry: Json) -> tuple[str, str]:
    return entry["addresses"][0], (entry.get("targetRef") or {}).get("uid") or ""


def _clean(entry: Json) -> Json:
    return {k: v for k, v in entry.items() if v is not None}


def _same_ports(found: EndpointSlice, ports: list[Json]) -> bool:
    have = [{"name": p.name or "", **_plain(p.to_dict())} for p in found.ports or ()]
    return sorted(map(json.dumps, map(_sorted, have))) == sorted(map(json.dumps, map(_sorted, ports)))


def _sorted(port: Json) -> Json:
    return dict(sorted(port.items()))
