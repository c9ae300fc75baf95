"""Which of all recorded frames and rule events belong to the one exchange, on the way out or back. Pure.

Address translation changes every address and port, so packets are known again by what it leaves alone: TCP's first
sequence number, a datagram's payload. Each recognised packet teaches its addresses, and answers bear them reversed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ...kernel.nftrace import Event
from .. import decode
from ..decode import ACK, RST, SYN, Packet
from .filters import Flow
from .places import Place
from .recorder import Record

Ends = tuple[str, int, str, int]
_HEADER = 8  # bytes of a datagram's payload that rule events hold at least


@dataclass(frozen=True)
class Seen:
    """One packet at one device. `packet` is ours, out of its VXLAN wrapping `outer` if it had one."""

    place: Place
    interface: str
    master: str
    """The bridge the device is a port of, or ""."""
    outgoing: bool
    at_ns: int
    packet: Packet
    outer: Packet | None = None

    @property
    def wrapped(self) -> bool:
        return self.outer is not None


@dataclass
class Walk:
    """A chain of rules from one hook: the events of one packet in one base chain, and the packet as it came there."""

    place: Place
    family: str
    table: str
    chain: str
    packet: Packet
    leaving: str
    """The device the rules were told it would leave by; "" before routing."""
    events: list[Event] = field(default_factory=list)
    wrapped: bool = False
    """The packet is a VXLAN outer one."""
    hook: str = ""
    """prerouting, input …; filled in once the kernel was asked."""


Step = Seen | Walk


@dataclass
class Leg:
    """The way out, or the way back: everything recorded of that packet, in the kernel's order per namespace."""

    seen: list[Seen] = field(default_factory=list)
    walks: list[Walk] = field(default_factory=list)


class Matcher:
    """Sorts records into the two legs. `request` and `answer` are TCP's data, where it could be told to be ours."""

    def __init__(self, flow: Flow, records: list[Record]) -> None:
        self._flow, self._records = flow, records
        self._all = sorted((s for r in records for s in _frames(r)), key=lambda s: s.at_ns)
        walks = [walk for record in records for walk in _walks(record)]
        self._first = self._first_sequence(walks)
        self._ends: set[Ends] = {(flow.client, flow.port, "", 0)}
        self.out, self.back = Leg(), Leg()
        self.out.seen = [s for s in self._all if self._goes_out(s.packet)]
        self._ends = {s.packet.ends for s in self.out.seen}
        self.back.seen = self._first_answer()
        data = [s for s in self._all if s.packet.kind == "tcp" and s.packet.size]
        self.request = [s for s in data if s.packet.ends in self._ends]
        self.answer = [s for s in data if _reversed(s.packet.ends) in self._ends]
        self.out.walks = [walk for walk in walks if self._belongs(walk, self.out)]
        self._ends |= {walk.packet.ends for walk in self.out.walks}  # half translated: between DNAT and SNAT
        self.back.walks = [walk for walk in walks if self._belongs(walk, self.back)]

    def _first_sequence(self, walks: list[Walk]) -> int | None:
        """The sequence number of our SYN, as its own source sent it.

        Rules may have seen it so when no device has: what a node sends to a Service is translated, its source too,
        before the first device.
        """
        own = (self._flow.client, self._flow.port)
        packets = [s.packet for s in self._all] + [walk.packet for walk in walks]
        opening = (p for p in packets if p.kind == "tcp" and p.flags & (SYN | ACK) == SYN)
        return next((p.seq for p in opening if (p.src, p.sport) == own), None)

    def _goes_out(self, p: Packet) -> bool:
        if p.kind != self._flow.protocol:
            return False
        if p.kind == "tcp":
            return p.flags & (SYN | ACK | RST) == SYN and p.seq == self._first
        return p.payload[: len(self._flow.payload)] == self._flow.payload and len(self._flow.payload) > 0

    def _comes_back(self, p: Packet) -> bool:
        if p.kind == "icmp":
            return p.inner is not None and p.inner.ends in self._ends and self._same_first(p.inner)
        if p.kind != self._flow.protocol or _reversed(p.ends) not in self._ends:
            return False
        if p.kind == "tcp":
            return bool(p.flags & (SYN | RST)) and (p.ack - (self._first or 0)) & 0xFFFFFFFF == 1
        return not self._flow.is_dns or p.payload[:2] == self._flow.payload[:2]

    def _same_first(self, p: Packet) -> bool:
        return p.kind == "udp" or p.seq == self._first

    def _first_answer(self) -> list[Seen]:
        """The first answer of all (a server's SYN-ACK may come twice), wherever it was seen."""
        answers = [s for s in self._all if self._comes_back(s.packet)]
        return [s for s in answers if _identity(s.packet) == _identity(answers[0].packet)]

    def _belongs(self, walk: Walk, leg: Leg) -> bool:
        if walk.wrapped:
            return any(s.outer and s.outer.ends == walk.packet.ends for s in leg.seen)
        return self._walks_out(walk.packet) if leg is self.out else self._walks_back(walk.packet)

    def _walks_out(self, p: Packet) -> bool:
        """Rule events hold the headers only, of UDP a few bytes more."""
        if p.kind != self._flow.protocol:
            return False
        if p.kind == "tcp":
            return p.flags & (SYN | ACK | RST) == SYN and p.seq == self._first
        known = (p.src, p.sport) == (self._flow.client, self._flow.port) or p.ends in self._ends
        return known and p.payload[:_HEADER] == self._flow.payload[:_HEADER]

    def _walks_back(self, p: Packet) -> bool:
        if p.kind == "icmp":  # the quoted packet is not in the event
            return any(s.packet.kind == "icmp" for s in self.back.seen) and p.dst in {e[0] for e in self._ends}
        return self._comes_back(p)


def _reversed(ends: Ends) -> Ends:
    src, sport, dst, dport = ends
    return dst, dport, src, sport


def _identity(p: Packet) -> tuple[object, ...]:
    return (p.kind, p.flags, p.seq, p.ack) if p.kind == "tcp" else (p.kind, p.payload, p.note)


def _frames(record: Record) -> list[Seen]:
    """Decoded and unwrapped; without the copies a bridge floods to hosts they are not for."""
    found = []
    for frame in record.frames:
        link = record.links.get(frame.ifindex)
        if link is None or (frame.stranger and not link.master):
            continue
        packet = decode.ethernet(frame.data)
        outer = packet if packet.vni and packet.inner else None
        ours = packet.inner if outer and packet.inner else packet
        found.append(Seen(record.place, link.name, link.master, frame.outgoing, frame.at_ns, ours, outer))
    return found


def _walks(record: Record) -> list[Walk]:
    """The events, grouped by packet and base chain: the first of each group carries the packet."""
    walks: list[Walk] = []
    current: dict[int, Walk] = {}
    for event in record.events:
        if event.network:
            packet = _packet(event)
            link = record.links.get(event.oif)
            leaving = link.name if link else ""
            walk = Walk(record.place, event.family, event.table, event.chain, packet, leaving)
            walk.wrapped = packet.dport == decode.VXLAN_PORT
            walks.append(walk)
            current[event.packet] = walk
        if walk_ := current.get(event.packet):
            walk_.events.append(event)
    return walks


def _packet(event: Event) -> Packet:
    """The packet of an event that has its headers; of UDP also the first bytes of its payload."""
    packet = decode.ip(event.network, transport=event.transport)
    if packet.kind == "udp" and packet.inner is None:
        return replace(packet, payload=event.transport[8 : 8 + _HEADER])
    if packet.kind == "udp":
        return replace(packet, inner=None)
    return packet
