"""A tree of names and the records at each: what any zone is made of.

Names are lowercase, without the final dot ("" is the root); a dot or backslash inside a label has a backslash before
it. Who adds records is an *owner* (a Service, a Pod, a zone file …); an owner's records are replaced as a whole, at a
cost proportional to them. Invariant: a name *exists* while it or a name below it has an owner (an empty non-terminal
exists and has no data: RFC 8020, RFC 4592 §2.2.2).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple


class Record(NamedTuple):
    """One resource record's type and data, in presentation form. `ttl` in seconds, None for the zone's own.

    data: A, AAAA address · CNAME, NS, PTR name · TXT text, or several · MX (preference, name) ·
    SRV (priority, weight, port, name) · SOA (mname, rname, serial, refresh, retry, expire, minimum) ·
    bytes: RDATA as another server sent it, of any type (RFC 3597), one we have no name for being `TYPE257`.
    """

    type: str
    data: object
    ttl: int | None = None


Records = Mapping[str, Sequence[Record]]
NOTHING: dict[str, Sequence[Record]] = {}


class Names:
    """Name → records, by owner."""

    def __init__(self) -> None:
        self._owned: dict[Hashable, Records] = {}
        self._at: dict[str, dict[Hashable, Sequence[Record]]] = {}
        self._below: dict[str, int] = {}  # how many names exist directly below this one

    def put(self, owner: Hashable, records: Records) -> bool:
        """Replace all that `owner` has said; an empty mapping withdraws it. False if nothing changed."""
        before = self._owned.get(owner, NOTHING)
        if before == records:
            return False
        for name in before:
            if name not in records:
                self._remove(owner, name)
        for name, here in records.items():
            if name not in before:
                self._link(name)
            self._at.setdefault(name, {})[owner] = here
        if records:
            self._owned[owner] = records
        else:
            del self._owned[owner]
        return True

    def at(self, name: str) -> list[Record]:
        """All records of one name, without repetition, in order of their owners' coming."""
        by_owner = self._at.get(name, {})
        return list(dict.fromkeys(record for records in by_owner.values() for record in records))

    def exists(self, name: str) -> bool:
        """Whether there is such a name, or one below it."""
        return name in self._at or name in self._below

    def owners(self) -> Iterable[Hashable]:
        """Whoever gave records: the owners of `put`."""
        return self._owned.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def __len__(self) -> int:
        return sum(len(records) for owners in self._at.values() for records in owners.values())

    def _link(self, name: str) -> None:
        """Count a coming name at its parent, and a parent that exists only by this at its own."""
        existed = self.exists(name)
        while name and not existed:
            name = name.partition(".")[2]
            existed = self.exists(name)
            self._below[name] = self._below.get(name, 0) + 1

    def _remove(self, owner: Hashable, name: str) -> None:
        owners = self._at[name]
        del owners[owner]
        if owners:
            return
        del self._at[name]
        while name and not self.exists(name):
            name = name.partition(".")[2]
            self._below[name] -= 1
            if not self._below[name]:
                del self._below[name]
