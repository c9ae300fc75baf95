"""Who really reaches whom: every pair probed at once from inside its source's namespace, beside what was expected.

One short-lived thread per source joins its namespace and starts all of its probes without waiting; the sockets stay in
that namespace, so one poll then watches them all. A full matrix costs one timeout, not one per pair. A refusal proves
as much as an answer: the packet arrived. Only silence is "dropped".
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..drawn import Drawn
from ..kernel.netns import CLONE_NEWNET, Netns, setns

Json = dict[str, Any]
Outcome = Literal["open", "refused", "dropped", "unreachable"]
WIDTH = 80
_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
_REFUSED = (errno.ECONNREFUSED, errno.ECONNRESET)


@dataclass(frozen=True)
class Place:
    """An end of probes. `netns` (an object, a path, or a descriptor) is needed only of sources."""

    name: str
    ip: str
    netns: Netns | Path | int | None = None


@dataclass(frozen=True)
class Cell:
    """`expected`: whether policy lets it through; None if nobody said."""

    source: str
    target: str
    measured: Outcome
    expected: bool | None = None

    @property
    def reached(self) -> bool:
        """Whether the packet arrived: a refusal proves as much as an answer."""
        return self.measured in ("open", "refused")

    @property
    def wrong(self) -> bool:
        """Whether that is not what was expected."""
        return self.expected is not None and self.expected != self.reached


@dataclass(frozen=True)
class Reach(Drawn):
    """The matrix, source by source. Prints as a table: ✓ reached, · not; `!` where policy says otherwise."""

    port: int
    protocol: str
    cells: tuple[Cell, ...]
    seconds: float

    def __getitem__(self, pair: tuple[str, str]) -> Cell:
        return next(c for c in self.cells if (c.source, c.target) == pair)

    @property
    def wrong(self) -> list[Cell]:
        """The cells that are not as expected."""
        return [c for c in self.cells if c.wrong]

    def to_dict(self) -> Json:
        """Plain JSON; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> Reach:
        """The inverse of to_dict."""
        cells = tuple(Cell(**cell) for cell in data["cells"])
        return cls(data["port"], data["protocol"], cells, data["seconds"])

    def __str__(self) -> str:
        rows: dict[str, dict[str, Cell]] = {}
        for cell in self.cells:
            rows.setdefault(cell.source, {})[cell.target] = cell
        targets = list(dict.fromkeys(c.target for c in self.cells))
        if sum(len(t) + 2 for t in targets) > WIDTH:
            return self._narrow(rows, targets)
        side = max([len(name) for name in rows] + [len(self.protocol) + 7])
        lines = [f"{f'{self.protocol}/{self.port}':<{side}}  " + "  ".join(targets)]
        for source, row in rows.items():
            marks = (f"{_mark(row.get(t)):^{len(t)}}" for t in targets)
            lines.append(f"{source:<{side}}  " + "  ".join(marks).rstrip())
        return "\n".join([*lines, self._sum()])

    def _narrow(self, rows: dict[str, dict[str, Cell]], targets: list[str]) -> str:
        """Columns by number, and who has which number: for more than fit side by side."""
        number = {target: i for i, target in enumerate(targets, 1)}
        cell = len(str(len(targets))) + 1
        side = min(max(len(name) for name in rows), max(16, WIDTH - cell * len(targets)))
        rows = {name if len(name) <= side else f"{name[: side - 1]}…": row for name, row in rows.items()}
        lines = [f"{f'{self.protocol}/{self.port}':<{side}}" + "".join(f"{n:>{cell}}" for n in number.values())]
        lines += [f"{s:<{side}}" + "".join(f"{_mark(row.get(t)):>{cell}}" for t in targets) for s, row in rows.items()]
        legend = [f"{n} {target}" for target, n in number.items()]
        return "\n".join([*lines, *textwrap.wrap("to: " + ", ".join(legend), WIDTH), self._sum()])

    def _sum(self) -> str:
        marks = "✓ reached, · not, ! against policy"
        return f"{len(self.cells)} pairs in {self.seconds:.2f} s, {len(self.wrong)} against policy ({marks})"


def _mark(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return ("✓" if cell.reached else "·") + ("!" if cell.wrong else "")


@dataclass
class _Probe:
    source: str
    target: str
    outcome: Outcome | None = None


def reach(
    sources: Sequence[Place],
    targets: Sequence[Place],
    port: int,
    protocol: str = "TCP",
    *,
    timeout: float = 1.0,
    expected: Mapping[tuple[str, str], bool] | Callable[[str, str], bool] | None = None,
) -> Reach:
    """Probe every target from every source at once. Blocking, at most `timeout` seconds; run it off the event loop.

    `expected` says for (source name, target name) whether it should get through.
    """
    began = time.monotonic()
    pending: dict[socket.socket, _Probe] = {}
    done: list[_Probe] = []
    threads = [threading.Thread(target=_start, args=(s, targets, port, protocol, pending, done)) for s in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _watch(pending, began + timeout)
    outcomes = {(p.source, p.target): p.outcome for p in (*done, *pending.values())}
    if missing := [s.name for s in sources for t in targets if (s.name, t.name) not in outcomes]:
        raise OSError(f"no probe could start in the namespace of {', '.join(dict.fromkeys(missing))}")
    cells = tuple(
        Cell(s.name, t.name, outcomes[s.name, t.name] or "dropped", _expected(expected, s.name, t.name))
        for s in sources
        for t in targets
    )
    return Reach(port, protocol, cells, time.monotonic() - began)


def _expected(
    expected: Mapping[tuple[str, str], bool] | Callable[[str, str], bool] | None, source: str, target: str
) -> bool | None:
    if expected is None:
        return None
    return expected(source, target) if callable(expected) else expected.get((source, target))


def _start(
    source: Place,
    targets: Sequence[Place],
    port: int,
    protocol: str,
    pending: dict[socket.socket, _Probe],
    done: list[_Probe],
) -> None:
    """On a thread of its own, which ends in the namespace it joined. Filling the shared dict and list is atomic."""
    assert source.netns is not None, f"{source.name} is no source: its namespace is not known"
    if isinstance(source.netns, Path):
        fd = os.open(source.netns, os.O_RDONLY | os.O_CLOEXEC)
        setns(fd, CLONE_NEWNET)
        os.close(fd)
    else:
        setns(source.netns if isinstance(source.netns, int) else source.netns.fd, CLONE_NEWNET)
    for target in targets:
        probe = _Probe(source.name, target.name)
        sock = socket.socket(socket.AF_INET, _KINDS[protocol])
        sock.setblocking(False)
        code = sock.connect_ex((target.ip, port))
        if protocol == "UDP" and code == 0:
            try:
                sock.send(b"minik8s reach\n")
                code = errno.EINPROGRESS
            except OSError as error:
                code = error.errno or 0
        if code == errno.EINPROGRESS:
            pending[sock] = probe
        else:
            probe.outcome = _outcome(code)
            done.append(probe)
            sock.close()


def _watch(pending: dict[socket.socket, _Probe], deadline: float) -> None:
    """Fill in what happens until the deadline; close every socket, a connected one by reset (no TIME_WAIT is left)."""
    with selectors.DefaultSelector() as selector:
        for sock in pending:
            stream = sock.type == socket.SOCK_STREAM
            selector.register(sock, selectors.EVENT_WRITE if stream else selectors.EVENT_READ)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                pending[ready].outcome = _outcome(_result(ready))
                selector.unregister(ready)
    for sock in list(pending):
        if sock.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        sock.close()


def _result(sock: socket.socket) -> int:
    if sock.type == socket.SOCK_STREAM:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    try:
        sock.recv(2048)
    except OSError as error:
        return error.errno or 0
    return 0


def _outcome(code: int) -> Outcome:
    return "open" if code == 0 else "refused" if code in _REFUSED else "unreachable"
