"""Deletion: preconditions, grace, finalizers and propagation. An object is gone when nobody has anything left to do.

https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/
https://kubernetes.io/docs/concepts/architecture/garbage-collection/#cascading-deletion
"""

from __future__ import annotations

import time
from typing import Any

from ...api.errors import conflict
from ...api.kinds import Kind
from ...store.events import timestamp
from ...store.version import Version
from .options import DeleteOptions
from .strategy import Strategy

Json = dict[str, Any]
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


def check_preconditions(kind: Kind, version: Version, options: DeleteOptions) -> None:
    """Raises StatusError Conflict."""
    meta = version.tree["metadata"]
    for what, wanted, have in (
        ("UID", options.uid, meta["uid"]),
        ("ResourceVersion", options.resource_version, version.revision),
    ):
        if wanted and wanted != have:
            why = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {have}"
            raise conflict(kind.plural, version.name, why, kind.group)


def begin(kind: Kind, strategy: Strategy, old: Json, options: DeleteOptions) -> Json:
    """The object with its deletion begun (`is_finished` tells whether that is already its end). `old` stays as is."""
    new = {**old, "metadata": {**old["metadata"]}}
    meta = new["metadata"]
    if finalizers := _finalizers(meta.get("finalizers", []), options.propagation):
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
    grace = strategy.grace(new, options.grace_seconds)
    if meta.get("deletionTimestamp"):  # a deletion may be hastened, never delayed
        if grace >= meta.get("deletionGracePeriodSeconds", 0):
            return new if options.propagation else old
    elif "generation" in meta:
        meta["generation"] += 1
    meta["deletionTimestamp"] = timestamp(time.time() + grace)
    meta["deletionGracePeriodSeconds"] = grace
    strategy.begin_delete(new)
    return new


def is_finished(kind: Kind, tree: Json) -> bool:
    """Whether nothing holds a deleted object any more: no finalizers, no grace left."""
    meta = tree["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return kind.plural != "namespaces" or not tree.get("spec", {}).get("finalizers")


def _finalizers(present: list[str], propagation: str | None) -> list[str]:
    """`propagation` decides over the two finalizers of the garbage collector; None leaves them as they are."""
    if propagation is None:
        return present
    others = [f for f in present if f not in (FOREGROUND, ORPHAN)]
    added = {"Foreground": [FOREGROUND], "Orphan": [ORPHAN]}.get(propagation, [])
    return [*others, *added]
