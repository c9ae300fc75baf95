"""The verb "explain": {"source": "client", "target": "http://web", "namespace": "default"} -> an Explanation."""

from __future__ import annotations

from ...boot.live import Live
from ..trace.places import Places
from ..trace.target import parse
from .ladder import Ladder
from .model import Json


async def explain(live: Live, asked: Json) -> Json:
    """Raises StatusError: 400 for what is no target, 404 for a source that is not there."""
    target, namespace = parse(str(asked.get("target") or "")), str(asked.get("namespace") or "default")
    places = Places(live)
    try:
        ladder = Ladder(live, places, str(asked.get("source") or ""), namespace, target)
        return (await ladder.climb()).to_dict()
    finally:
        places.close()
