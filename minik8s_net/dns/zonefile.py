"""A zone in master-file syntax (RFC 1035 §5) → records, for the Corefile's `file`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address

from .corefile import is_number
from .names import Record, Records

DEFAULT_TTL = 3600
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(;.*)|([()])|([^\s";()]+)')


def parse_zone(text: str, origin: str) -> Records:
    """One zone with its SOA. Raises ValueError, naming the line and what is wrong with it."""
    apex, ttl, owner = origin, DEFAULT_TTL, origin
    found: dict[str, list[Record]] = {}
    for number, inherits, words in _entries(text):
        try:
            if words[0] == "$ORIGIN":
                origin = _absolute(words[1], origin)
            elif words[0] == "$TTL":
                ttl = int(words[1])
            else:
                owner = owner if inherits else _absolute(words.pop(0), origin)
                if owner != apex and apex and not owner.endswith(f".{apex}"):
                    raise ValueError(f"{owner}. is not in zone {apex}.")
                found.setdefault(owner, []).append(_record(words, ttl, origin))
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(f"line {number}: {error}") from None
    if not any(record.type == "SOA" for record in found.get(apex, ())):
        raise ValueError(f"has no SOA record for origin {apex}.")
    return found


def _entries(text: str) -> Iterator[tuple[int, bool, list[str]]]:
    """(line, does it begin with a blank, words) of each entry; parentheses join lines, `;` begins a comment."""
    words: list[str] = []
    depth, start, inherits = 0, 0, False
    for number, line in enumerate(text.splitlines(), 1):
        if not words:
            start, inherits = number, line[:1].isspace()
        for match in _TOKEN.finditer(line):
            if match[3]:
                depth += 1 if match[3] == "(" else -1
            elif not match[2]:
                words.append(match[1] if match[1] is not None else match[4])
        if words and depth == 0:
            yield start, inherits, words
            words = []
    if words or depth:
        raise ValueError(f"line {start}: unbalanced parentheses")


def _record(words: list[str], ttl: int, origin: str) -> Record:
    """`[TTL] [IN] TYPE DATA…` with TTL and class in either order."""
    while is_number(words[0]) or words[0].upper() == "IN":
        word = words.pop(0)
        ttl = int(word) if is_number(word) else ttl
    rtype, data = words[0].upper(), words[1:]
    if rtype not in _DATA:
        raise ValueError(f"unsupported record type {rtype}")
    return Record(rtype, _DATA[rtype](data, origin), ttl)


def _absolute(name: str, origin: str) -> str:
    """Lowercase and without the final dot; a name without one is relative to the origin."""
    if name == "@":
        return origin
    labels = name.lower().rstrip(".").split(".")
    if name != "." and not all(0 < len(label) < 64 and label.isascii() for label in labels):
        raise ValueError(f"not a name: {name}")
    return ".".join(labels if name.endswith(".") or not origin else [*labels, origin])


_DATA: dict[str, Callable[[list[str], str], object]] = {
    "A": lambda data, origin: str(IPv4Address(data[0])),
    "AAAA": lambda data, origin: str(IPv6Address(data[0])),
    "CNAME": lambda data, origin: _absolute(data[0], origin),
    "NS": lambda data, origin: _absolute(data[0], origin),
    "PTR": lambda data, origin: _absolute(data[0], origin),
    "TXT": lambda data, origin: tuple(data),
    "MX": lambda data, origin: (int(data[0]), _absolute(data[1], origin)),
    "SRV": lambda data, origin: (*map(int, data[:3]), _absolute(data[3], origin)),
    "SOA": lambda data, origin: (
        _absolute(data[0], origin),
        _absolute(data[1], origin),
        *map(int, data[2:7]),
    ),
}
