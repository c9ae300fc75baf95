"""The registry as controllers see it: `store.client.Client`, typed reads and tree writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from lightkube.core.resource import Resource

from ...api import kinds
from ...api import patch as patches
from ...api import strategy as rules
from ...api.kinds import Kind
from ...store.client import Change
from ...store.store import Store
from ...store.version import Event, Version
from .options import DeleteOptions, WriteOptions

Json = dict[str, Any]
R = TypeVar("R", bound=Resource)


class TypedClient(ABC):
    """`Client` in terms of a registry's operations on kinds and trees."""

    store: Store

    @abstractmethod
    def read(self, kind: Kind, namespace: str, name: str) -> Version:
        """The stored version. Raises StatusError NotFound."""

    @abstractmethod
    def create_tree(self, kind: Kind, namespace: str, tree: Json, options: WriteOptions) -> Version:
        """Store a new object. Raises StatusError."""

    @abstractmethod
    def update_tree(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Json], Json],
        options: WriteOptions,
        subresource: str | None = None,
    ) -> Version:
        """Replace an object by `change(present tree)`, if that is another one. Raises StatusError."""

    @abstractmethod
    def delete_tree(self, kind: Kind, namespace: str, name: str, options: DeleteOptions) -> tuple[Version, bool]:
        """Begin or finish a deletion: (the object, whether it is gone). Raises StatusError."""

    def get(self, kind: type[R], name: str, namespace: str | None = None) -> R:
        """See `store.client.Client`."""
        return self.read(_kind(kind), namespace or "", name).typed(kind)

    def find(self, kind: type[R], name: str, namespace: str | None = None) -> R | None:
        """See `store.client.Client`."""
        found = self.store.get(_kind(kind).home.qualified, namespace or "", name)
        return found.typed(kind) if found else None

    def create(self, kind: type[R], obj: Json) -> R:
        """See `store.client.Client`."""
        known = _kind(kind)
        tree = _checked(known, _copy(obj))
        namespace = (tree.get("metadata") or {}).get("namespace") or "default" if known.namespaced else ""
        return self.create_tree(known, namespace, tree, WriteOptions()).typed(kind)

    def replace(self, kind: type[R], obj: Json, *, subresource: str | None = None) -> R:
        """See `store.client.Client`."""
        known, tree = _kind(kind), _copy(obj)
        meta = tree["metadata"]
        namespace = meta.get("namespace") or "default" if known.namespaced else ""
        return self._write(known, namespace, meta["name"], lambda _: tree, subresource).typed(kind)

    def patch(
        self,
        kind: type[R],
        name: str,
        patch: Json,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> R:
        """See `store.client.Client`."""
        known, change = _kind(kind), _copy(patch)

        def merged(tree: Json) -> Json:
            result: Json = patches.merge(tree, change)
            return result

        return self._write(known, namespace or "", name, merged, subresource).typed(kind)

    def delete(
        self,
        kind: type[Resource],
        name: str,
        namespace: str | None = None,
        *,
        grace_seconds: int | None = None,
        uid: str | None = None,
    ) -> None:
        """See `store.client.Client`."""
        options = DeleteOptions(grace_seconds=grace_seconds, uid=uid)
        self.delete_tree(_kind(kind), namespace or "", name, options)

    def watch(self, kind: type[R], handler: Callable[[Change[R]], None]) -> Callable[[], None]:
        """See `store.client.Client`."""

        def told(event: Event) -> None:
            old = event.old.typed(kind) if event.old else None
            handler(Change(event.type, event.new.typed(kind), old))

        resource = _kind(kind).home.qualified
        present = self.store.list(resource)
        cancel = self.store.subscribe(resource, told)
        for version in present:
            handler(Change("ADDED", version.typed(kind)))
        return cancel

    def _write(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Json], Json],
        subresource: str | None,
    ) -> Version:
        def checked(old: Json) -> Json:
            new = change(old)
            return old if new == old else _checked(kind, new)

        return self.update_tree(kind, namespace, name, checked, WriteOptions(), subresource)

    # last, because it hides the built-in `list` from the annotations above
    def list(self, kind: type[R], namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[R]:
        """See `store.client.Client`."""
        found = self.store.list(_kind(kind).home.qualified, namespace)
        wanted = labels.items() if labels else ()
        return [v.typed(kind) for v in found if all(v.labels.get(key) == value for key, value in wanted)]


def _kind(resource: Any) -> Kind:  # (Any: mypy takes no class of classes for hashable)
    return kinds.by_class(resource)


def _copy(obj: Json) -> Json:
    """A tree of our own, in plain JSON values (a typed object's times become text)."""
    copied: Json = msgspec.json.decode(msgspec.json.encode(obj))
    return copied


def _checked(kind: Kind, tree: Json) -> Json:
    checked, _ = rules.prepare(kind, tree, "Strict")
    return checked
