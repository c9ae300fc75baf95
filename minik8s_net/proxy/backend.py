"""The two ways to say it to the kernel, behind one face. Functions here run on the node's namespace thread.

Rootless, one netlink batch must fit the socket buffer, so that a big change is written in pieces of whole Services,
chains before the jumps to them: each Service still appears at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from ..kernel import iptables as kernel_iptables
from . import iptables, nftables
from .model import Node, ServicePort
from .rules import Chain, Difference, Rules


class Backend(Protocol):
    def base(self, node: Node) -> Rules: ...

    def render(self, ports: Iterable[ServicePort], node: Node) -> Rules: ...

    def delta(self, have: Rules, want: Rules) -> Difference: ...

    def read(self) -> Rules:
        """What of ours is in the kernel."""

    def write(self, differences: list[Difference]) -> None:
        """Make the changes, each Service's at once. Raises OSError or RuntimeError with the tool's words."""


class Iptables:
    def base(self, node: Node) -> Rules:
        return iptables.base()

    def render(self, ports: Iterable[ServicePort], node: Node) -> Rules:
        return iptables.render(ports, node)

    def delta(self, have: Rules, want: Rules) -> Difference:
        return iptables.delta(have, want)

    def read(self) -> Rules:
        return iptables.parse(kernel_iptables.save())

    def write(self, differences: list[Difference]) -> None:
        kernel_iptables.restore([iptables.restore_text(piece) for piece in pieces(differences, batch_limit())])


class Nftables:
    def base(self, node: Node) -> Rules:
        return nftables.base(node)

    def render(self, ports: Iterable[ServicePort], node: Node) -> Rules:
        return nftables.render(ports, node)

    def delta(self, have: Rules, want: Rules) -> Difference:
        return Difference.between(have, want)

    def read(self) -> Rules:
        from ..kernel import nft as kernel_nft  # loads libnftables: only in this mode

        return nftables.parse(kernel_nft.list_table(nftables.TABLE))

    def write(self, differences: list[Difference]) -> None:
        from ..kernel import nft as kernel_nft

        if any(("chain", "services") in d.delete for d in differences):  # the table's heart goes: all of it does
            kernel_nft.run(f"delete table {nftables.TABLE}\n")
            return
        for piece in pieces(differences, batch_limit()):
            kernel_nft.run(nftables.script(piece))


def backend(mode: str) -> Backend:
    """`mode` is config.proxy_mode."""
    return Nftables() if mode == "nftables" else Iptables()


def batch_limit() -> int | None:
    """Lines per transaction; None (no limit) where the kernel lets us have a large enough socket buffer."""
    return kernel_iptables.PIECE_LINES if kernel_iptables.rootless() else None


def pieces(differences: Iterable[Difference], limit: int | None) -> Iterator[list[Difference]]:
    """Group changes into transactions of at most `limit` lines, splitting only Services that are larger than that."""
    todo = [d for d in differences if d]
    if limit is None:
        if todo:
            yield todo
        return
    group: list[Difference] = []
    room = limit
    for part in (p for d in todo for p in _split(d, limit)):
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
