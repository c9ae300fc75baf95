"""The one way into the store: defaulting, admission, validation, allocation, optimistic concurrency, deletion.

In Kubernetes: the API server's generic registry. Synchronous and single-threaded, so each write is atomic: what it
read is still true when it commits. Implements `store.client.Client` for the controllers; the HTTP side uses the
operations on kinds and trees below. Trees handed in are taken over; trees handed out are shared and read-only.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from ...api import faces
from ...api import strategy as rules
from ...api.errors import StatusError, already_exists, bad_request, conflict, invalid, not_found
from ...api.kinds import Kind, by_path
from ...config import ClusterConfig
from ...store.events import timestamp
from ...store.store import Store, Versions
from ...store.version import Version
from . import deletion, metadata, ownership
from .options import DeleteOptions, WriteOptions
from .pods import bound, part_of_pod
from .strategies import strategy_for
from .strategy import Strategy
from .typed import TypedClient

Json = dict[str, Any]
GENERATE_TRIES = 8
STALE = "the object has been modified; please apply your changes to the latest version and try again"


class Registry(TypedClient):
    """All kinds of one cluster. `config` gives the Service range and names."""

    def __init__(self, store: Store, config: ClusterConfig) -> None:
        self.store, self.config = store, config
        self._strategies: dict[str, Strategy] = {}

    def strategy(self, kind: Kind) -> Strategy:
        """The kind's strategy, one instance for the registry's life."""
        if (found := self._strategies.get(kind.qualified)) is None:
            found = self._strategies[kind.qualified] = strategy_for(kind)(self)
        return found

    def forget_allocations(self) -> None:
        """The store was rewound: who has which address and port is read from it again."""
        self._strategies.clear()

    # -- reading -----------------------------------------------------------------------------------------------
    def read(self, kind: Kind, namespace: str, name: str) -> Version:
        """Raises StatusError NotFound."""
        if (found := self.store.get(kind.home.qualified, namespace, name)) is None:
            raise not_found(kind.plural, name, kind.group)
        return shown(kind, found)

    def select(self, kind: Kind, namespace: str | None = None) -> Versions:
        """All objects of a kind, or those of one namespace, ordered by namespace and name. Read only."""
        found = self.store.list(kind.home.qualified, namespace or None)
        return found if kind.home is kind else [shown(kind, version) for version in found]

    # -- creating ----------------------------------------------------------------------------------------------
    def create_tree(self, kind: Kind, namespace: str, tree: Json, options: WriteOptions) -> Version:
        """`tree` has passed `api.strategy.decode` or `prepare`. Raises StatusError."""
        chosen = bool((tree.get("metadata") or {}).get("name"))
        metadata.begin(kind, namespace, tree)
        self._check_namespace(kind, namespace, tree["metadata"])
        if not chosen:
            self._avoid_collisions(kind, namespace, tree["metadata"])
        strategy, name = self.strategy(kind), tree["metadata"]["name"]
        if self.store.get(kind.home.qualified, namespace, name):
            raise already_exists(kind.plural, name, kind.group)
        if "status" in kind.subresources:
            tree.pop("status", None)
        strategy.admit_create(tree)
        rules.default(kind, tree)
        if metadata.counts_generations(kind):
            tree["metadata"]["generation"] = 1
        strategy.prepare_create(tree)
        errors = rules.validate_create(kind, tree) or strategy.allocate(tree, None)
        if errors:
            raise invalid(kind, name, errors)
        if kind.warning and kind.warning not in options.warnings:
            options.warnings.append(kind.warning)
        ownership.on_create(kind, tree, options)
        tree["metadata"].setdefault("uid", str(uuid.uuid4()))  # a Job's is in its labels already
        tree["metadata"]["creationTimestamp"] = timestamp()
        return self._put(kind, namespace, name, tree, options.dry_run, None)

    def _avoid_collisions(self, kind: Kind, namespace: str, meta: Json) -> None:
        """A generated name that is taken is thrown again, a few times."""
        for _ in range(GENERATE_TRIES - 1):
            if not self.store.get(kind.home.qualified, namespace, meta["name"]):
                return
            metadata.generate_name(meta)

    def _check_namespace(self, kind: Kind, namespace: str, meta: Json) -> None:
        if not kind.namespaced:
            return
        found = self.store.get("namespaces", "", namespace)
        if found is None:
            raise not_found("namespaces", namespace)
        if found.tree["metadata"].get("deletionTimestamp"):
            reason = f"unable to create new content in namespace {namespace} because it is being terminated"
            message = f'{kind.qualified} "{meta["name"]}" is forbidden: {reason}'
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            details = {"name": meta["name"], "kind": kind.plural, "causes": [cause]}
            raise StatusError(403, "Forbidden", message, details | ({"group": kind.group} if kind.group else {}))

    # -- updating ----------------------------------------------------------------------------------------------
    def update_tree(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Json], Json],
        options: WriteOptions,
        subresource: str | None = None,
    ) -> Version:
        """Replace the object by `change(present tree)`, a new tree, or the same one to leave it. Raises StatusError.

        `subresource` "status" takes over the status, "finalize" (namespaces) the spec, each with the metadata (but for
        what the strategy keeps); of pods "binding" the node's name, "ephemeralcontainers" and "resize" those.
        """
        version = self.read(kind, namespace, name)
        old = version.tree
        if (new := change(old)) is old:
            return version
        metadata.check_update(kind, namespace, name, new, old)
        if (wanted := new["metadata"].get("resourceVersion")) and wanted != version.revision:
            raise conflict(kind.plural, name, STALE, kind.group)
        strategy = self.strategy(kind)
        if subresource in ("status", "finalize"):
            new = self._one_part(kind, strategy, new, old, "status" if subresource == "status" else "spec")
        elif subresource == "binding":
            new = bound(old, new["spec"].get("nodeName", ""))
        else:
            if subresource:
                new = part_of_pod(new, old, subresource)
                options.subresource = subresource
            self._prepare_update(kind, strategy, new, old, options, subresource)
        return self._finish_update(kind, version, new, options)

    def _one_part(self, kind: Kind, strategy: Strategy, new: Json, old: Json, part: str) -> Json:
        """`old` with this part of `new`, and what of its metadata may be written together with it."""
        metadata.carry_over(kind, new, old)
        meta = metadata.kept(new["metadata"], old["metadata"], "managedFields", *strategy.status_keeps)
        new = {**old, "metadata": meta, part: new.get(part, {})}
        if errors := rules.validate_update(kind, new, old, "status"):
            raise invalid(kind, meta["name"], errors)
        strategy.prepare_status(new, old)
        return new

    def _prepare_update(
        self, kind: Kind, strategy: Strategy, new: Json, old: Json, options: WriteOptions, subresource: str | None
    ) -> None:
        metadata.carry_over(kind, new, old)
        rules.default(kind, new)
        if "status" in kind.subresources and "status" in old:
            new["status"] = old["status"]
        strategy.prepare_update(new, old)
        if metadata.counts_generations(kind) and metadata.spec_changed(new, old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if errors := rules.validate_update(kind, new, old, subresource) or strategy.allocate(new, old):
            raise invalid(kind, new["metadata"]["name"], errors)
        ownership.on_update(kind, new, old, options)

    def _finish_update(self, kind: Kind, version: Version, new: Json, options: WriteOptions) -> Version:
        new["metadata"]["resourceVersion"] = version.revision
        if new == version.tree:
            return version
        if deletion.is_finished(kind, new):
            self.strategy(kind).release(new, version.tree)
            return version if options.dry_run else self._remove(kind, version)
        return self._put(kind, version.namespace, version.name, new, options.dry_run, version.tree)

    # -- deleting ----------------------------------------------------------------------------------------------
    def delete_tree(self, kind: Kind, namespace: str, name: str, options: DeleteOptions) -> tuple[Version, bool]:
        """The object as it now is, and whether it is gone (False: somebody has to finish). Raises StatusError."""
        version = self.read(kind, namespace, name)
        deletion.check_preconditions(kind, version, options)
        strategy = self.strategy(kind)
        strategy.admit_delete(version.tree)
        new = deletion.begin(kind, strategy, version.tree, options)
        if deletion.is_finished(kind, new):
            return (version if options.dry_run else self._remove(kind, version)), True
        if new == version.tree:
            return version, False
        return self._put(kind, namespace, name, new, options.dry_run, version.tree), False

    def _remove(self, kind: Kind, version: Version) -> Version:
        gone = self.store.remove(kind.home.qualified, version.namespace, version.name)
        self.strategy(kind).release(gone.tree)
        return shown(kind, gone)

    def _put(self, kind: Kind, namespace: str, name: str, tree: Json, dry_run: bool, old: Json | None) -> Version:
        """Store it instead of `old`. What was allocated to a tree that then is not stored is given back."""
        home, stored = kind.home, False
        if home is not kind:
            present = self.store.get(home.qualified, namespace, name)
            tree = faces.store(kind, tree, present.tree if present else None)
        tree = metadata.ordered(home, tree)
        try:
            if dry_run:
                return shown(kind, Version(home.qualified, namespace, name, tree, metadata.encode(tree)))
            version = self.store.put(home.qualified, namespace, name, tree)
            stored = True
            return shown(kind, version)
        finally:
            if not stored:
                self.strategy(kind).release(tree, old)

    # -- for strategies ----------------------------------------------------------------------------------------
    def peek(self, plural: str, namespace: str, name: str, group: str = "", version: str = "v1") -> Json | None:
        """The tree of another object, None if there is none."""
        kind = by_path(group, version, plural)
        if kind is None:
            raise bad_request(f"no kind {plural}")
        found = self.store.get(kind.home.qualified, namespace, name)
        return found.tree if found else None


def shown(kind: Kind, version: Version) -> Version:
    """A stored version as `kind`: itself, unless that is another kind's second face."""
    if kind.home is kind:
        return version
    tree = metadata.ordered(kind, faces.show(kind, version.tree))
    return Version(kind.qualified, version.namespace, version.name, tree, metadata.encode(tree))
