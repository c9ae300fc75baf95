"""The two ways to say it to the kernel, behind one face. Functions here run on the node's namespace thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from ..kernel import iptables as kernel_iptables
from ..kernel import nftnl
from . import iptables, nftables, nftwire
from .model import Node, ServicePort
from .pieces import in_order, pieces
from .rules import Difference, Rules

PIECE_LINES = 4000  # as root, for iptables-restore: 5000 Services in 1.5 s, and in 12 s with no limit
PIECE_BYTES = 1_000_000  # for messages of our own


class Backend(Protocol):
    def base(self, node: Node) -> Rules: ...

    def render(self, ports: Iterable[ServicePort], node: Node) -> Rules: ...

    def delta(self, have: Rules, want: Rules) -> Difference: ...

    def present(self) -> bool:
        """Whether anything of ours is in the kernel; costs nothing to ask."""

    def read(self) -> Rules:
        """What of ours is in the kernel."""

    def write(self, differences: list[Difference]) -> None:
        """Make the changes, each Service's at once. Raises OSError or RuntimeError with the tool's words."""

    def close(self) -> None:
        """Let go of the namespace; a later call may enter it again."""


class Iptables:
    def base(self, node: Node) -> Rules:
        return iptables.base()

    def render(self, ports: Iterable[ServicePort], node: Node) -> Rules:
        return iptables.render(ports, node)

    def delta(self, have: Rules, want: Rules) -> Difference:
        return iptables.delta(have, want)

    def present(self) -> bool:
        return nftnl.exists("nat", "KUBE-SERVICES")

    def read(self) -> Rules:
        return iptables.parse(kernel_iptables.save())

    def write(self, differences: list[Difference]) -> None:
        kernel_iptables.restore([iptables.restore_text(piece) for piece in pieces(differences, lines_at_once())])

    def close(self) -> None:
        pass  # every call is a process of its own


class Nftables:
    """What `nftwire` can say goes as messages of our own; the rest, rare or once only, through nft."""

    def __init__(self) -> None:
        self._connection: nftnl.Connection | None = None

    def base(self, node: Node) -> Rules:
        return nftables.base(node)

    def render(self, ports: Iterable[ServicePort], node: Node) -> Rules:
        return nftables.render(ports, node)

    def delta(self, have: Rules, want: Rules) -> Difference:
        return Difference.between(have, want)

    def present(self) -> bool:
        return nftnl.exists(nftwire.TABLE)

    def read(self) -> Rules:
        from ..kernel import nft as kernel_nft  # loads libnftables: only in this mode

        return nftables.parse(kernel_nft.list_table(nftables.TABLE))

    def write(self, differences: list[Difference]) -> None:
        moved, todo = in_order(differences)
        if any(("chain", "services") in d.delete for d in todo):  # the table's heart goes: all of it does
            self._connected().transact([nftnl.delete_table(nftwire.TABLE)])
            return
        words = [d for d in todo if not nftwire.sayable(d)]
        if not words:
            self._send([moved, *todo])
            return
        spoken = {id(d) for d in words}
        self._send([moved])
        _in_words(d for d in words if d.write or d.add)
        self._send(d for d in todo if id(d) not in spoken)
        _in_words(d for d in words if not (d.write or d.add))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, differences: Iterable[Difference]) -> None:
        for piece in self._pieces(nftwire.units(d) for d in differences if d):
            self._connected().transact(piece)

    def _connected(self) -> nftnl.Connection:
        if self._connection is None:
            self._connection = nftnl.Connection()
        return self._connection

    def _pieces(self, changes: Iterable[Iterable[list[nftnl.Message]]]) -> Iterator[list[nftnl.Message]]:
        limit = min(PIECE_BYTES, self._connected().room)
        piece: list[nftnl.Message] = []
        used = 0
        for change in changes:
            units = list(change)
            whole = [message for unit in units for message in unit]
            for part in [whole] if nftnl.size(whole) <= limit else units:
                size = nftnl.size(part)
                if piece and used + size > limit:
                    yield piece
                    piece, used = [], 0
                piece += part
                used += size
        if piece:
            yield piece


def _in_words(differences: Iterable[Difference]) -> None:
    from ..kernel import nft as kernel_nft

    for piece in pieces(differences, lines_at_once()):
        kernel_nft.run(nftables.script(piece))


def backend(mode: str) -> Backend:
    """`mode` is config.proxy_mode."""
    return Nftables() if mode == "nftables" else Iptables()


def lines_at_once() -> int:
    """Lines per transaction."""
    return kernel_iptables.PIECE_LINES if kernel_iptables.rootless() else PIECE_LINES
