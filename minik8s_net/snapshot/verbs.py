"""The verbs snapshot-save, snapshot-restore, snapshot-list, snapshot-delete, export and import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import snapshots
from .document import Json

if TYPE_CHECKING:
    from ..boot.live import Live


async def save(live: Live, asked: Json) -> Json:
    """{"name"} -> name, time, numbers of objects, pods and faults."""
    return snapshots.save(live, str(asked.get("name") or ""))


async def restore(live: Live, asked: Json) -> Json:
    """{"name"} -> what was removed, written, left unchanged, revived; and how long it took."""
    return await snapshots.restore(live, str(asked.get("name") or ""))


async def list_(live: Live, asked: Json) -> Json:
    """{} -> {"snapshots": [...]}, oldest first."""
    return {"snapshots": snapshots.list_(live)}


async def delete(live: Live, asked: Json) -> Json:
    """{"name"} -> {}."""
    snapshots.delete(live, str(asked.get("name") or ""))
    return {}


async def export(live: Live, asked: Json) -> Json:
    """{} -> the document that `minik8s export` writes."""
    return snapshots.export(live)


async def import_(live: Live, asked: Json) -> Json:
    """{"document"} -> what was written and revived."""
    return await snapshots.import_(live, asked.get("document") or {})
