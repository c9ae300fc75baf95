"""Faults of the wire by nftables tables of their own: one per fault, deleted as a whole.

On a port's own hooks (family netdev, ingress and egress, Linux 5.16 and later) or on the fabric's bridge. This stands
in for netem, which many kernels do not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..api.errors import StatusError
from ..kernel import nft
from ..kernel.tool import ToolError
from .mechanism import Mechanism
from .record import Injected
from .targets import FABRIC, target

if TYPE_CHECKING:
    from ..boot.live import Live

BURST = 128  # kilobytes: an unsegmented frame has up to 64, and must not be too large for ever


class Loss(Mechanism):
    """Packets are dropped at random, both ways."""

    async def make(self, live: Live, fault: Injected) -> None:
        await self._make(live, fault, f"numgen random mod 100 < {fault.parameters['percent']} drop")

    async def undo(self, live: Live, fault: Injected) -> None:
        """The table outlives the port, and takes hold of the next one of that name: remove it where it was made."""
        place = fault.saved.get("place")
        if place == FABRIC:
            await live.fabric.run(remove_table, "netdev", fault.number)
        elif place in live.nodes.names():
            await live.nodes.agents(place).netns.run(remove_table, "netdev", fault.number)

    async def _make(self, live: Live, fault: Injected, rule: str) -> None:
        end = target(live, fault.parameters["at"])
        if fault.saved.get("place") not in (None, end.place):
            await self.undo(live, fault)  # a pod of that name, on another node now
        fault.saved["place"] = end.place
        hooks = {"ingress": [rule], "egress": [rule]}
        await end.netns.run(ensure_port_table, fault.number, end.port, hooks)


class Bandwidth(Loss):
    """What comes faster is dropped, each way by itself."""

    async def make(self, live: Live, fault: Injected) -> None:
        rate = f"{fault.parameters['kbytes']} kbytes/second burst {BURST} kbytes"
        await self._make(live, fault, f"limit rate over {rate} drop")


class Partition(Mechanism):
    """The fabric's bridge passes no frame between two nodes."""

    async def make(self, live: Live, fault: Injected) -> None:
        pair = fault.parameters["node"], fault.parameters["peer"]
        rules = [f'iifname "{a}" oifname "{b}" drop' for a, b in (pair, pair[::-1])]
        chain = _chain("wire", "type filter hook forward priority -250", rules)
        await live.fabric.run(_ensure, "bridge", fault.number, chain, "chain wire {")

    async def undo(self, live: Live, fault: Injected) -> None:
        await live.fabric.run(remove_table, "bridge", fault.number)


# -- in the namespace ------------------------------------------------------------------------------------------------
def table(number: int) -> str:
    """The name of a fault's table; says nothing of what it does."""
    return f"fault-{number}"


def ensure_port_table(number: int, port: str, hooks: Mapping[str, list[str]]) -> None:
    """Rules on a port, by hook (ingress: from the place at its other end, egress: to it)."""
    chains = [
        _chain(hook, f'type filter hook {hook} device "{port}" priority 0', rules) for hook, rules in hooks.items()
    ]
    _ensure("netdev", number, "".join(chains), f'device "{port}"')


def _chain(name: str, head: str, rules: list[str]) -> str:
    return "\n".join([f"chain {name} {{", f"{head};", *rules, "}", ""])


def _ensure(family: str, number: int, body: str, mark: str) -> None:
    """The table as wanted, made anew unless `mark` is in it: a port that went takes its hooks along."""
    name = f"{family} {table(number)}"
    if mark in nft.list_table(name):
        return
    try:
        nft.run(f"table {name}\ndelete table {name}\ntable {name} {{\n{body}}}\n")
    except ToolError as error:
        why = error.output.splitlines()[0] if error.output else "no reason given"
        message = f"this kernel cannot do that: nftables' family {family} refuses the rule ({why}); it needs Linux 5.16"
        raise StatusError(501, "NotImplemented", message) from error


def remove_table(family: str, number: int) -> None:
    """Remove a fault's table, if it is there."""
    name = f"{family} {table(number)}"
    nft.run(f"table {name}\ndelete table {name}\n")
