"""Big changes in pieces, each one transaction of the kernel and each whole Services, so that a Service appears at once.

Rootless, a transaction must fit the socket buffer that anybody may have. As root it could be larger, but tools and the
kernel look up what a transaction has brought so far in lists: the time for one grows with its square.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .rules import Chain, Difference, Entry


def in_order(differences: Iterable[Difference]) -> tuple[Difference, list[Difference]]:
    """(What must go first, the rest): map elements that one Service gives up and another takes over cannot wait.

    In the rest, whatever is only deleted comes last.
    """
    todo = [d for d in differences if d]
    taken = {entry[:2]: i for i, d in enumerate(todo) for entry in d.add}
    moved = [[e for e in d.remove if taken.get(e[:2], i) != i] for i, d in enumerate(todo)]
    first: list[Entry] = [e for entries in moved for e in entries]
    rest = [
        Difference(d.write, d.add, [e for e in d.remove if e not in away], d.delete) if away else d
        for d, away in zip(todo, moved, strict=True)
    ]
    rest.sort(key=lambda d: not (d.write or d.add))
    return Difference({}, [], first, []), rest


def pieces(differences: Iterable[Difference], limit: int) -> Iterator[list[Difference]]:
    """Group changes into transactions of at most `limit` lines, splitting only Services that are larger than that."""
    group: list[Difference] = []
    room = limit
    for part in (p for d in differences if d for p in _split(d, limit)):
        if group and _lines(part) > room:
            yield group
            group, room = [], limit
        group.append(part)
        room -= _lines(part)
    if group:
        yield group


def _lines(d: Difference) -> int:
    return sum(2 + len(body) for body in d.write.values()) + len(d.add) + len(d.remove) + 2 * len(d.delete)


def _split(d: Difference, limit: int) -> Iterator[Difference]:
    if _lines(d) <= limit:
        yield d
        return
    chunk: dict[Chain, tuple[str, ...]] = {}
    for name, body in d.write.items():
        if chunk and sum(2 + len(b) for b in chunk.values()) + 2 + len(body) > limit:
            yield Difference(chunk, [], [], [])
            chunk = {}
        chunk[name] = body
    yield Difference(chunk, [], [], [])
    yield Difference({}, d.add, d.remove, [])
    for start in range(0, len(d.delete), limit // 2):
        yield Difference({}, [], [], d.delete[start : start + limit // 2])
