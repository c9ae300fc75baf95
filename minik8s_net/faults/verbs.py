"""The verbs fault-list, fault-inject, fault-clear, heal-pause and heal-resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..api.errors import bad_request
from ..healing.drift import COMPONENTS
from .catalogue import CATALOGUE, Json

if TYPE_CHECKING:
    from ..boot.live import Live


async def list_(live: Live, asked: Json) -> Json:
    """{"reveal": bool} -> {"catalogue": [...], "injected": [...], "paused": [...], "components": [...]}."""
    reveal = bool(asked.get("reveal"))
    injected = [
        {**f.public(), **({"name": f.name, "parameters": f.parameters} if reveal else {})} for f in live.faults.injected
    ]
    return {
        "catalogue": [fault.to_dict() for fault in CATALOGUE.values()],
        "injected": injected,
        "paused": sorted(live.faults.pauses.paused),
        "components": list(COMPONENTS),
    }


async def inject(live: Live, asked: Json) -> Json:
    """{"name", "parameters", "hidden"} or {"name": "random", "seed", "hidden"} -> the fault, and its lesson."""
    name, hidden = str(asked.get("name") or ""), bool(asked.get("hidden"))
    if name == "random":
        try:
            seed = int(asked["seed"])
        except (KeyError, TypeError, ValueError):
            raise bad_request("a random fault needs a seed: a number") from None
        fault = await live.faults.inject_random(live, seed, hidden=hidden)
    else:
        fault = await live.faults.inject(live, name, dict(asked.get("parameters") or {}), hidden=hidden)
    if hidden:
        return fault.public()
    known = CATALOGUE[fault.name]
    return {**fault.public(), "title": known.title, "lesson": known.lesson, "symptom": known.symptom}


async def clear(live: Live, asked: Json) -> Json:
    """{"which": number, name or "all"} -> {"cleared": [...]}, hidden ones by their names."""
    cleared = await live.faults.clear(live, str(asked.get("which") or "all"))
    return {"cleared": [{**f.public(), "name": f.name, "parameters": f.parameters} for f in cleared]}


async def pause(live: Live, asked: Json) -> Json:
    """{"component"} -> {"paused": [...]}."""
    live.faults.pauses.pause(str(asked.get("component") or ""))
    return {"paused": sorted(live.faults.pauses.paused)}


async def resume(live: Live, asked: Json) -> Json:
    """{"component"} -> {"paused": [...], "mended": [drift, …]}: what had been broken meanwhile is mended at once."""
    live.faults.pauses.resume(str(asked.get("component") or ""))
    mended = await live.faults.healer.mend() if live.faults.healer else []
    return {"paused": sorted(live.faults.pauses.paused), "mended": [each.to_dict() for each in mended]}
