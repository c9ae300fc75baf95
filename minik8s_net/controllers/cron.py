"""Cron schedules: when is the next time? Pure.

Five fields (minute, hour, day of month, month, day of week) or @hourly and its like, as Kubernetes' parser reads them.
https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

_NICKNAMES = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_MONTHS = {calendar.month_abbr[i].lower(): i for i in range(1, 13)}
_DAYS = {calendar.day_abbr[i].lower(): (i + 1) % 7 for i in range(7)}
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_HORIZON = timedelta(days=5 * 366)  # 30 February never comes
_WINDOWS = (timedelta(hours=2), timedelta(days=2), timedelta(days=62), _HORIZON)


@dataclass(frozen=True)
class Schedule:
    """`days` and `weekdays`: where both are restricted, either suffices."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool  # the day of month or of week is `*`: both must hold
    every: int = 0  # seconds, of `@every 90s`; then nothing else counts

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Raises ValueError saying what is wrong."""
        if text.startswith("@every "):
            always: frozenset[int] = frozenset()
            return cls(always, always, always, always, always, True, every=_seconds(text[7:].strip()))
        text = _NICKNAMES.get(text, text)
        fields = text.split()
        if len(fields) != 5:
            raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
        names = (None, None, None, _MONTHS, _DAYS)
        sets = [_field(f, low, high, n or {}) for f, (low, high), n in zip(fields, _RANGES, names, strict=True)]
        minutes, hours, days, months, weekdays = sets
        any_day = fields[2][0] in "*?" or fields[4][0] in "*?"
        return cls(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), any_day)

    def next(self, after: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The first time later than `after`, in `zone`; None if there is none within five years."""
        if self.every:
            return after.replace(microsecond=0) + timedelta(seconds=self.every)
        local = after.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0) + timedelta(minutes=1)
        end = local + _HORIZON
        while local < end:
            if local.month not in self.months or not self._day(local):
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes:
                local += timedelta(minutes=1)
            elif (found := local.replace(tzinfo=zone)).astimezone(UTC) > after:
                return found.astimezone(UTC)
            else:  # an hour that the clocks repeat
                local += timedelta(minutes=1)
        return None

    def last(self, after: datetime, until: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The latest time later than `after` and not later than `until`. Looks back in ever longer windows."""
        for window in _WINDOWS:
            found, moment = None, max(after, until - window)
            while (following := self.next(moment, zone)) is not None and following <= until:
                found = moment = following
            if found or moment == after:
                return found
        return None

    def _day(self, moment: datetime) -> bool:
        of_month, of_week = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        return (of_month and of_week) if self.any_day else (of_month or of_week)


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, {}) if slash else 1
        if step < 1:
            raise ValueError(f"step of range should be a positive number: {part}")
        if span in ("*", "?"):
            first, final = low, min(high, 6) if names is _DAYS else high
        else:
            begin, dash, end = span.partition("-")
            first = _number(begin, names)
            final = _number(end, names) if dash else high if slash else first
        if first < low:
            raise ValueError(f"beginning of range ({first}) below minimum ({low}): {part}")
        if final > high:
            raise ValueError(f"end of range ({final}) above maximum ({high}): {part}")
        if first > final:
            raise ValueError(f"beginning of range ({first}) beyond end of range ({final}): {part}")
        values.update(range(first, final + 1, step))
    return frozenset(values)


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isdigit():
        raise ValueError(f"failed to parse int from {text}")
    return int(text)


def _seconds(text: str) -> int:
    """`1h30m` -> 5400."""
    total, digits = 0, ""
    for letter in text:
        if letter.isdigit():
            digits += letter
        elif letter in "hms" and digits:
            total, digits = total + int(digits) * {"h": 3600, "m": 60, "s": 1}[letter], ""
        else:
            raise ValueError(f"failed to parse duration @every {text}")
    if digits or not total:
        raise ValueError(f"failed to parse duration @every {text}")
    return total
