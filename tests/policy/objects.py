"""Pods, Namespaces and NetworkPolicies in a few words, and the client that an index watches them through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightkube.resources.core_v1 import Namespace, Pod
from lightkube.resources.networking_v1 import NetworkPolicy

from minik8s_net.store.client import Change


def namespace(name: str, **labels: str) -> Namespace:
    return Namespace.from_dict({"metadata": {"name": name, "labels": {"ns": name, **labels}}})


def pod(
    key: str, ip: str, node: str, labels: dict[str, str] | None = None, ports: tuple[tuple[str, str, int], ...] = (),
    uid: str | None = None, phase: str = "Running",
) -> Pod:  # fmt: skip
    """`key` is namespace/name; ports are (name, protocol, number)."""
    ns, name = key.split("/")
    listed = [{"name": n, "protocol": p, "containerPort": number} for n, p, number in ports]
    container = {"name": "c", "image": "agnhost", "ports": listed}
    labels = {"pod": name} if labels is None else labels
    metadata = {"name": name, "namespace": ns, "uid": uid or f"uid-{key}-{ip}", "labels": labels}
    spec = {"nodeName": node, "containers": [container]}
    return Pod.from_dict({"metadata": metadata, "spec": spec, "status": {"podIP": ip, "phase": phase}})


def policy(key: str, selector: dict[str, Any] | None = None, **spec: Any) -> NetworkPolicy:
    """`selector` is the podSelector; `types` for policyTypes."""
    ns, name = key.split("/")
    if "types" in spec:
        spec["policyTypes"] = spec.pop("types")
    spec["podSelector"] = selector or {}
    return NetworkPolicy.from_dict({"metadata": {"name": name, "namespace": ns}, "spec": spec})


class Objects:
    """As much of store.client.Client as an index uses: watches, told of every `put` and `drop` at once."""

    def __init__(self) -> None:
        self.objects: dict[tuple[type, str, str], Any] = {}
        self._watchers: list[tuple[type, Callable[[Change[Any]], None]]] = []

    def put(self, *objects: Any) -> None:
        for obj in objects:
            key = (type(obj), obj.metadata.namespace or "", obj.metadata.name)
            old = self.objects.get(key)
            self.objects[key] = obj
            self._tell(Change("MODIFIED" if old else "ADDED", obj, old))

    def drop(self, *objects: Any) -> None:
        for obj in objects:
            gone = self.objects.pop((type(obj), obj.metadata.namespace or "", obj.metadata.name))
            self._tell(Change("DELETED", gone))

    def of(self, kind: type) -> list[Any]:
        return [obj for (k, _, _), obj in self.objects.items() if k is kind]

    def watch(self, kind: type, handler: Callable[[Change[Any]], None]) -> Callable[[], None]:
        for obj in self.of(kind):
            handler(Change("ADDED", obj))
        entry = (kind, handler)
        self._watchers.append(entry)
        return lambda: self._watchers.remove(entry)

    def _tell(self, change: Change[Any]) -> None:
        for kind, handler in list(self._watchers):
            if type(change.new) is kind:
                handler(change)
