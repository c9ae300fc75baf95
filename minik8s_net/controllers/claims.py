"""Children by selector: an owner adopts what matches and has no controller, and lets go what no longer matches.

So a StatefulSet made anew after `kubectl delete --cascade=orphan` finds its pods and revisions again, and a pod that is
relabelled to be debugged is replaced.
https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#non-template-pod-acquisitions
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightkube.models.meta_v1 import LabelSelector

from ..store.client import Change, Client, Json
from .children import Children, Key
from .common import Object, controller_of, matches, ref


class Claims(Children):
    """Children of the kind `kind` that owners of the kind `owners` claim.

    To claim means to look at every object of the namespace: that is done only when one of them, or the owner, calls
    for it. `belongs(owner, obj)` may demand more than the selector (a StatefulSet's pods have its name). What is
    adopted gets the `finalizer`, if there is one.
    """

    def __init__(
        self,
        client: Client,
        kind: type[Any],
        owners: type[Any],
        mark: Callable[[Key], None],
        belongs: Callable[[Object, Object], bool] = lambda owner, obj: True,
        finalizer: str = "",
    ) -> None:
        super().__init__(client, kind, owners.__name__, mark)
        self.owners, self._belongs, self._finalizer = owners, belongs, finalizer
        self._open: set[Key] = set()  # owners for which there may be something to adopt or to let go

    def watch(self) -> Callable[[], None]:
        """Follow the children, those without controller too, and the owners' selectors."""
        ends = [
            super().watch(),
            self.client.watch(self.owners, self._on_owner),
            self.client.watch(self.kind, self._on_stray),
        ]

        def end() -> None:
            for one in ends:
                one()

        return end

    def claim(self, owner: Object) -> None:
        """Adopt and let go, if anything calls for it. Not for an owner that is being deleted."""
        key = (owner.metadata.namespace or "", owner.metadata.name or "")
        if key not in self._open:
            return
        selector = selector_of(owner)
        for obj in self.client.list(self.kind, key[0], selector.matchLabels or {}):
            if controller_of(obj) is None and not obj.metadata.deletionTimestamp and self._wanted(owner, obj):
                take(self.client, self.kind, owner, obj, self._finalizer)
        for obj in self.of(owner):
            if not self._wanted(owner, obj):
                release(self.client, self.kind, owner, obj)
        self._open.discard(key)

    def _wanted(self, owner: Object, obj: Object) -> bool:
        return matches(selector_of(owner), obj.metadata.labels) and self._belongs(owner, obj)

    def _on_owner(self, change: Change[Any]) -> None:
        key = (change.new.metadata.namespace, change.new.metadata.name)
        if change.type == "DELETED":
            self._open.discard(key)
        elif change.old is None or change.old.spec.selector != change.new.spec.selector:
            self._open.add(key)

    def _on_stray(self, change: Change[Any]) -> None:
        """One without controller may be somebody's, a relabelled one no longer its owner's."""
        meta, old = change.new.metadata, change.old.metadata if change.old else None
        if change.type == "DELETED":
            return
        if old is not None and old.labels == meta.labels and old.ownerReferences == meta.ownerReferences:
            return
        owner = controller_of(change.new)
        if owner is not None:
            if old is not None and owner.kind == self.owner_kind:
                self._call((meta.namespace or "", owner.name))
            return
        for found in self.client.list(self.owners, meta.namespace):
            if self._wanted(found, change.new):
                self._call((meta.namespace or "", found.metadata.name))

    def _call(self, key: Key) -> None:
        self._open.add(key)
        self._mark(key)


def selector_of(owner: Object) -> LabelSelector:
    """A ReplicationController's is a plain map."""
    selector = owner.spec.selector
    return LabelSelector(matchLabels=selector) if isinstance(selector, dict) else selector


def take(client: Client, kind: type[Any], owner: Object, obj: Object, finalizer: str = "") -> None:
    """Put our name (and finalizer) on an object, in the place of any controller it had."""
    others = [o.to_dict() for o in obj.metadata.ownerReferences or () if not o.controller]
    metadata: Json = {"ownerReferences": [*others, ref(owner)]}
    if finalizer and finalizer not in (obj.metadata.finalizers or ()):
        metadata["finalizers"] = [*(obj.metadata.finalizers or ()), finalizer]
    client.patch(kind, obj.metadata.name, {"metadata": metadata}, obj.metadata.namespace)


def release(client: Client, kind: type[Any], owner: Object, obj: Object) -> None:
    """Take our name off an object that no longer matches (a pod relabelled to be debugged)."""
    owners = [o.to_dict() for o in obj.metadata.ownerReferences or () if o.uid != owner.metadata.uid]
    client.patch(kind, obj.metadata.name, {"metadata": {"ownerReferences": owners or None}}, obj.metadata.namespace)
