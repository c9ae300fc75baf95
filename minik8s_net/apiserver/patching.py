"""PATCH in its four dialects, each as a function from the present tree to the wanted one.

https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..api import patch as patches
from ..api import strategy as rules
from ..api.errors import bad_request, rejected_patch, unsupported_media_type
from ..api.kinds import Kind
from . import bodies
from .registry import WriteOptions

Json = dict[str, Any]
JSON, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


def change(kind: Kind, body: bytes, media: str, options: WriteOptions) -> Callable[[Json], Json]:
    """Raises StatusError 400, 415, 422, as does the function it returns."""
    if media not in (JSON, MERGE, STRATEGIC, APPLY):
        raise unsupported_media_type()
    patch = bodies.loose(body, media)
    if media == JSON:
        if not isinstance(patch, list):
            raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    elif not isinstance(patch, dict):
        raise bad_request("json: cannot unmarshal into Go value of type map[string]interface {}")

    def changed(old: Json) -> Json:
        new = _apply(kind, old, patch, media)
        tree, warnings = rules.prepare(kind, new, options.strictness)
        options.warnings += [w for w in warnings if w not in options.warnings]
        return tree

    return changed


def _apply(kind: Kind, old: Json, patch: Any, media: str) -> Any:
    if media == JSON:
        try:
            return patches.json_patch(old, patch)
        except (ValueError, KeyError, IndexError, TypeError):
            raise rejected_patch() from None
    if media == MERGE:
        return patches.merge(old, patch)
    # Apply without ownership: what the manifest says is merged in; what it leaves out stays.
    return patches.strategic(kind.model, old, patch)
