"""Services by the thousand in several nftables tables: `ip kube-proxy`, then `ip kube-proxy-2`, … Pure.

Whenever a jump is added to a table, the kernel follows all jumps of that table from every hook, to see that there is no
loop. That takes 30 ms at 5000 Services, for kube-proxy too; so a table takes a thousand, and who comes then goes to a
further one. Each has nat hooks of its own, in no certain order: the first chain that translates ends the asking.

A further table holds what translates. What refuses, drops and masquerades stays in the first one, for all Services: it
looks at addresses and marks, and jumps to no chain of a Service but the one-line `firewall-…`. So with up to a thousand
Services there is the table of kube-proxy and nothing else.

In `Rules` a place in a further table has the table's name before its own: `kube-proxy-2 service-ips`.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from .names import nft_service_of
from .rules import Chain, Difference, Rules

FIRST = "kube-proxy"
SERVICES = 1000  # in one table: docs/scale.md
TRANSLATING = ("nodeport-ips", "service-ips", "service-nodeports", "services", "mark-for-masquerade",
               "nat-prerouting", "nat-output")  # fmt: skip
HEART = ("chain", "services")
_NAME = re.compile(rf"{FIRST}(?:-([2-9]|[1-9]\d+))?")


def where(place: str) -> tuple[str, str]:
    """(table, name) of a chain, set or map."""
    table, _, name = place.rpartition(" ")
    return table or FIRST, name


def tables_of(places: Iterable[Chain]) -> list[str]:
    """The tables whose hearts, the chain `services`, are among them: those that are made, or go, as a whole."""
    return [table for kind, place in places for table, name in (where(place),) if (kind, name) == HEART]


def ours(tables: Iterable[str]) -> list[str]:
    """Those of them that are ours, in order."""
    return sorted((t for t in tables if _NAME.fullmatch(t)), key=number)


def number(table: str) -> int:
    """kube-proxy: 1; kube-proxy-2: 2."""
    found = _NAME.fullmatch(table)
    return int((found and found[1]) or 1)


def in_table(rules: Rules, number: int) -> Rules:
    """What is rendered for the first table, in another one; what does not translate stays in the first."""
    if number == 1:
        return rules
    prefix = f"{FIRST}-{number} "
    chains = {(kind, name if _filters(name) else prefix + name): body for (kind, name), body in rules.chains.items()}
    entries = {(prefix + m if m in TRANSLATING else m, key, value): None for m, key, value in rules.entries}
    return Rules(chains, entries)


def _filters(name: str) -> bool:
    return name.startswith("firewall-")


def without(tables: Collection[str], d: Difference) -> Difference:
    """What is left to do once those tables have gone with all that is in them."""
    return Difference(
        {place: body for place, body in d.write.items() if where(place[1])[0] not in tables},
        [entry for entry in d.add if where(entry[0])[0] not in tables],
        [entry for entry in d.remove if where(entry[0])[0] not in tables],
        [place for place in d.delete if where(place[1])[0] not in tables],
    )


class Tables:
    """Who is in which table. A Service stays where it is for as long as it has chains; without, it needs no table."""

    def __init__(self, room: int = SERVICES) -> None:
        """`room`: Services of one table."""
        self._room = room
        self._of: dict[str, int] = {}
        self._held: Counter[int] = Counter()

    @property
    def further(self) -> list[int]:
        """The numbers of those that are needed beside the first one."""
        return sorted(n for n, services in list(self._held.items()) if services and n > 1)

    def placed(self, rendered: Mapping[str, Rules]) -> dict[str, Rules]:
        """What was rendered for Services (namespace/name), each in its table: a new one in the first with room."""
        for service, rules in rendered.items():
            if not rules.chains and (left := self._of.pop(service, None)):
                self._held[left] -= 1
        return {s: in_table(rules, self._table(s)) if rules.chains else rules for s, rules in rendered.items()}

    def adopt(self, found: Rules, rendered: Mapping[str, Rules]) -> None:
        """Forget all, and take them to be where the kernel has them."""
        self._of, self._held = {}, Counter()
        for service, table in _seen(found):
            if service not in self._of and service in rendered and rendered[service].chains:
                self._put(service, table)

    def _table(self, service: str) -> int:
        if service not in self._of:
            self._put(service, next(n for n in itertools.count(1) if self._held[n] < self._room))
        return self._of[service]

    def _put(self, service: str, table: int) -> None:
        self._of[service] = table
        self._held[table] += 1


def _seen(found: Rules) -> Iterator[tuple[str, int]]:
    for _, place in found.chains:
        table, name = where(place)
        if (service := nft_service_of(name)) and not _filters(name):
            yield service, number(table)
