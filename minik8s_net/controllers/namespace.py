"""Namespaces: what each is born with, and the emptying of one that is deleted.

In Kubernetes: the namespace, serviceaccount and root-ca-cert-publisher controllers.
https://kubernetes.io/docs/tasks/administer-cluster/namespaces/#deleting-a-namespace
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from lightkube.resources.core_v1 import ConfigMap, Namespace, ServiceAccount

from ..api.errors import StatusError, is_not_found
from ..api.kinds import all_kinds
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from ..store.events import timestamp

ROOT_CA = "kube-root-ca.crt"
ROOT_CA_NOTE = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)
LOOK_AGAIN = 0.1  # seconds, while pods of a deleted namespace end
FINALIZER = "kubernetes"


class NamespaceController:
    """`run` until cancelled. `ca_pem` is the cluster's CA certificate."""

    def __init__(self, client: Client, ca_pem: str) -> None:
        self.client, self.ca_pem = client, ca_pem
        self._loop: Reconciler[str] = Reconciler("namespace", self._reconcile)

    async def run(self) -> None:
        """Until cancelled."""
        ends = [
            self.client.watch(Namespace, self._on_namespace),
            self.client.watch(ServiceAccount, self._on_default),
            self.client.watch(ConfigMap, self._on_default),
        ]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _on_namespace(self, change: Change[Namespace]) -> None:
        if change.type != "DELETED" and change.new.metadata:
            self._loop.mark(change.new.metadata.name or "")

    def _on_default(self, change: Change[Any]) -> None:
        meta = change.new.metadata
        if change.type != "ADDED" and meta.name in ("default", ROOT_CA):
            self._loop.mark(meta.namespace)

    async def _reconcile(self, name: str) -> None:
        namespace = self.client.find(Namespace, name)
        if namespace is None or namespace.metadata is None:
            return
        if namespace.metadata.deletionTimestamp is None:
            self._furnish(name)
            return
        await self._empty(name)

    def _furnish(self, name: str) -> None:
        if self.client.find(ServiceAccount, "default", name) is None:
            account = {"apiVersion": "v1", "kind": "ServiceAccount"}
            self.client.create(ServiceAccount, {**account, "metadata": {"name": "default", "namespace": name}})
        found = self.client.find(ConfigMap, ROOT_CA, name)
        data = {"ca.crt": self.ca_pem}
        if found is None:
            meta = {
                "name": ROOT_CA,
                "namespace": name,
                "annotations": {"kubernetes.io/description": ROOT_CA_NOTE},
            }
            self.client.create(ConfigMap, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})
        elif found.data != data:
            self.client.patch(ConfigMap, ROOT_CA, {"data": data}, name)

    async def _empty(self, name: str) -> None:
        """Delete everything in it; when nothing is left, take our finalizer off. Events last: pods' ends make some."""
        left = 0
        for kind in _contents():
            objects = self.client.list(kind, name)
            left += len(objects)
            for obj in objects:
                if obj.metadata and obj.metadata.deletionTimestamp is None:
                    self._delete(kind, obj.metadata.name or "", name)
            await asyncio.sleep(0)  # a full namespace must not hold up the event loop
        left = sum(len(self.client.list(kind, name)) for kind in _contents()) if left else 0
        if left:
            self._say_what_remains(name)
            self._loop.mark_after(name, LOOK_AGAIN)
            return
        self._finalize(name)

    def _delete(self, kind: Any, name: str, namespace: str) -> None:
        try:
            self.client.delete(kind, name, namespace)
        except StatusError as error:
            if not is_not_found(error) and error.code != 409:
                raise

    def _say_what_remains(self, name: str) -> None:
        """Conditions: how many objects of which kinds are left, and which finalizers hold some of them."""
        kinds: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        for kind in _contents():
            for obj in self.client.list(kind, name):
                kinds[_resource(kind)] += 1
                finalizers.update((obj.metadata.finalizers if obj.metadata else None) or ())
        left = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(kinds.items()))
        held = ", ".join(f"{entry} in {count} resource instances" for entry, count in sorted(finalizers.items()))
        namespace = self.client.find(Namespace, name)
        old = (namespace.status.conditions if namespace and namespace.status else None) or ()
        known = {c.type: c.to_dict() for c in old}
        remaining = _condition(
            "NamespaceContentRemaining", left, "SomeResourcesRemain", "Some resources are remaining: {}",
            ("ContentRemoved", "All content successfully removed"),
        )  # fmt: skip
        holding = _condition(
            "NamespaceFinalizersRemaining", held, "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: {}",
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        )  # fmt: skip
        for entry in (remaining, holding):
            same = known.get(entry["type"], {})
            stays = same.get("status") == entry["status"] and same.get("lastTransitionTime")
            entry["lastTransitionTime"] = stays or timestamp()
        self.client.patch(Namespace, name, {"status": {"conditions": [remaining, holding]}}, subresource="status")

    def _finalize(self, name: str) -> None:
        namespace = self.client.find(Namespace, name)
        if namespace is None or namespace.spec is None:
            return
        rest = [f for f in namespace.spec.finalizers or () if f != FINALIZER]
        try:
            self.client.replace(
                Namespace, {**namespace.to_dict(), "spec": {"finalizers": rest}}, subresource="finalize"
            )
        except StatusError as error:
            if not is_not_found(error):
                raise


def _condition(kind: str, what: str, reason: str, message: str, none: tuple[str, str]) -> Json:
    if what:
        return {"type": kind, "status": "True", "reason": reason, "message": message.format(what)}
    return {"type": kind, "status": "False", "reason": none[0], "message": none[1]}


def _resource(kind: Any) -> str:
    """`pods.`, `deployments.apps`."""
    info = kind._api_info
    return f"{info.plural}.{info.resource.group}"


def _contents() -> list[Any]:
    """Every namespaced kind there is, Events last."""
    kinds = [k.resource for k in all_kinds() if k.namespaced and k.storable and k.group != "events.k8s.io"]
    return sorted(kinds, key=lambda kind: kind.__name__ == "Event")
