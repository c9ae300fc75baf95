"""Garbage collection: what has lost its last owner goes; foreground and orphan deletion are brought to their end.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..api.errors import StatusError, is_not_found
from ..api.kinds import Kind, all_kinds, by_kind
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
Item = tuple[str, str, str, str]  # apiVersion, kind, namespace, name


class GarbageCollector:
    """Watches every kind that can own or be owned. `run` until cancelled."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._uids: dict[str, Item] = {}  # every object there is
        self._children: dict[str, set[str]] = {}  # owner's uid -> uids
        self._owners: dict[str, set[str]] = {}  # uid -> owners' uids
        self._loop: Reconciler[str] = Reconciler("garbage", self._reconcile)

    async def run(self) -> None:
        """Until cancelled."""
        ends: list[Callable[[], None]] = []
        for kind in all_kinds():
            if kind.storable and kind.plural != "events":
                ends.append(self.client.watch(kind.resource, self._handler(kind)))
                await asyncio.sleep(0)
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _handler(self, kind: Kind) -> Callable[[Change[Any]], None]:
        def handle(change: Change[Any]) -> None:
            meta = change.new.metadata
            uid = meta.uid or ""
            owners = {o.uid for o in meta.ownerReferences or ()} if change.type != "DELETED" else set()
            self._own(uid, owners)
            if change.type == "DELETED":
                self._uids.pop(uid, None)
                for child in self._children.get(uid, ()):
                    self._loop.mark(child)
            else:
                self._uids[uid] = (kind.api_version, kind.kind, meta.namespace or "", meta.name or "")
                if owners or meta.deletionTimestamp:
                    self._loop.mark(uid)

        return handle

    def _own(self, uid: str, owners: set[str]) -> None:
        before = self._owners.get(uid, set())
        for gone in before - owners:
            self._children.get(gone, set()).discard(uid)
            if not self._children.get(gone):
                self._children.pop(gone, None)
            self._loop.mark(gone)  # it may have waited for this child
        for new in owners - before:
            self._children.setdefault(new, set()).add(uid)
        if owners:
            self._owners[uid] = owners
        else:
            self._owners.pop(uid, None)

    async def _reconcile(self, uid: str) -> None:
        found = self._find(uid)
        if found is None:
            return
        kind, obj = found
        finalizers = obj.metadata.finalizers or []
        if obj.metadata.deletionTimestamp and ORPHAN in finalizers:
            self._orphan_children(uid)
            self._take_off(kind, obj, ORPHAN)
        elif obj.metadata.deletionTimestamp and FOREGROUND in finalizers:
            self._delete_children(uid)
            if not self._blocking(uid):
                self._take_off(kind, obj, FOREGROUND)
        elif obj.metadata.ownerReferences and obj.metadata.deletionTimestamp is None:
            self._collect(kind, obj)

    def _find(self, uid: str) -> tuple[Kind, Any] | None:
        item = self._uids.get(uid)
        kind = by_kind(item[0], item[1]) if item else None
        if item is None or kind is None:
            return None
        obj: Any = self.client.find(kind.resource, item[3], item[2] or None)
        return (kind, obj) if obj is not None and obj.metadata.uid == uid else None

    def _collect(self, kind: Kind, obj: Any) -> None:
        """Delete what has no owner left; drop single dead references otherwise."""
        alive = [o for o in obj.metadata.ownerReferences if self._exists(o, obj.metadata.namespace)]
        if not alive:
            self._delete(kind, obj)
        elif len(alive) < len(obj.metadata.ownerReferences):
            self._write(kind, obj, {"ownerReferences": [o.to_dict() for o in alive]})

    def _exists(self, owner: Any, namespace: str | None) -> bool:
        if owner.uid in self._uids:
            return True
        kind = by_kind(owner.apiVersion, owner.kind)
        if kind is None:
            return True  # a kind we don't serve: not ours to judge
        found: Any = self.client.find(kind.resource, owner.name, namespace if kind.namespaced else None)
        return found is not None and found.metadata.uid == owner.uid

    def _orphan_children(self, uid: str) -> None:
        for child in list(self._children.get(uid, ())):
            if found := self._find(child):
                kind, obj = found
                rest = [o.to_dict() for o in obj.metadata.ownerReferences or () if o.uid != uid]
                self._write(kind, obj, {"ownerReferences": rest or None})

    def _delete_children(self, uid: str) -> None:
        """Foreground again, where a child has children: the pods of a ReplicaSet go before it."""
        for child in list(self._children.get(uid, ())):
            found = self._find(child)
            if found and found[1].metadata.deletionTimestamp is None:
                kind, obj = found
                if self._children.get(child) and FOREGROUND not in (obj.metadata.finalizers or ()):
                    self._write(kind, obj, {"finalizers": [*(obj.metadata.finalizers or ()), FOREGROUND]})
                self._delete(kind, obj)

    def _blocking(self, uid: str) -> bool:
        for child in self._children.get(uid, ()):
            found = self._find(child)
            if found and any(o.uid == uid and o.blockOwnerDeletion for o in found[1].metadata.ownerReferences or ()):
                return True
        return False

    def _delete(self, kind: Kind, obj: Any) -> None:
        meta = obj.metadata
        try:
            self.client.delete(kind.resource, meta.name, meta.namespace, uid=meta.uid)
        except StatusError as error:
            if not is_not_found(error) and error.code != 409:
                raise

    def _take_off(self, kind: Kind, obj: Any, finalizer: str) -> None:
        rest = [f for f in obj.metadata.finalizers if f != finalizer]
        self._write(kind, obj, {"finalizers": rest or None})

    def _write(self, kind: Kind, obj: Any, metadata: Json) -> None:
        meta = obj.metadata
        try:
            self.client.patch(kind.resource, meta.name, {"metadata": metadata}, meta.namespace)
        except StatusError as error:
            if not is_not_found(error):
                raise
