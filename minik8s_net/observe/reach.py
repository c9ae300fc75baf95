"""Who really reaches whom: every pair probed at once from inside its source's namespace, beside what was expected.

One short-lived thread per source joins its namespace and starts all of its probes without waiting; the sockets stay in
that namespace, so one poll then watches them all. A full matrix costs one timeout, not one per pair; a large one costs
one for each `PAIRS`. A refusal proves as much as an answer: the packet arrived. Only silence is "dropped".
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
from ..kernel import rtnetlink
from ..kernel.netlink import Socket
from ..kernel.netns import CLONE_NEWNET, Netns, setns
from ..kernel.requests import del_neighbour

Json = dict[str, Any]
Outcome = Literal["open", "refused", "dropped", "unreachable"]
WIDTH = 80
PAIRS = 400  # probed at a time: both ends of a pair may learn each other by ARP, and the machine's table holds 1024
LEAST = 24  # characters of a name in a row
LEGEND = "✓ answers, o refuses (nobody listens there), · not reached, ! against policy"
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

    @property
    def mark(self) -> str:
        """One character, and `!` where it is wrong. A refusal has its own: there is a way, and nobody at its end."""
        return {"open": "✓", "refused": "o"}.get(self.measured, "·") + ("!" if self.wrong else "")


@dataclass(frozen=True)
class Reach(Drawn):
    """The matrix. Prints as a table, source by source: see LEGEND."""

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
        side = max([len(name) for name in rows] + [len(self.protocol) + 7])
        if side + sum(len(t) + 2 for t in targets) > WIDTH:
            return self._narrow(rows, targets)
        lines = [f"{f'{self.protocol}/{self.port}':<{side}}  " + "  ".join(targets)]
        for source, row in rows.items():
            marks = (f"{_mark(row, t):^{len(t)}}" for t in targets)
            lines.append(f"{source:<{side}}  " + "  ".join(marks).rstrip())
        return "\n".join([*lines, self._sum()])

    def _narrow(self, rows: dict[str, dict[str, Cell]], targets: list[str]) -> str:
        """Everybody by number, and who has which: for more than fit side by side; in blocks where numbers do not."""
        number = {name: i for i, name in enumerate(dict.fromkeys([*targets, *rows]), 1)}
        digits = len(str(len(number)))
        cell = max(digits, 2) + 1  # a mark may have two characters
        side = min(max(len(name) for name in rows), max(LEAST, WIDTH - digits - 1 - cell * len(targets)))
        size = (WIDTH - digits - 1 - side) // cell
        lines: list[str] = []
        for block in (targets[i : i + size] for i in range(0, len(targets), size)):
            head = f"{f'{self.protocol}/{self.port}':<{digits + 1 + side}}"
            lines.append(head + "".join(f"{number[t]:>{cell}}" for t in block))
            for source, row in rows.items():
                marks = "".join(f"{_mark(row, t):>{cell}}" for t in block)
                lines.append(f"{number[source]:>{digits}} {_short(source, side):<{side}}{marks}")
            lines.append("")
        legend = ", ".join(f"{n}\xa0{name}" for name, n in number.items())  # a number stays with its name
        who = [line.replace("\xa0", " ") for line in textwrap.wrap(legend, WIDTH, break_on_hyphens=False)]
        return "\n".join([*lines, *who, self._sum()])

    def _sum(self) -> str:
        told = f"{len(self.cells)} pairs in {self.seconds:.2f} s, {len(self.wrong)} against policy"
        return f"{told}\n{LEGEND}"


def _mark(row: dict[str, Cell], target: str) -> str:
    return row[target].mark if target in row else ""


def _short(name: str, width: int) -> str:
    """Without its middle: what tells pods of one Deployment apart is the end."""
    head = width // 3
    return name if len(name) <= width else f"{name[:head]}…{name[len(name) - (width - head - 1) :]}"


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
    """Probe every target from every source. Blocking, at most `timeout` seconds for every `PAIRS`; run it off the
    event loop.

    `expected` says for (source name, target name) whether it should get through.
    """
    began = time.monotonic()
    outcomes: dict[tuple[str, str], Outcome | None] = {}
    step = max(1, PAIRS // max(1, len(targets)))
    for start in range(0, len(sources), step):
        outcomes |= _round(sources[start : start + step], targets, port, protocol, timeout)
        if step < len(sources):
            _forget(sources, targets)
    if missing := [s.name for s in sources for t in targets if (s.name, t.name) not in outcomes]:
        raise OSError(f"no probe could start in the namespace of {', '.join(dict.fromkeys(missing))}")
    cells = tuple(
        Cell(s.name, t.name, outcomes[s.name, t.name] or "dropped", _expected(expected, s.name, t.name))
        for s in sources
        for t in targets
    )
    return Reach(port, protocol, cells, time.monotonic() - began)


def _round(
    sources: Sequence[Place], targets: Sequence[Place], port: int, protocol: str, timeout: float
) -> dict[tuple[str, str], Outcome | None]:
    """All at once. A pair is missing where no thread could enter the source's namespace."""
    pending: dict[socket.socket, _Probe] = {}
    done: list[_Probe] = []
    deadline = time.monotonic() + timeout
    _each_in_its_namespace(sources, lambda source: _start(source, targets, port, protocol, pending, done))
    _watch(pending, deadline)
    return {(p.source, p.target): p.outcome for p in (*done, *pending.values())}


def _forget(sources: Sequence[Place], targets: Sequence[Place]) -> None:
    """Take what both ends have just learned by ARP out of the machine's one table again."""
    probed = {place.ip for place in (*sources, *targets)}

    def forget(place: Place) -> None:
        with Socket() as sock:
            index = {name: i for i, name in rtnetlink.index_names(sock).items()}
            learned = [n for n in rtnetlink.neighbours(sock) if not n.permanent and n.ip in probed and n.dev in index]
            sock.burst([del_neighbour(n, index[n.dev]) for n in learned])

    ends = {place.name: place for place in (*sources, *targets) if place.netns is not None}
    _each_in_its_namespace(list(ends.values()), forget)


def _each_in_its_namespace(places: Sequence[Place], work: Callable[[Place], None]) -> None:
    """Each on a thread of its own, which ends in the namespace it joined."""

    def run(place: Place) -> None:
        _join(place)
        work(place)

    threads = [threading.Thread(target=run, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _join(place: Place) -> None:
    assert place.netns is not None, f"{place.name} is no source: its namespace is not known"
    if isinstance(place.netns, Path):
        fd = os.open(place.netns, os.O_RDONLY | os.O_CLOEXEC)
        setns(fd, CLONE_NEWNET)
        os.close(fd)
    else:
        setns(place.netns if isinstance(place.netns, int) else place.netns.fd, CLONE_NEWNET)


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
    """In the source's namespace. Filling the shared dict and list is atomic."""
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
