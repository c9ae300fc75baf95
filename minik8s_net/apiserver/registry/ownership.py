"""metadata.managedFields on its way into the store: who wrote which field."""

from __future__ import annotations

from typing import Any

from ...api import managed
from ...api.kinds import Kind
from .options import WriteOptions

Json = dict[str, Any]


def on_create(kind: Kind, tree: Json, options: WriteOptions) -> None:
    """What an apply has made carries its managedFields; what components create has none."""
    sent = tree["metadata"].pop("managedFields", None)
    entries = sent if options.operation == managed.APPLY else None
    if entries is None and options.manager:
        entries = managed.created(kind, tree, options.manager)
    _set(tree, entries)


def on_update(kind: Kind, new: Json, old: Json, options: WriteOptions) -> None:
    """After defaulting: of `new` and `old` the difference is the writer's."""
    sent = new["metadata"].pop("managedFields", None)
    if options.operation == managed.APPLY or (sent is None and not old["metadata"].get("managedFields")):
        _set(new, sent)
    elif sent or options.manager or "managedFields" in old["metadata"]:
        _set(new, managed.updated(kind, new, old, sent, options.manager, options.subresource))


def _set(tree: Json, entries: Any) -> None:
    if entries:
        tree["metadata"]["managedFields"] = entries
