"""Namespaces: a deleted one is Terminating until the namespace controller has emptied it and drops its finalizer."""

from __future__ import annotations

from ...api.errors import forbidden
from .strategy import Json, Strategy

KEPT = frozenset({"default", "kube-system", "kube-public"})


class NamespaceStrategy(Strategy):
    def prepare_update(self, new: Json, old: Json) -> None:
        """The spec's finalizers change through the `finalize` subresource only."""
        new["spec"] = old.get("spec", {})

    def admit_delete(self, obj: Json) -> None:
        name = obj["metadata"]["name"]
        if name in KEPT:
            raise forbidden("namespaces", name, "this namespace may not be deleted")

    def begin_delete(self, new: Json) -> None:
        new["status"] = {**new.get("status", {}), "phase": "Terminating"}
