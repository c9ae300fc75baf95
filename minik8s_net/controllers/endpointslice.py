"""Endpoints of Services: EndpointSlices, the older Endpoints beside them, and slices for users' own Endpoints.

In Kubernetes: the endpointslice, endpoint and endpointslicemirroring controllers. Work per change is proportional
to the Services concerned: pods and Services are indexed by one label of the selector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightkube.resources.core_v1 import Endpoints, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ..api.errors import StatusError, is_not_found
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from .common import is_finished, is_ready, random_suffix, ref
from .endpoints import Entries, Group, Placed, mirrored, place, subsets

Key = tuple[str, str]  # namespace, name
Label = tuple[str, str, str]  # namespace, key, value
SERVICE_NAME, MANAGED_BY = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
OWN, MIRROR = "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
ENDPOINTS_BY = {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
# Endpoints have all addresses in one object, which makes each write expensive: they follow when the Service has been
# quiet for this many seconds per address, at the latest after LATEST. Who watches slices does not wait for them.
QUIET_PER_ADDRESS, LEAST_QUIET, LATEST = 0.001, 0.01, 1.0
HEADLESS = "service.kubernetes.io/headless"


class EndpointSliceController:
    """`run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._pods: dict[Label, dict[str, Pod]] = {}  # every label of every pod -> pods by uid
        self._services: dict[Label, set[Key]] = {}  # the first pair of each selector -> Services
        self._slices: dict[Key, dict[str, Placed]] = {}
        self._entries: dict[Key, Entries] = {}
        self._due: dict[Key, tuple[float, asyncio.TimerHandle]] = {}  # Endpoints to be written: by when, and when
        self._writing = False  # what our own writes tell us we know already
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
            self._slices.setdefault(key, {})[meta.name or ""] = Placed.of(change.new)
        if not self._writing:
            self._loop.mark(key)

    def _on_endpoints(self, change: Change[Endpoints]) -> None:
        if not self._writing:
            self._loop.mark(_key(change.new))

    # -- one Service ---------------------------------------------------------------------------------------------
    async def _reconcile(self, key: Key) -> None:
        namespace, name = key
        service = self.client.find(Service, name, namespace)
        if not _selects(service):
            self._entries.pop(key, None)
        if service is None or service.metadata is None or service.metadata.deletionTimestamp:
            self._remove(key, None)
            if service is None and (left := self.client.find(Endpoints, name, namespace)) and _is_ours(left):
                self._delete(Endpoints, name, namespace)
        elif service.spec is None or service.spec.type == "ExternalName":
            self._remove(key, None)
        elif service.spec.selector:
            content = self._groups(key, service)
            self._write_slices(key, service, content, OWN, _slice_labels(service))
            self._endpoints_later(key, sum(len(endpoints) for _, endpoints in content))
        else:
            self._mirror(key, service)

    def _endpoints_later(self, key: Key, addresses: int) -> None:
        loop = asyncio.get_running_loop()
        latest, timer = self._due.get(key, (loop.time() + LATEST, None))
        if timer is not None:
            timer.cancel()
        quiet = max(LEAST_QUIET, addresses * QUIET_PER_ADDRESS)
        self._due[key] = latest, loop.call_at(min(loop.time() + quiet, latest), self._endpoints_now, key)

    def _endpoints_now(self, key: Key) -> None:
        del self._due[key]
        self._older.mark(key)

    async def _reconcile_endpoints(self, key: Key) -> None:
        service = self.client.find(Service, key[1], key[0])
        if service is not None and _selects(service):
            self._write_endpoints(service, subsets(service, self._groups(key, service)))

    def _groups(self, key: Key, service: Service) -> list[Group]:
        return self._entries.setdefault(key, Entries()).groups(service, self._selected(service))

    @contextmanager
    def _as_writer(self) -> Iterator[None]:
        """Writing tells watchers synchronously: meanwhile, changes of slices and Endpoints are our own."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

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
        with self._as_writer():
            self._change_slices(key, existing, changed, needless, labels)
            self._create_slices(key, service, new, labels)
        for name in needless:
            self._delete(EndpointSlice, name, key[0])

    def _change_slices(
        self, key: Key, existing: list[Placed], changed: dict[str, Json], needless: list[str], labels: dict[str, str]
    ) -> None:
        for name, patch in changed.items():
            self.client.patch(EndpointSlice, name, patch, key[0])
        for found in existing:
            meta = found.slice.metadata
            if meta and meta.name not in needless and (meta.labels or {}) != labels:
                gone: Json = {k: None for k in (meta.labels or {}) if k not in labels}
                self.client.patch(EndpointSlice, meta.name or "", {"metadata": {"labels": {**gone, **labels}}}, key[0])

    def _create_slices(self, key: Key, service: Service, new: list[Json], labels: dict[str, str]) -> None:
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
            with self._as_writer():
                self.client.create(Endpoints, {**head, **tree})
            return
        old = (found.metadata.labels if found.metadata else None) or {}
        patch: Json = {"metadata": {"labels": {**{k: None for k in old if k not in labels}, **labels}}}
        with self._as_writer():
            self.client.patch(Endpoints, meta.name, {**patch, "subsets": wanted or None}, meta.namespace)

    def _remove(self, key: Key, keep: str | None) -> None:
        """Delete this Service's slices but those managed by `keep`."""
        for name, found in list(self._slices.get(key, {}).items()):
            meta = found.slice.metadata
            if ((meta.labels if meta else None) or {}).get(MANAGED_BY) != keep:
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


def _selects(service: Service | None) -> bool:
    """Whether it is there to stay, and its endpoints are the pods that its selector chooses."""
    if service is None or service.metadata is None or service.metadata.deletionTimestamp or service.spec is None:
        return False
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def _is_ours(endpoints: Endpoints) -> bool:
    labels = (endpoints.metadata.labels if endpoints.metadata else None) or {}
    return ENDPOINTS_BY.items() <= labels.items()
