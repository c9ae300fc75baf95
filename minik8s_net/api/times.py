"""metav1.Time (RFC 3339, to the second) and MicroTime (six digits): parsing, printing, and `kubectl get`'s ages."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def parse(text: str) -> datetime:
    """An aware datetime. Raises ValueError, worded as Go's time package does."""
    match = _RFC3339.fullmatch(text)
    layout = "2006-01-02T15:04:05Z07:00"
    if not match:
        at = re.match(r"\d{4}(?!\d)", text)
        rest, want = (text[4:], "-") if at else (text, "2006")
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{want}"')
    date, clock, fraction, zone = match.groups()
    try:
        micro = (fraction or "0").ljust(6, "0")[:6]
        return datetime.fromisoformat(f"{date}T{clock}.{micro}{'+00:00' if zone == 'Z' else zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f'parsing time "{text}": day out of range') from None


def canonical(text: str) -> str:
    """As Time prints: UTC, whole seconds."""
    return parse(text).strftime("%Y-%m-%dT%H:%M:%SZ") if not (len(text) == 20 and text[-1] == "Z") else _same(text)


def canonical_micro(text: str) -> str:
    """As MicroTime prints: UTC, six digits."""
    return parse(text).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _same(text: str) -> str:
    parse(text)
    return text


def now() -> str:
    """The present as metav1.Time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(then: str | None, at: datetime) -> str:
    """`5m`, `2d3h`: the time since `then`, as kubectl words it; `<unknown>` without one."""
    return duration((at - parse(then)).total_seconds()) if then else "<unknown>"


def duration(seconds: float) -> str:
    """Kubernetes' HumanDuration: at most two units, fewer as it gets longer."""
    if seconds < -1:
        return "<invalid>"
    total = max(0, int(seconds))
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, a: str, small: int, b: str) -> str:
    return f"{large}{a}{small}{b}" if small else f"{large}{a}"
