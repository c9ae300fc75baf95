"""How a trace ended, and where: from the records, with what the sender was told beside it. Pure."""

from __future__ import annotations

from . import provenance
from .matching import Leg, Matcher, Seen
from .model import Station
from .probe import Outcome


def judge(outcome: Outcome, matcher: Matcher, stations: list[Station]) -> tuple[str, str, list[str]]:
    """(verdict, one sentence, gaps)."""
    stop = next((s for s in stations if _stops(s)), None)
    if outcome.end in ("answered", "connected"):
        return "delivered", outcome.words, _unseen(matcher)
    if outcome.end == "refused":
        return "refused", _refusal(matcher, stop, stations, outcome), _unseen(matcher)
    if stop is not None:
        way = "" if stop.direction == "out" else "the answer was "
        by = f" ({stop.written_by})" if stop.written_by else ""
        return "dropped", f"{way}dropped in {stop.place} by {stop.what.partition(':')[0]}{by}", []
    if outcome.end == "failed":
        return "error", outcome.words, []
    return _silence(outcome, matcher, stations)


def _stops(station: Station) -> bool:
    return station.layer in ("rule", "policy") and (
        station.what.endswith((": drop", ": reject")) or "policy drops it" in station.what
    )


def _refusal(matcher: Matcher, stop: Station | None, stations: list[Station], outcome: Outcome) -> str:
    if stop is not None:
        said = provenance.comment(stop.detail)
        written = [s.written_by for s in stations[: stations.index(stop) + 1] if s.place == stop.place and s.written_by]
        about = f" written for {written[-1]}" if written else ""
        return f"refused by a rule in {stop.place}{about}" + (f": {said}" if said else "")
    back = matcher.back.seen
    if back and back[0].packet.kind == "tcp":
        return f"refused by {back[0].place.name}: nobody listens there (TCP RST)"
    if back:
        return f"refused by {back[0].place.name}: ICMP {back[0].packet.note}"
    return outcome.words


def _silence(outcome: Outcome, matcher: Matcher, stations: list[Station]) -> tuple[str, str, list[str]]:
    """No rule dropped it, and nobody answered: where it was last seen is all that is known."""
    if matcher.request:
        return _stalled(outcome, matcher)
    if matcher.back.seen:
        leg, what = matcher.back, "the answer"
    elif matcher.out.seen:
        leg, what = matcher.out, "the packet"
    else:
        return "no-answer", f"{outcome.words}; no device saw the packet", ["no device saw the packet leave"]
    last = leg.seen[-1]
    where = f"{what} was last seen {_sight(last)}"
    end = next((s for s in reversed(stations) if s.layer == "route"), None)
    if end and end.place == last.place.name and " dev " not in end.what:
        return "no-answer", f"{outcome.words}; {where}, which has no route on {end.what}", []
    if leaving := _not_seen_leaving(leg, last):
        where += f"; it passed the rules there towards {leaving}, and never left by it"
        cause = "a queue (tc -s qdisc), a device that is down, or a neighbour that does not answer (ip neigh)"
        return "no-answer", f"{outcome.words}; {where}", [f"{where}: {cause} can be why; the kernel does not say"]
    return "no-answer", f"{outcome.words}; {where}", [f"{where}; no rule there dropped it, what did is not recorded"]


def _stalled(outcome: Outcome, matcher: Matcher) -> tuple[str, str, list[str]]:
    """The connection stands; the request or its answer is missing. Data is not followed through the rules."""
    source, target = matcher.out.seen[0].place, matcher.out.seen[-1].place
    for what, segments, end in (("the request", matcher.request, target), ("the answer", matcher.answer, source)):
        last: dict[int, Seen] = {s.packet.seq: s for s in segments}  # sorted by time: the last sight of each
        for s in last.values():
            if s.place is not end:
                where = f"a piece of {what}, {s.packet.size} bytes, was last seen {_sight(s)}"
                how = "data is not followed through the rules: a rule, a device's mtu or a queue can be why"
                return "no-answer", f"{outcome.words}; {where}", [f"{where}; {how}"]
    if not matcher.answer:
        return "no-answer", f"{outcome.words}; the request arrived in {target.name}, which sent nothing back", []
    return "no-answer", f"{outcome.words}; what {target.name} sent did arrive, too late or unfinished", []


def _sight(s: Seen) -> str:
    return f"in {s.place.name}, {'leaving by' if s.outgoing else 'arriving at'} {s.interface}"


def _unseen(matcher: Matcher) -> list[str]:
    """Where a device sent the packet and nothing at its other end recorded it, although it got through."""
    gaps = []
    for name, leg in (("out", matcher.out), ("back", matcher.back)):
        if not leg.seen:
            gaps.append(f"no frame was recorded on the way {name}")
        elif name == "out" and (end := _open_end(leg)):
            gaps.append(f"the packet left {end.place.name} by {end.interface}; who took it there was not recorded")
    return gaps


def _open_end(leg: Leg) -> Seen | None:
    return leg.seen[-1] if leg.seen[-1].outgoing else None


def _not_seen_leaving(leg: Leg, last: Seen) -> str:
    """The device the rules saw it go to, where no frame left afterwards."""
    if last.outgoing:
        return ""
    return next((w.leaving for w in reversed(leg.walks) if w.place is last.place and w.leaving), "")
