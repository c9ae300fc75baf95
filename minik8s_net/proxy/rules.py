"""The form both renderers share: what one Service puts into the kernel, as a value that can be compared.

`chains` are the Service's own (their names contain its hash): written whole. `entries` are its lines in places that
all Services share: jumps from KUBE-SERVICES for iptables, elements of maps for nftables. They are added and removed
one by one, which is why a change costs the same with 10 Services as with 5000. The kernel's dump parses into the same
form, so "what is to be done" is always `delta(have, want)`: for a change, for adopting a running node, and for healing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Chain = tuple[str, str]  # (table, name); nftables: ("chain" or "set", name), names as `nfttables.where` reads them
Entry = tuple[str, str, str]  # iptables: (table, chain, rule); nftables: (map, key, value)


@dataclass(frozen=True)
class Rules:
    """Chains in an order in which each only jumps to earlier ones, and entries that jump to them."""

    chains: Mapping[Chain, tuple[str, ...]] = field(default_factory=dict)
    entries: Mapping[Entry, None] = field(default_factory=dict)  # an ordered set

    @staticmethod
    def merge(parts: Iterable[Rules]) -> Rules:
        """Several parts as one."""
        chains: dict[Chain, tuple[str, ...]] = {}
        entries: dict[Entry, None] = {}
        for part in parts:
            chains.update(part.chains)
            entries.update(part.entries)
        return Rules(chains, entries)


@dataclass(frozen=True)
class Difference:
    """From `have` to `want`: chains to write (want's order), entries to add and remove, chains to delete."""

    write: dict[Chain, tuple[str, ...]]
    add: list[Entry]
    remove: list[Entry]
    delete: list[Chain]

    @classmethod
    def between(cls, have: Rules, want: Rules) -> Difference:
        """What to write and what to delete, from one to the other."""
        return cls(
            write={name: body for name, body in want.chains.items() if have.chains.get(name) != body},
            add=[entry for entry in want.entries if entry not in have.entries],
            remove=[entry for entry in have.entries if entry not in want.entries],
            delete=[name for name in reversed(list(have.chains)) if name not in want.chains],
        )

    def __bool__(self) -> bool:
        return bool(self.write or self.add or self.remove or self.delete)
