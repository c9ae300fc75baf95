"""Endpoints of Services: EndpointSlices, the older Endpoints beside them, and slices for users' own Endpoints.

In Kubernetes: the endpointslice, endpoint and endpointslicemirroring controllers. Work per change is proportional
to the Services concerned: pods and Services are indexed by one label of the selector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from lightkube.resources.core_v1 import Endpoints, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ..api.errors import StatusError, is_not_found
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from .common import is_finished, is_ready, random_suffix, ref
from .endpoints import Group, groups, mirrored, place, subsets

Key = tuple[str, str]  # namespace, name
Label = tuple[str, str, str]  # namespace, key, value
SERVICE_NAME, MANAGED_BY = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
OWN, MIRROR = "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
ENDPOINTS_BY = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
LATER = 0.01  # seconds: Endpoints have all addresses in one object; who watches slices does not wait for it
HEADLESS = "service.kubernetes.io/headless"


class EndpointSliceController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._pods: dict[Label, dict[str, Pod]] = {}  # every label of every pod -> pods by uid
        self._services: dict[Label, set[Key]] = {}  # the first pair of each selector -> Services
        self._slices: dict[Key, dict[str, EndpointSlice]] = {}
        self._loop: Reconciler[Key] = Reconciler("endpointslice", self._reconcile)
        self._older: Reconciler[Key] = Reconciler("endpoints", self._reconcile_endpoints)

    async def run(self) -> None:
        """Until cancelled."""
        ends: list[Callable[[], None]] = [
            self.client.watch(EndpointSlice, self._on_slice),
            self.client.watch(Pod, self._on_pod),
            self.client.watch(Service, self._on_service),
            self.client.watch(Endpoints, self._on_endpoints),
        ]
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._loop.run())
                loops.create_task(self._older.run())
        finally:
            for end in ends:
                end()

    # -- what marks a Service --------------------------------------------------------------------------------------
    def _on_pod(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        assert new.metadata
        uid = new.metadata.uid or ""
        if old is not None:
            for label in _labels(old):
                self._pods.get(label, {}).pop(uid, None)
        for label in _labels(new):
            if change.type == "DELETED":
                self._pods.get(label, {}).pop(uid, None)
            else:
                self._pods.setdefault(label, {})[uid] = new
        if old is not None and change.type == "MODIFIED" and _same_endpoint(old, new):
            return
        for pod in (old, new):
            for label in _labels(pod) if pod is not None else ():
                for key in self._services.get(label, ()):
                    self._loop.mark(key)

    def _on_service(self, change: Change[Service]) -> None:
        key = _key(change.new)
        for service, add in ((change.old, False), (change.new, change.type != "DELETED")):
            if service is not None and (label := _selector_label(service)):
                keys = self._services.setdefault(label, set())
                (keys.add if add else keys.discard)(key)
        self._loop.mark(key)

    def _on_slice(self, change: Change[EndpointSlice]) -> None:
        meta = change.new.metadata
        labels = (meta.labels if meta else None) or {}
        if meta is None or labels.get(MANAGED_BY) not in (OWN, MIRROR):
            return
        key = (meta.namespace or "", labels.get(SERVICE_NAME, ""))
        if change.type == "DELETED":
            self._slices.get(key, {}).pop(meta.name or "", None)
        else:
            self._slices.setdefault(key, {})[meta.name or ""] = change.new
        self._loop.mark(key)

    def _on_endpoints(self, change: Change[Endpoints]) -> None:
        self._loop.mark(_key(change.new))

    # -- one Service ---------------------------------------------------------------------------------------------
    async def _reconcile(self, key: Key) -> None:
        namespace, name = key
        service = self.client.find(Service, name, namespace)
        if service is None or service.metadata is None or service.metadata.deletionTimestamp:
            self._remove(key, None)
            if service is None and (left := self.client.find(Endpoints, name, namespace)) and _is_ours(left):
                self._delete(Endpoints, name, namespace)
            return
        if service.spec is None or service.spec.type == "ExternalName":
            self._remove(key, None)
        elif service.spec.selector:
            self._write_slices(key, service, groups(service, self._selected(service)), OWN, _slice_labels(service))
            self._older.mark_after(key, LATER)
        else:
            self._mirror(key, service)

    async def _reconcile_endpoints(self, key: Key) -> None:
        service = self.client.find(Service, key[1], key[0])
        gone = service is None or service.metadata is None or service.metadata.deletionTimestamp
        if not gone and service and service.spec and service.spec.selector and service.spec.type != "ExternalName":
            self._write_endpoints(service, subsets(service, groups(service, self._selected(service))))

    def _selected(self, service: Service) -> list[Pod]:
        assert service.metadata and service.spec and service.spec.selector
        namespace = service.metadata.namespace or ""
        candidates = [self._pods.get((namespace, k, v), {}) for k, v in service.spec.selector.items()]
        smallest = min(candidates, key=len)
        wanted = service.spec.selector.items()
        return [p for p in smallest.values() if wanted <= ((p.metadata.labels if p.metadata else None) or {}).items()]

    def _mirror(self, key: Key, service: Service) -> None:
        endpoints = self.client.find(Endpoints, key[1], key[0])
        labels = (endpoints.metadata.labels if endpoints and endpoints.metadata else None) or {}
        if endpoints is None or labels.get(SKIP_MIRROR) == "true" or _is_ours(endpoints):
            self._remove(key, None)
            return
        self._write_slices(key, service, mirrored(endpoints), MIRROR, labels)

    def _write_slices(self, key: Key, service: Service, content: list[Group], by: str, labels: dict[str, str]) -> None:
        self._remove(key, by)
        existing = list(self._slices.get(key, {}).values())
        new, changed, needless = place(content, existing)
        labels = {**labels, MANAGED_BY: by, SERVICE_NAME: key[1]}
        for name, patch in changed.items():
            self.client.patch(EndpointSlice, name, patch, key[0])
        for found in existing:
            meta = found.metadata
            if meta and meta.name not in needless and (meta.labels or {}) != labels:
                gone: Json = {k: None for k in (meta.labels or {}) if k not in labels}
                self.client.patch(EndpointSlice, meta.name or "", {"metadata": {"labels": {**gone, **labels}}}, key[0])
        for body in new:
            meta_tree = {
                "name": f"{key[1]}-{random_suffix()}",
                "generateName": f"{key[1]}-",
                "namespace": key[0],
                "labels": labels,
                "ownerReferences": [ref(service)],
            }
            head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
            self.client.create(EndpointSlice, {**head, "metadata": meta_tree, **body})
        for name in needless:
            self._delete(EndpointSlice, name, key[0])

    def _write_endpoints(self, service: Service, wanted: list[Json]) -> None:
        meta = service.metadata
        assert meta and meta.name and service.spec
        labels = {**(meta.labels or {}), **ENDPOINTS_BY}
        if service.spec.clusterIP == "None":
            labels[HEADLESS] = ""
        found = self.client.find(Endpoints, meta.name, meta.namespace)
        if found is None:
            head = {"apiVersion": "v1", "kind": "Endpoints"}
            tree = {
                "metadata": {"name": meta.name, "namespace": meta.namespace, "labels": labels},
                "subsets": wanted,
            }
            self.client.create(Endpoints, {**head, **tree})
            return
        old = (found.metadata.labels if found.metadata else None) or {}
        patch: Json = {"metadata": {"labels": {**{k: None for k in old if k not in labels}, **labels}}}
        self.client.patch(Endpoints, meta.name, {**patch, "subsets": wanted or None}, meta.namespace)

    def _remove(self, key: Key, keep: str | None) -> None:
        """Delete this Service's slices but those managed by `keep`."""
        for name, found in list(self._slices.get(key, {}).items()):
            labels = (found.metadata.labels if found.metadata else None) or {}
            if labels.get(MANAGED_BY) != keep:
                self._delete(EndpointSlice, name, key[0])
        if key in self._slices and not self._slices[key]:
            del self._slices[key]

    def _delete(self, kind: type[EndpointSlice] | type[Endpoints], name: str, namespace: str) -> None:
        try:
            self.client.delete(kind, name, namespace)
        except StatusError as error:
            if not is_not_found(error):
                raise


def _key(obj: Service | Endpoints) -> Key:
    return (
        (obj.metadata.namespace if obj.metadata else "") or "",
        (obj.metadata.name if obj.metadata else "") or "",
    )


def _labels(pod: Pod) -> Iterator[Label]:
    if pod.metadata:
        for key, value in (pod.metadata.labels or {}).items():
            yield (pod.metadata.namespace or "", key, value)


def _selector_label(service: Service) -> Label | None:
    selector = service.spec.selector if service.spec else None
    if not selector or not service.metadata:
        return None
    key = min(selector)
    return (service.metadata.namespace or "", key, selector[key])


def _slice_labels(service: Service) -> dict[str, str]:
    labels = dict((service.metadata.labels if service.metadata else None) or {})
    if service.spec and service.spec.clusterIP == "None":
        labels[HEADLESS] = ""
    return labels


def _same_endpoint(old: Pod, new: Pod) -> bool:
    """True where nothing an endpoint shows has changed."""
    assert old.metadata and new.metadata and old.spec and new.spec
    before, after = (((p.status.podIP if p.status else None), is_ready(p), is_finished(p)) for p in (old, new))
    return (
        before == after
        and old.metadata.labels == new.metadata.labels
        and (old.metadata.deletionTimestamp is None) == (new.metadata.deletionTimestamp is None)
        and old.spec.nodeName == new.spec.nodeName
    )


def _is_ours(endpoints: Endpoints) -> bool:
    labels = (endpoints.metadata.labels if endpoints.metadata else None) or {}
    return ENDPOINTS_BY.items() <= labels.items()
