"""A rule's text by its handle. The kernel reports handles; iptables and nft print texts; both keep the order.

iptables' rules live in nftables tables that only iptables can print, and it prints no handles: the chain's handles and
its printed lines are paired one to one, and only if there are as many of each.
"""

from __future__ import annotations

from ...kernel import iptables, lookup, nft
from ...kernel.nftrace import Event
from ...kernel.tool import ToolError

_IPTABLES = ("filter", "nat", "mangle", "raw", "security")
UNKNOWN = "(the rule is gone, or its text cannot be told)"


class RuleBook:
    """The rules of one namespace, read when first asked for. Call inside it."""

    def __init__(self) -> None:
        self._printed: dict[str, dict[str, list[str]]] = {}
        self._chains: dict[tuple[str, str, str], dict[int, str]] = {}
        self._hooks: dict[tuple[str, str, str], tuple[str, int]] = {}

    def texts(self, events: list[Event]) -> dict[tuple[str, str, str, int], str]:
        """(family, table, chain, handle) -> the rule, for all rules hit."""
        return {key: self._text(*key) for e in events if e.handle for key in [key_of(e)]}

    def hooks(self, events: list[Event]) -> dict[tuple[str, str, str], str]:
        """(family, table, chain) -> its hook, for the base chains among them."""
        for e in events:
            where = (e.family, e.table, e.chain)
            if e.network and where not in self._hooks:
                self._hooks[where] = lookup.hook(*where)
        return {where: name for where, (name, _) in self._hooks.items() if name}

    def _text(self, family: str, table: str, chain: str, handle: int) -> str:
        where = (family, table, chain)
        if where not in self._chains:
            try:
                self._chains[where] = self._of_iptables(*where) or nft.list_rules(*where)
            except (ToolError, OSError):
                self._chains[where] = {}
        return self._chains[where].get(handle, UNKNOWN)

    def _of_iptables(self, family: str, table: str, chain: str) -> dict[int, str]:
        if family != "ip" or table not in _IPTABLES:
            return {}
        if table not in self._printed:
            self._printed[table] = iptables.chains(iptables.save(table))
        printed, handles = self._printed[table].get(chain, []), lookup.handles(family, table, chain)
        return dict(zip(handles, printed, strict=True)) if len(handles) == len(printed) else {}


def key_of(event: Event) -> tuple[str, str, str, int]:
    return event.family, event.table, event.chain, event.handle


def element(family: str, table: str, name: str, key: str) -> str:
    """An element of a set or map as nft prints it, with its comment; "" if it is not there."""
    try:
        listed = nft.get_element(family, table, name, key)
    except ToolError:
        return ""
    return " ".join(listed.partition("elements = {")[2].partition("}")[0].split())
