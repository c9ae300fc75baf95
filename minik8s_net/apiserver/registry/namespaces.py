"""Namespaces: a deleted one is Terminating until the namespace controller has emptied it and drops its finalizer."""

from __future__ import annotations

from ...api.errors import forbidden
from .strategy import Json, Strategy

KEPT = frozenset({"default", "kube-system", "kube-public"})


class NamespaceStrategy(Strategy):
    """Some namespaces stay; the others go once they are empty."""

    def prepare_update(self, new: Json, old: Json) -> None:
        """The spec's finalizers change through the `finalize` subresource only."""
        new["spec"] = old.get("spec", {})

    def admit_delete(self, obj: Json) -> None:
        """403 for the namespaces a cluster cannot do without."""
        name = obj["metadata"]["name"]
        if name in KEPT:
            raise forbidden("namespaces", name, "this namespace may not be deleted")

    def begin_delete(self, new: Json) -> None:
        """The phase turns to Terminating."""
        new["status"] = {**new.get("status", {}), "phase": "Terminating"}
