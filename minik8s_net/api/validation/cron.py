"""Schedules of CronJobs: five fields or a descriptor, judged in the words of the parser Kubernetes uses.

https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax
"""

from __future__ import annotations

import re

FIELDS = 5
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))  # minute, hour, day, month, weekday
MONTHS = {name: i for i, name in enumerate(re.findall("...", "janfebmaraprmayjunjulaugsepoctnovdec"), 1)}
DAYS = {name: i for i, name in enumerate(re.findall("...", "sunmontuewedthufrisat"))}
NAMES: tuple[dict[str, int], ...] = ({}, {}, {}, MONTHS, DAYS)
DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_DURATION = re.compile(r"([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+")
NO_ZONE = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"


def complaint(schedule: str) -> str:
    """What is wrong with a schedule, "" if nothing is."""
    if "TZ" in schedule:
        return NO_ZONE
    if schedule.startswith("@"):
        return _descriptor(schedule)
    fields = schedule.split()
    if len(fields) != FIELDS:
        return f"expected exactly {FIELDS} fields, found {len(fields)}: [{' '.join(fields)}]"
    parts = zip(fields, BOUNDS, NAMES, strict=True)
    found = (_part(part, *bounds, names) for field, bounds, names in parts for part in field.split(","))
    return next(filter(None, found), "")


def _descriptor(schedule: str) -> str:
    if schedule in DESCRIPTORS:
        return ""
    if not schedule.startswith("@every "):
        return f"unrecognized descriptor: {schedule}"
    length = schedule.removeprefix("@every ")
    if _DURATION.fullmatch(length):
        return ""
    return f'failed to parse duration {schedule}: time: invalid duration "{length}"'


def _part(part: str, low: int, high: int, names: dict[str, int]) -> str:
    """One of a field's comma-separated parts: `*`, `5`, `1-5`, `*/15`, `mon-fri`."""
    pieces, first, last = part.split("/"), low, high
    ends = pieces[0].split("-")
    step = 1
    try:
        if ends[0] not in ("*", "?"):
            first = last = _number(ends[0], names)
            if len(ends) == 2:
                last = _number(ends[1], names)
            elif len(ends) > 2:
                return f"too many hyphens: {part}"
        if len(pieces) > 2:
            return f"too many slashes: {part}"
        if len(pieces) == 2:
            step = _number(pieces[1], {})
            last = high if len(ends) == 1 else last
    except ValueError as error:
        return str(error)
    if first < low:
        return f"beginning of range ({first}) below minimum ({low}): {part}"
    if last > high:
        return f"end of range ({last}) above maximum ({high}): {part}"
    if first > last:
        return f"beginning of range ({first}) beyond end of range ({last}): {part}"
    return "" if step else f"step of range should be a positive number: {part}"


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 0:
        raise ValueError(f"negative number ({text}) not allowed: {text}")
    return int(text)
