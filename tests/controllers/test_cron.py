"""Cron schedules against a table, and against an independent reading: every minute of a month tried one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from minik8s_net.controllers.cron import Schedule

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)  # a Saturday
NEXT = [
    ("* * * * *", "2026-03-14T12:01"),
    ("*/15 * * * *", "2026-03-14T12:15"),
    ("5,35 */6 * * *", "2026-03-14T12:05"),
    ("0 9-17/4 * * mon-fri", "2026-03-16T09:00"),
    ("30 2 29 2 *", "2028-02-29T02:30"),
    ("0 0 13 * fri", "2026-03-20T00:00"),  # the 13th or a Friday
    ("0 0 * * 7", "2026-03-15T00:00"),
    ("@monthly", "2026-04-01T00:00"),
    ("@hourly", "2026-03-14T13:00"),
    ("0 0 1 JAN ?", "2027-01-01T00:00"),
]


@pytest.mark.parametrize(("text", "expected"), NEXT)
def test_the_next_time(text: str, expected: str) -> None:
    assert Schedule.parse(text).next(NOON) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_every_is_counted_from_the_last() -> None:
    assert Schedule.parse("@every 1h30m").next(NOON) == NOON + timedelta(minutes=90)


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "a * * * *",
                                  "5-3 * * * *", "*/0 * * * *", "@sometimes", "@every soon", "@every 0s"])  # fmt: skip
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(ValueError):
        Schedule.parse(text)


def test_a_time_that_never_comes() -> None:
    assert Schedule.parse("0 0 30 2 *").next(NOON) is None
    assert Schedule.parse("0 0 30 2 *").last(NOON, NOON + timedelta(days=900)) is None


def test_the_last_time_missed() -> None:
    hourly = Schedule.parse("0 * * * *")
    assert hourly.last(NOON, NOON + timedelta(minutes=59)) is None
    assert hourly.last(NOON, NOON + timedelta(hours=5, minutes=3)) == NOON + timedelta(hours=5)
    assert hourly.last(NOON - timedelta(days=900), NOON) == NOON, "a cluster that slept for years wakes at once"


def test_zones_and_their_clocks() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    early = Schedule.parse("30 2 * * *")
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert early.next(before, berlin) is not None  # 02:30 does not exist on 29 March: something near it does
    assert Schedule.parse("0 9 * * *").next(NOON, berlin) == datetime(2026, 3, 15, 8, tzinfo=UTC)
    autumn = Schedule.parse("*/30 * * * *")
    moment, seen = datetime(2026, 10, 24, 23, 59, tzinfo=UTC), []
    while moment < datetime(2026, 10, 25, 4, tzinfo=UTC):
        following = autumn.next(moment, berlin)
        assert following is not None and following > moment, "time goes forward"
        seen.append(following)
        moment = following
    assert len(seen) >= 6


def test_agrees_with_trying_every_minute() -> None:
    for text in ("*/7 3-5 * * *", "0 12 1-7 * 1", "15,45 0 * 3 *"):
        schedule, minute, tried = Schedule.parse(text), NOON, []
        fields = text.split()
        while minute < NOON + timedelta(days=32):
            minute += timedelta(minutes=1)
            if _matches(fields, minute):
                tried.append(minute)
        moment, found = NOON, []
        while (following := schedule.next(moment)) and following <= minute:
            found.append(following)
            moment = following
        assert found == tried, text


def _matches(fields: list[str], t: datetime) -> bool:
    def one(field: str, value: int) -> bool:
        for part in field.split(","):
            span, _, step = part.partition("/")
            low, _, high = ("0-99" if span == "*" else span if "-" in span else f"{span}-{span}").partition("-")
            if int(low) <= value <= int(high) and (value - int(low)) % int(step or 1) == 0:
                return True
        return False

    day, week = one(fields[2], t.day), one(fields[4], t.isoweekday() % 7)
    days = (day and week) if "*" in (fields[2], fields[4]) else (day or week)
    return one(fields[0], t.minute) and one(fields[1], t.hour) and one(fields[3], t.month) and days
