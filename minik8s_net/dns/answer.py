"""A question → what to say: the whole decision between an answer, NODATA, NXDOMAIN, SERVFAIL and REFUSED.

    in no zone of ours                    → the next source; after the last: REFUSED
    not yet synced with the API           → SERVFAIL (an unknown name is not a name that does not exist)
    the name is an alias (CNAME)          → it, followed as far as our zones go
    the name has records of the type      → NOERROR with them (SRV: their addresses in the additional section)
    the name exists, or a name below it   → NOERROR, no answer, SOA ("NODATA", RFC 2308 §2.2)
    otherwise                             → NXDOMAIN, SOA; or, where the zone falls through, the next source

Pure: sources are tried in the order in which CoreDNS' plugins are (hosts, kubernetes, file, forward).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .names import Names, Record
from .records import address_record, undashed
from .wire import NOERROR, NXDOMAIN, REFUSED, RR, SERVFAIL

MAX_CNAMES = 8


@dataclass
class Zone:
    """Names under some apexes that we answer for. `fallthrough`: where "no such name" means "ask the next source";
    of a `flat` zone (hosts) a name that has no entry is no such name, also if it is the apex or a parent of one."""

    apexes: tuple[str, ...]
    names: Names
    ttl: int = 5
    fallthrough: tuple[str, ...] = ()
    serial: int = 1
    synced: bool = True
    insecure_pods: str = ""  # the apex below which every NAMESPACE.pod has all addresses (`pods insecure`)
    flat: bool = False

    def apex_of(self, name: str) -> str | None:
        """The zone a name belongs to, None for a foreign name."""
        return longest_suffix(name, self.apexes)

    def soa(self, apex: str) -> RR:
        """The SOA record that goes with every negative answer (RFC 2308)."""
        for record in self.names.at(apex):
            if record.type == "SOA":  # a zone file's own
                return RR(apex, record, self.ttl if record.ttl is None else record.ttl)
        dot = f".{apex}" if apex else ""
        data = (f"ns.dns{dot}", f"hostmaster{dot}", self.serial, 7200, 1800, 86400, self.ttl)
        return RR(apex, Record("SOA", data), self.ttl)

    def at(self, name: str) -> list[RR]:
        """All records of a name."""
        records = self.names.at(name) or self._synthetic(name)
        return [RR(name, r, self.ttl if r.ttl is None else r.ttl) for r in records]

    def exists(self, name: str) -> bool:
        """Whether the name exists, with records or only with names below it (RFC 8020)."""
        return self.names.exists(name) or bool(self._synthetic(name))

    def _synthetic(self, name: str) -> list[Record]:
        """`1-2-3-4.NAMESPACE.pod.ZONE` → 1.2.3.4, whether or not there is such a pod (2.6, deprecated but required)."""
        label, _, parent = name.partition(".")
        if not self.insecure_pods or parent.partition(".")[2] != f"pod.{self.insecure_pods}":
            return []
        address = undashed(label) if self.names.exists(parent) else None
        return [address_record(str(address))] if address else []


@dataclass(frozen=True)
class Forward:
    """Questions below `zone` go to other servers, except those below `exclude`."""

    zone: str
    upstreams: tuple[tuple[str, int], ...]
    exclude: tuple[str, ...] = ()
    keep: int = 0  # seconds that an answer is kept at most (the directive `cache`)
    max_concurrent: int = 1000  # questions that may wait at a time; kubeadm's Corefile has this number

    def takes(self, name: str) -> bool:
        return is_below(name, self.zone) and longest_suffix(name, self.exclude) is None


Source = Zone | Forward


@dataclass
class Answer:
    """`ask` set: the rest is known only to another server (`ask[1]` is the name to ask it for)."""

    rcode: int
    answer: list[RR] = field(default_factory=list)
    authority: list[RR] = field(default_factory=list)
    additional: list[RR] = field(default_factory=list)
    authoritative: bool = True
    recursive: bool = False
    ask: tuple[Forward, str] | None = None

    def capped(self, ttl: int) -> Answer:
        """No record with a longer TTL (CoreDNS' cache)."""
        for part in (self.answer, self.authority, self.additional):
            part[:] = [rr if rr.ttl <= ttl else rr._replace(ttl=ttl) for rr in part]
        return self


def respond(sources: Sequence[Source], name: str, qtype: str) -> Answer:
    """The answer to one question of class IN. `name` as in wire.Query, `qtype` as "A", "SRV", "ANY" …"""
    if qtype in ("AXFR", "IXFR"):
        return Answer(REFUSED, authoritative=False)
    chain: list[RR] = []
    for _ in range(MAX_CNAMES):
        result = _lookup(sources, name, qtype)
        alias = _alias(result, qtype)
        result.answer = chain + result.answer
        if chain and result.rcode == REFUSED:  # the alias leads out of what we know: the asker follows it
            return Answer(NOERROR, result.answer)
        if alias is None:
            return result
        chain, name = result.answer, alias
    return Answer(SERVFAIL, authoritative=False)  # a loop of aliases


def _lookup(sources: Sequence[Source], name: str, qtype: str) -> Answer:
    for source in sources:
        if isinstance(source, Forward):
            if source.takes(name):
                return Answer(NOERROR, authoritative=False, ask=(source, name))
            continue
        apex = source.apex_of(name)
        if apex is None:
            continue
        if not source.synced:
            return Answer(SERVFAIL, authoritative=False)
        falls = longest_suffix(name, source.fallthrough) is not None
        if source.names.at(name) if source.flat and falls else source.exists(name) or name == apex:
            return _of_existing(source, apex, name, qtype)
        if not falls:
            return Answer(NXDOMAIN, authority=[source.soa(apex)])
    return Answer(REFUSED, authoritative=False)


def _of_existing(zone: Zone, apex: str, name: str, qtype: str) -> Answer:
    here = [rr for rr in zone.at(name) if rr.record.type != "SOA"]
    if name == apex and qtype in ("SOA", "ANY"):
        here = [zone.soa(apex), *here]
    found = [rr for rr in here if rr.record.type == qtype or rr.record.type == "CNAME"]
    if qtype == "ANY" and here:  # one RRset will do (RFC 8482 §4.1)
        found = [rr for rr in here if rr.record.type == here[0].record.type]
    if not found:
        return Answer(NOERROR, authority=[zone.soa(apex)])
    return Answer(NOERROR, answer=found, additional=_addresses(zone, found))


def _addresses(zone: Zone, found: Sequence[RR]) -> list[RR]:
    """The addresses of what SRV, NS and MX records point to, as far as the zone knows them."""
    targets: dict[str, None] = {}
    for rr in found:
        if rr.record.type == "NS":
            targets[str(rr.record.data)] = None
        elif rr.record.type in ("SRV", "MX") and isinstance(rr.record.data, tuple):
            targets[rr.record.data[-1]] = None
    return [rr for name in targets for rr in zone.at(name) if rr.record.type in ("A", "AAAA")]


def _alias(result: Answer, qtype: str) -> str | None:
    if qtype in ("CNAME", "ANY") or len(result.answer) != 1 or result.answer[0].record.type != "CNAME":
        return None
    return str(result.answer[0].record.data)


def is_below(name: str, zone: str) -> bool:
    """Is `name` the zone's apex, or under it?"""
    return not zone or name == zone or name.endswith(f".{zone}")


def longest_suffix(name: str, zones: Sequence[str]) -> str | None:
    """The most specific of the zones that a name is in, None if it is in none."""
    return max((zone for zone in zones if is_below(name, zone)), key=len, default=None)
