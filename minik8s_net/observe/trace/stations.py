"""A leg's visits as stations: what is said of each frame, rule, translation, route and socket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ...kernel.lookup import Tracked
from ...kernel.nftrace import Event
from ..decode import DNS_PORT, Packet
from . import provenance
from .matching import Seen, Step, Walk
from .model import IDLE, Station
from .path import Visit
from .rulebook import key_of

_TRANSLATION = re.compile(r"(?<![\w-])(?:-j )?(DNAT|SNAT|MASQUERADE|(?:dnat|snat)(?= to)|masquerade)(?![\w-])")
_TRANSLATIONS = {"dnat": "DNAT", "snat": "SNAT", "masquerade": "masquerade"}
Texts = dict[tuple[str, str, str, str, int], str]
"""(place, family, table, chain, handle) -> the rule."""


@dataclass
class Evidence:
    """What was asked of the kernel afterwards, by place (and packet)."""

    texts: Texts = field(default_factory=dict)
    elements: Texts = field(default_factory=dict)
    """The same keys -> the map element that a rule's look-up found."""
    routes: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """(place, destination, device it came in by) -> the kernel's answer."""
    tracked: dict[str, Tracked] = field(default_factory=dict)
    """place -> its conntrack entry of the flow."""
    listeners: dict[str, tuple[str, str]] = field(default_factory=dict)
    """place -> (what listens, more about it)."""


class Teller:
    """Turns one leg into stations; `began_ns` is the zero of `at_ms`."""

    def __init__(self, direction: str, evidence: Evidence, began_ns: int) -> None:
        self._direction, self._evidence, self._began = direction, evidence, began_ns

    def tell(self, visits: list[Visit]) -> list[Station]:
        return [station for i, visit in enumerate(visits) for station in self._visit(visit, last=i == len(visits) - 1)]

    def _visit(self, visit: Visit, *, last: bool) -> Iterator[Station]:
        steps, place = visit.steps(), visit.place.name
        routed = False
        for i, step in enumerate(steps):
            if not routed and _is_past_routing(step):
                routed = True
                yield from self._deciding(place, step.packet)
            if isinstance(step, Seen):
                yield from self._frame(step, steps[:i])
            else:
                yield from self._walk(step, steps[i + 1 :])
        if not routed and steps:
            yield from self._deciding(place, steps[-1].packet)
        if last and self._direction == "out" and place in self._evidence.listeners:
            what, detail = self._evidence.listeners[place]
            yield self._station(place, "socket", what, detail)

    # -- frames ------------------------------------------------------------------------------------------------------
    def _frame(self, s: Seen, before: list[Step]) -> Iterator[Station]:
        place = s.place.name
        at = (s.at_ns - self._began) / 1e6
        earlier = [e for e in before if isinstance(e, Seen) and e.outer is None]
        if s.outer is not None:
            kind = f"{s.interface} (port of {s.master})" if s.master else s.interface
            verb = "sends" if s.outgoing else "receives"
            what = f"{kind} {verb} it inside VXLAN {s.outer.src} -> {s.outer.dst}, vni {s.outer.vni}"
            detail = f"outer UDP {_ends(s.outer)}\ninner {_short(s.packet)}"
            yield self._station(place, "tunnel", what, detail, interface=s.interface, at_ms=at)
            return
        if s.outgoing and s.master and earlier and not earlier[-1].outgoing and earlier[-1].master == s.master:
            what = f"bridge {s.master}: from port {earlier[-1].interface} to port {s.interface}"
            detail = f"to hardware address {s.packet.dst_mac}"
            yield self._station(place, "bridge", what, detail, interface=s.master, at_ms=at)
        if self._direction == "back" and earlier and (told := _translation(earlier[-1].packet, s.packet)):
            which, before_, after = told
            what = f"conntrack translates the answer's {which} back"
            yield self._station(place, "nat", what, "", before=before_, after=after, at_ms=at)
        if earlier and earlier[-1].master == s.interface and not s.outgoing:
            what = f"bridge {s.interface} hands {_gist(s.packet)} up to {place}"
            yield self._station(place, "bridge", what, _ends(s.packet), interface=s.interface, at_ms=at)
            return
        kind = f"{s.interface} (port of {s.master})" if s.master else s.interface
        what = f"{kind} {'sends' if s.outgoing else 'receives'} {_gist(s.packet)}"
        yield self._station(place, "interface", what, _ends(s.packet), interface=s.interface, at_ms=at)

    # -- rules -------------------------------------------------------------------------------------------------------
    def _walk(self, walk: Walk, later: list[Step]) -> Iterator[Station]:
        hits = [event for event in walk.events if event.handle]  # 0: the end of a chain
        idle = _idle(hits)
        for i, event in enumerate(hits):
            yield self._rule(walk, event, later, idle=i in idle)
        for event in walk.events:
            if event.kind == "policy" and event.verdict == "drop":
                what = f"{_hooked(walk)}: no rule let it pass, the chain's policy drops it"
                yield self._station(walk.place.name, "rule", what, f"policy of {walk.family} {walk.table} {walk.chain}")

    def _rule(self, walk: Walk, event: Event, later: list[Step], *, idle: bool) -> Station:
        place = walk.place.name
        text = self._evidence.texts.get((place, *key_of(event)), "")
        element = self._evidence.elements.get((place, *key_of(event)), "")
        detail = f"{text}\nfound: {element}" if element else text
        where = _hooked(walk) + ("" if event.chain == walk.chain else f", chain {event.chain}")
        written = provenance.written_for(event.chain, text, event.target)
        if not written and element and (named := provenance.comment(element)):
            written = f"Service {named.partition(':')[0]}"
        what = f"{where}: {_verdict(event, text)}" + (IDLE if idle else "")
        station = self._station(place, "rule", what, detail, written_by=written)
        if event.chain.startswith(provenance.POLICY_CHAINS) or event.target.startswith(provenance.POLICY_CHAINS):
            return replace(station, layer="policy")
        translated = _translates(text)
        return (
            self._with_translation(replace(station, what=f"{where}: {translated}"), walk, later)
            if translated
            else station
        )

    def _with_translation(self, station: Station, walk: Walk, later: list[Step]) -> Station:
        """The packet as the next record that differs has it."""
        p, after = walk.packet, self._after(walk, later)
        if station.what.endswith("DNAT"):
            old, new = f"{p.dst}:{p.dport}", f"{after[2]}:{after[3]}" if after else ""
        else:
            old, new = f"{p.src}:{p.sport}", f"{after[0]}:{after[1]}" if after else ""
        return replace(station, layer="nat", before=old, after=new)

    def _after(self, walk: Walk, later: list[Step]) -> tuple[str, int, str, int] | None:
        for step in later:
            if not step.wrapped and step.packet.ends != walk.packet.ends:
                return step.packet.ends
        return None

    # -- decisions ---------------------------------------------------------------------------------------------------
    def _deciding(self, place: str, packet: Packet) -> Iterator[Station]:
        """Between coming in and going out: the connection as tracked, the route as the kernel has it."""
        if self._direction == "out" and (entry := self._evidence.tracked.get(place)):
            what = f"{entry.protocol} {entry.original.replace('->', '─►')} is tracked"
            detail = f"answers are expected as {entry.reply}; state now {entry.state or 'unknown'}"
            yield self._station(place, "conntrack", what, detail)
        for (where, dst, iif), answer in self._evidence.routes.items():
            if (where, dst) == (place, packet.dst):
                asked = f"ip route get {dst} from {packet.src} iif {iif}" if iif else f"ip route get {dst}"
                yield self._station(
                    place, "route", f"to {dst}: {answer}", asked, interface=answer.rpartition("dev ")[2]
                )
                return

    def _station(self, place: str, layer: str, what: str, detail: str = "", **rest: object) -> Station:
        return Station(0, self._direction, place, layer, what, detail, **rest)  # type: ignore[arg-type]


def _idle(hits: list[Event]) -> set[int]:
    """The jumps that led nowhere: in the chains they opened nothing matched but other such jumps."""
    idle: set[int] = set()
    for i in range(len(hits) - 1, -1, -1):
        if not hits[i].target:
            continue
        open_chains, k = {hits[i].target}, i + 1
        while k in idle and hits[k].chain in open_chains:
            open_chains.add(hits[k].target)
            k += 1
        if k == len(hits) or hits[k].chain not in open_chains:
            idle.add(i)
    return idle


def _translates(text: str) -> str:
    """ "DNAT", "masquerade", "SNAT", or "" for a rule that translates nothing."""
    found = _TRANSLATION.search(re.sub(r'"[^"]*"', "", text))
    return _TRANSLATIONS[found[1].lower()] if found else ""


def _is_past_routing(step: Step) -> bool:
    """Routing comes after PREROUTING for what came in, and first of all for what is sent here."""
    if isinstance(step, Seen):
        return step.outgoing
    return step.hook in ("forward", "input", "output", "postrouting") and not step.wrapped


def _translation(before: Packet, after: Packet) -> tuple[str, str, str] | None:
    source, target = (before.src, before.sport), (before.dst, before.dport)
    if source != (after.src, after.sport) and target != (after.dst, after.dport):
        return "source and destination", _ends(before), _ends(after)
    if source != (after.src, after.sport):
        return "source", f"{before.src}:{before.sport}", f"{after.src}:{after.sport}"
    if target != (after.dst, after.dport):
        return "destination", f"{before.dst}:{before.dport}", f"{after.dst}:{after.dport}"
    return None


def _hooked(walk: Walk) -> str:
    table = walk.table if walk.family == "ip" else f"{walk.family} {walk.table}"
    return f"{table} {walk.chain}" if walk.hook in walk.chain.lower() else f"{table} {walk.chain} ({walk.hook})"


def _verdict(event: Event, text: str) -> str:
    if event.target:
        return f"{event.verdict} {event.target}"
    if "-j REJECT" in text or text.endswith("reject") or " reject " in f"{text} ":
        return "reject"
    if event.verdict == "continue":
        return next((f"{w}, go on" for w in ("MARK", "mark set") if w in text), "go on")
    return event.verdict


def _gist(p: Packet) -> str:
    if p.kind == "tcp":
        return f"TCP {p.flag_names}"
    if p.kind == "icmp":
        return f"ICMP {p.note}"
    if p.kind == "udp" and DNS_PORT in (p.sport, p.dport):
        return f"DNS {'question' if p.dport == DNS_PORT else 'answer'}, UDP, {p.size} bytes"
    return f"{p.kind.upper()}, {p.size} bytes"


def _ends(p: Packet) -> str:
    if p.kind == "icmp":
        return f"{p.src} -> {p.dst}" + (f", about {_ends(p.inner)}" if p.inner else "")
    return f"{p.src}:{p.sport} -> {p.dst}:{p.dport}"


def _short(p: Packet) -> str:
    return f"{_gist(p)} {_ends(p)}"
