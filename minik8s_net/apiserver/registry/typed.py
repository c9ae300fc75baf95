"""The registry as controllers see it: `store.client.Client`, typed reads and tree writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from lightkube.core.resource import Resource

from ...api import patch as patches
from ...api import strategy as rules
from ...api.kinds import Kind, by_class
from ...store.client import Change
from ...store.store import Event
from ...store.version import Version
from .options import DeleteOptions, WriteOptions

if TYPE_CHECKING:
    from .registry import Registry

Json = dict[str, Any]
R = TypeVar("R", bound=Resource)


class TypedClient:
    """Mixed into Registry."""

    def get(self: Registry, kind: type[R], name: str, namespace: str | None = None) -> R:
        return self.read(by_class(kind), namespace or "", name).typed(kind)

    def find(self: Registry, kind: type[R], name: str, namespace: str | None = None) -> R | None:
        found = self.store.get(by_class(kind).qualified, namespace or "", name)
        return found.typed(kind) if found else None

    def create(self: Registry, kind: type[R], obj: Json) -> R:
        known = by_class(kind)
        tree = _checked(known, _copy(obj))
        namespace = (tree.get("metadata") or {}).get("namespace") or "default" if known.namespaced else ""
        return self.create_tree(known, namespace, tree, WriteOptions()).typed(kind)

    def replace(self: Registry, kind: type[R], obj: Json, *, subresource: str | None = None) -> R:
        known, tree = by_class(kind), _copy(obj)
        meta = tree["metadata"]
        namespace = meta.get("namespace") or "default" if known.namespaced else ""
        return self._write(known, namespace, meta["name"], lambda _: tree, subresource).typed(kind)

    def patch(
        self: Registry,
        kind: type[R],
        name: str,
        patch: Json,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> R:
        known, change = by_class(kind), _copy(patch)

        def merged(tree: Json) -> Json:
            result: Json = patches.merge(tree, change)
            return result

        return self._write(known, namespace or "", name, merged, subresource).typed(kind)

    def delete(
        self: Registry,
        kind: type[Resource],
        name: str,
        namespace: str | None = None,
        *,
        grace_seconds: int | None = None,
        uid: str | None = None,
    ) -> None:
        options = DeleteOptions(grace_seconds=grace_seconds, uid=uid)
        self.delete_tree(by_class(kind), namespace or "", name, options)

    def watch(self: Registry, kind: type[R], handler: Callable[[Change[R]], None]) -> Callable[[], None]:
        def told(event: Event) -> None:
            old = event.old.typed(kind) if event.old else None
            handler(Change(event.type, event.new.typed(kind), old))

        resource = by_class(kind).qualified
        present = self.store.list(resource)
        cancel = self.store.subscribe(resource, told)
        for version in present:
            handler(Change("ADDED", version.typed(kind)))
        return cancel

    def _write(
        self: Registry,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Json], Json],
        subresource: str | None,
    ) -> Version:
        def checked(old: Json) -> Json:
            return _checked(kind, change(old))

        return self.update_tree(kind, namespace, name, checked, WriteOptions(), subresource)

    # last, because it hides the built-in `list` from the annotations above
    def list(
        self: Registry, kind: type[R], namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[R]:
        found = self.store.list(by_class(kind).qualified, namespace)
        wanted = labels.items() if labels else ()
        return [v.typed(kind) for v in found if all(v.labels.get(key) == value for key, value in wanted)]


def _copy(obj: Json) -> Json:
    """A tree of our own, in plain JSON values (a typed object's times become text)."""
    copied: Json = msgspec.json.decode(msgspec.json.encode(obj))
    return copied


def _checked(kind: Kind, tree: Json) -> Json:
    checked, _ = rules.prepare(kind, tree, "Strict")
    return checked
