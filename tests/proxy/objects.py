"""Services and EndpointSlices in a few words, and the client that a proxier watches them through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from minik8s_net.proxy.model import SERVICE_NAME
from minik8s_net.store.client import Change


def service(name: str, ip: str, *ports: tuple[Any, ...], **spec: Any) -> Service:
    """Ports are (name, protocol, port) or (name, protocol, port, nodePort)."""
    ports = ports or (("http", "TCP", 80),)
    listed = [dict(zip(("name", "protocol", "port", "nodePort"), p, strict=False)) for p in ports]
    status = spec.pop("status", {"loadBalancer": {}})
    spec = {"clusterIP": ip, "clusterIPs": [ip], "ports": listed, "type": "ClusterIP", **spec}
    annotations = spec.pop("annotations", {})
    metadata = {"name": name, "namespace": "default", "annotations": annotations}
    return Service.from_dict({"metadata": metadata, "spec": spec, "status": status})


def slice_of(name: str, *endpoints: tuple[str, str] | tuple[str, str, str], **ports: Any) -> EndpointSlice:
    """Endpoints are (ip, node) or (ip, node, state); state: ready, notready, terminating, gone. ports: name=number."""
    states = {
        "ready": (True, True, False),
        "notready": (False, False, False),
        "terminating": (False, True, True),
        "gone": (False, False, True),
    }
    listed = []
    for ip, node, *rest in endpoints:
        conditions = dict(zip(("ready", "serving", "terminating"), states[rest[0] if rest else "ready"], strict=True))
        listed.append({"addresses": [ip], "nodeName": node, "conditions": conditions})
    protocol = ports.pop("protocol", "TCP")
    numbers = [{"name": n, "port": p, "protocol": protocol} for n, p in (ports or {"http": 8080}).items()]
    metadata = {"name": f"{name}-1", "namespace": "default", "labels": {SERVICE_NAME: name}}
    return EndpointSlice.from_dict({"metadata": metadata, "addressType": "IPv4", "endpoints": listed, "ports": numbers})


class Objects:
    """As much of store.client.Client as a proxier uses: watches, told of every `put` and `drop` at once."""

    def __init__(self) -> None:
        self._objects: dict[tuple[type, str], Any] = {}
        self._watchers: list[tuple[type, Callable[[Change[Any]], None]]] = []

    def __contains__(self, key: tuple[type, str]) -> bool:
        return key in self._objects

    def __iter__(self) -> Iterator[tuple[type, str]]:
        return iter(list(self._objects))

    def put(self, *objects: Any) -> None:
        for obj in objects:
            key = (type(obj), obj.metadata.name)
            old = self._objects.get(key)
            self._objects[key] = obj
            self._tell(Change("MODIFIED" if old else "ADDED", obj, old))

    def drop(self, kind: type, name: str) -> None:
        self._tell(Change("DELETED", self._objects.pop((kind, name))))

    def watch(self, kind: type, handler: Callable[[Change[Any]], None]) -> Callable[[], None]:
        for (of, _), obj in self._objects.items():
            if of is kind:
                handler(Change("ADDED", obj))
        entry = (kind, handler)
        self._watchers.append(entry)
        return lambda: self._watchers.remove(entry)

    def _tell(self, change: Change[Any]) -> None:
        for kind, handler in list(self._watchers):
            if type(change.new) is kind:
                handler(change)
