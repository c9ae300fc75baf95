"""Waiting for an object: for a condition, a JSON path's value, its deletion or its creation."""

from __future__ import annotations

import re
import time
from typing import Any

from ..api.errors import StatusError, is_not_found
from .http import Api, Json

PAUSE = 0.02  # between looks, seconds; the server is on this machine
A_WEEK = 7 * 24 * 3600.0  # what kubectl makes of a negative timeout
_DURATION = re.compile(r"-?(?:\d+(?:\.\d+)?|(?=\d)(?:\d+h)?(?:\d+m)?(?:\d+(?:\.\d+)?s)?)")


def check_condition(condition: str) -> None:
    """Raises ValueError saying which there are."""
    kind, equals, rest = condition.partition("=")
    good = condition in ("delete", "create") or (kind == "condition" and rest) or (kind == "jsonpath" and "=" in rest)
    if not good:
        wrong = f'unrecognized condition: "{condition}"'
        if kind in ("condition", "jsonpath"):
            wrong = f'"{condition}" does not say {"what to wait for" if not equals or not rest else "the value wanted"}'
        there = "delete, create, condition=TYPE[=STATUS], jsonpath={.PATH}=VALUE"
        raise ValueError(f"{wrong}\nWhat can be waited for: {there}\nFor example: --for condition=Ready")


def seconds(text: str) -> float:
    """`30`, `30s`, `1m30s` -> seconds; a negative one is a week, as with kubectl. Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f'--timeout: "{text}" is no duration; write seconds, or e.g. 90s or 1m30s')
    if text.startswith("-"):
        return A_WEEK
    parts = re.findall(r"([\d.]+)([hms]?)", text)
    return sum(float(number) * {"h": 3600, "m": 60, "s": 1, "": 1}[unit] for number, unit in parts)


def wait_for(api: Api, path: str, condition: str, timeout: float) -> Json | None:
    """Wait until `condition` holds for the object at `path`; returns it (None once deleted).

    condition: `delete`, `create`, `condition=TYPE[=STATUS]`, or `jsonpath={.a.b}=VALUE`.
    Raises TimeoutError saying what was seen last, StatusError NotFound for a missing object (not with create).
    """
    check_condition(condition)
    deadline = time.monotonic() + timeout
    seen: Json | None = None
    while True:
        try:
            seen = api.request("GET", path)
        except StatusError as error:
            if not is_not_found(error):
                raise
            if condition == "delete":
                return None
            if condition != "create":
                raise
            seen = None
        if condition == "create" and seen:
            return seen
        if seen and condition not in ("delete", "create") and holds(seen, condition):
            return seen
        if time.monotonic() > deadline:
            name = path.rsplit("/", 1)[1]
            raise TimeoutError(f"timed out waiting for {condition} on {name}; {_last(seen)}")
        time.sleep(PAUSE)


def holds(obj: Json, condition: str) -> bool:
    """Whether `condition` (see wait_for) is true of the object as it is."""
    kind, _, rest = condition.partition("=")
    if kind == "condition":
        wanted, _, status = rest.partition("=")
        for entry in obj.get("status", {}).get("conditions") or []:
            if entry["type"].lower() == wanted.lower():
                return bool(entry["status"].lower() == (status or "true").lower())
        return False
    if kind == "jsonpath":
        field, _, value = rest.rpartition("=")
        at: Any = obj
        for part in field.strip("{}.'").split("."):
            at = at.get(part) if isinstance(at, dict) else None
        return str(at) == value
    return False


def _last(seen: Json | None) -> str:
    if seen is None:
        return "it does not exist"
    conditions = seen.get("status", {}).get("conditions") or []
    states = ", ".join(
        f"{c['type']}={c['status']}" + (f" ({c['reason']})" if c.get("reason") else "") for c in conditions
    )
    return f"last seen: {states or 'no conditions'}"
