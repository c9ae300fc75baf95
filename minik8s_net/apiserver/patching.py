"""PATCH in its four dialects, each as a function from the present tree to the wanted one.

https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..api import apply as applying
from ..api import managed
from ..api import patch as patches
from ..api import strategy as rules
from ..api.errors import bad_request, rejected_patch, unsupported_media_type
from ..api.kinds import Kind
from . import bodies
from .registry import WriteOptions

Json = dict[str, Any]
JSON, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


def change(kind: Kind, body: bytes, media: str, options: WriteOptions, subresource: str = "") -> Callable[[Json], Json]:
    """Raises StatusError 400, 415, 422, as does the function it returns (409 too, where applies conflict)."""
    if media not in (JSON, MERGE, STRATEGIC, APPLY):
        raise unsupported_media_type()
    patch = bodies.loose(body, media)
    if media == JSON:
        if not isinstance(patch, list):
            raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    elif not isinstance(patch, dict):
        raise bad_request("json: cannot unmarshal into Go value of type map[string]interface {}")

    def changed(old: Json) -> Json:
        new = _applied(kind, old, patch, options, subresource) if media == APPLY else _patched(kind, old, patch, media)
        tree, warnings = rules.prepare(kind, new, options.strictness)
        options.warnings += [w for w in warnings if w not in options.warnings]
        return tree

    return changed


def _patched(kind: Kind, old: Json, patch: Any, media: str) -> Any:
    if media == JSON:
        try:
            return patches.json_patch(old, patch)
        except (ValueError, KeyError, IndexError, TypeError):
            raise rejected_patch() from None
    if media == MERGE:
        return patches.merge(old, patch)
    return patches.strategic(kind.model, old, patch)


def _applied(kind: Kind, old: Json, patch: Json, options: WriteOptions, subresource: str) -> Json:
    """`old` without a uid is no object yet. Subresources are merged without ownership."""
    config = applying.read(kind, patch, old["metadata"].get("namespace", ""), old["metadata"]["name"])
    options.operation = managed.APPLY
    if "uid" not in old["metadata"]:
        config["metadata"] = {"name": old["metadata"]["name"], **config.get("metadata", {})}
        return applying.create(kind, config, options.manager)
    if subresource:
        return applying.apply(kind, _unmanaged(old), config, options.manager, force=True)
    return applying.apply(kind, old, config, options.manager, force=options.force)


def _unmanaged(tree: Json) -> Json:
    return {**tree, "metadata": {k: v for k, v in tree["metadata"].items() if k != "managedFields"}}
