"""The verb "trace": `POST /minik8s/v1/trace {"source": "client", "target": "http://web", "namespace": "default"}`."""

from __future__ import annotations

from ...api.errors import bad_request
from ...boot.live import Live
from .model import Json
from .places import Places
from .target import parse
from .tracer import Tracer

SECONDS = 0.6
"""To wait for an answer: less than TCP's first retransmission, so that one packet is one packet."""
_MOST = 30.0


async def trace(live: Live, asked: Json) -> Json:
    """A Trace as JSON. Raises StatusError: 400 for what cannot be asked, 404 for who is not there."""
    target = parse(str(asked.get("target") or ""))
    namespace = str(asked.get("namespace") or "default")
    seconds = SECONDS if asked.get("seconds") is None else asked["seconds"]
    if not isinstance(seconds, int | float) or not 0 < seconds <= _MOST:
        raise bad_request(f"seconds: {seconds!r} is not a number above 0, up to {_MOST:g}")
    places = Places(live)
    try:
        source = places.source(str(asked.get("source") or ""), namespace)
        return (await Tracer(live, source, places, target, namespace, float(seconds)).trace()).to_dict()
    finally:
        places.close()
