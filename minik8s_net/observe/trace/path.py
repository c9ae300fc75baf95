"""The order of things: one leg's frames and rule walks as a list of visits, namespace after namespace. Pure.

Frames carry the kernel's time, rule events do not; but where a hook lies between two devices is fixed (PREROUTING
after a packet came in, FORWARD and POSTROUTING before it goes out, …), so each walk finds its place among the frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .matching import Leg, Seen, Step, Walk
from .places import Place

Hooks = Mapping[tuple[str, str, str, str], str]
"""(place, family, table, chain) -> the hook."""
_RANK = {"prerouting": 0, "output": 0, "input": 1, "forward": 1, "postrouting": 2}


@dataclass
class Visit:
    """One stay of the packet in one namespace: what was seen of it there, in order."""

    place: Place
    seen: list[Seen] = field(default_factory=list)
    walks: list[Walk] = field(default_factory=list)

    def steps(self) -> list[Step]:
        """Frames and walks, merged. A wrapped packet's walks stand at its own frames."""
        steps: list[Step] = list(self.seen)
        for walk in self.walks:
            steps.insert(_position(steps, walk.hook, walk), walk)
        return steps


def _position(steps: list[Step], hook: str, walk: Walk) -> int:
    """Where a walk belongs: after the frame that brought the packet there, and after the walks already there."""
    frames = [(i, s) for i, s in enumerate(steps) if isinstance(s, Seen) and s.wrapped == walk.wrapped]
    comings = [i for i, s in frames if not s.outgoing]
    goings = [i for i, s in frames if s.outgoing]
    if hook == "prerouting":
        at = comings[0] + 1 if comings else 0
    elif hook == "output":
        at = 0 if not goings else goings[0]
    elif hook == "input":
        at = comings[-1] + 1 if comings else len(steps)
    else:
        later = [i for i in goings if not comings or i > comings[-1]]
        at = later[0] if later else (comings[-1] + 1 if comings else len(steps))
    if hook in ("forward", "postrouting", "output") and goings and at in goings:
        return at  # directly before the frame that leaves: earlier walks are already before it
    while at < len(steps) and not isinstance(steps[at], Seen):
        at += 1
    return at


def visits(leg: Leg, hooks: Hooks) -> list[Visit]:
    """The leg as stays in namespaces, in the order of time."""
    found: list[Visit] = []
    for seen in _without_floods(leg.seen):
        if not found or found[-1].place is not seen.place:
            found.append(Visit(seen.place))
        found[-1].seen.append(seen)
    chunks: dict[str, list[list[Walk]]] = {}
    for walk in leg.walks:
        walk.hook = hooks.get((walk.place.name, walk.family, walk.table, walk.chain), "")
        own = chunks.setdefault(walk.place.name, [])
        if not own or _begins_anew(own[-1], walk):
            own.append([])
        own[-1].append(walk)
    for name, own in chunks.items():
        here = [visit for visit in found if visit.place.name == name]
        for i, chunk in enumerate(own):
            if here:
                here[min(i, len(here) - 1)].walks += chunk
            else:  # no frame: it was made here, and never left
                found.insert(0 if chunk[0].hook == "output" else len(found), Visit(chunk[0].place, [], chunk))
    for visit in found:
        visit.walks = _once(visit.walks)
    return found


def _once(walks: list[Walk]) -> list[Walk]:
    """A bridge that floods takes each copy through the same rules: told once."""
    told: dict[tuple[object, ...], Walk] = {}
    for walk in walks:
        hits = tuple((event.chain, event.handle, event.verdict) for event in walk.events)
        told.setdefault((walk.family, walk.table, walk.chain, walk.wrapped, walk.packet.ends, hits), walk)
    return list(told.values())


def _begins_anew(chunk: list[Walk], walk: Walk) -> bool:
    """Hooks come in one order only: an earlier one means that the packet came a second time."""
    same = [w.hook for w in chunk if w.wrapped == walk.wrapped]
    return bool(same) and _RANK.get(walk.hook, 0) < _RANK.get(same[-1], 0)


def _without_floods(seen: list[Seen]) -> list[Seen]:
    """A bridge that does not know an address sends to all its ports. Only the copy that went on is our way."""
    kept = []
    for i, s in enumerate(seen):
        if s.outgoing and s.master:
            copies = [
                t for t in seen if t.place is s.place and t.outgoing and t.master == s.master
                and t.packet.ends == s.packet.ends and abs(t.at_ns - s.at_ns) < 1_000_000
            ]  # fmt: skip
            if len(copies) > 1 and not _taken_up(seen[i + 1 :], s):
                continue
        kept.append(s)
    return kept


def _taken_up(later: list[Seen], s: Seen) -> bool:
    """Whether the device's other end saw it next: fabric ports are named after their node, pod ports by address."""
    for t in later:
        if t.place is not s.place and not t.outgoing:
            return s.interface == t.place.name or s.interface == _port_of(t)
    return False


def _port_of(t: Seen) -> str:
    return "veth" + bytes(int(part) for part in t.packet.dst.split(".")).hex()
