"""Lists in pieces: `limit` and `continue`.

https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
A page is cut from the present state by key. Every page carries the *first* page's resourceVersion, so that a watch
from there misses nothing that happened while the pages were read (it may tell of something a second time).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from ..api.errors import bad_request
from ..store.version import Version
from .target import Query

Json = dict[str, Any]


def page(versions: Sequence[Version], query: Query, revision: int) -> tuple[Sequence[Version], Json]:
    """(the page, its ListMeta). Raises StatusError 400 for a token that is none of ours."""
    limit = query.number("limit") or 0
    if token := query.text("continue"):
        revision, after = _open(token)
        versions = [v for v in versions if (v.namespace, v.name) > after]
    meta: Json = {"resourceVersion": str(revision)}
    if 0 < limit < len(versions):
        last = versions[limit - 1]
        meta["continue"] = _seal(revision, last.namespace, last.name)
        meta["remainingItemCount"] = len(versions) - limit
        versions = versions[:limit]
    return versions, meta


def _seal(revision: int, namespace: str, name: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([revision, namespace, name])).rstrip(b"=").decode()


def _open(token: str) -> tuple[int, tuple[str, str]]:
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        revision, namespace, name = msgspec.json.decode(raw, type=tuple[int, str, str])
    except (ValueError, msgspec.MsgspecError):
        raise bad_request(f"continue key is not valid: {token[:100]}") from None
    return revision, (namespace, name)
