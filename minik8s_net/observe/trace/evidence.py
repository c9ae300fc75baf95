"""What is asked of the kernel once the packet has passed: rule texts, routes, conntrack entries, listening sockets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

from ...kernel import lookup, rtnetlink, sockets
from .filters import Flow
from .matching import Leg, Matcher, Seen, Step, Walk
from .path import Hooks
from .places import Place
from .rulebook import RuleBook, element, key_of
from .stations import Evidence

_PROTOCOLS = {"tcp": 6, "udp": 17}
_BY_ADDRESS = re.compile(r"ip daddr \. meta l4proto \. th dport vmap @(\S+)")


async def gather(matcher: Matcher, flow: Flow, gaps: list[str]) -> tuple[Evidence, Hooks]:
    """All of it, namespace by namespace at once; what could not be had is added to `gaps`."""
    evidence = Evidence()
    hooks: dict[tuple[str, str, str, str], str] = {}
    legs = (matcher.out, matcher.back)
    steps: list[Step] = [*matcher.out.seen, *matcher.out.walks, *matcher.back.seen, *matcher.back.walks]
    places = list({step.place.name: step.place for step in steps}.values())
    await asyncio.gather(*(_place(place, legs, evidence, hooks) for place in places))
    await _tracked(matcher.out, flow, evidence)
    await _listeners(matcher.out, flow, evidence)
    unknown = [key for key, text in evidence.texts.items() if text.startswith("(")]
    gaps += [
        f"{place}: rule {handle} of {table} {chain} has no text any more" for place, _, table, chain, handle in unknown
    ]
    return evidence, hooks


async def _place(
    place: Place, legs: Iterable[Leg], evidence: Evidence, hooks: dict[tuple[str, str, str, str], str]
) -> None:
    walks = [w for leg in legs for w in leg.walks if w.place is place]
    texts, found_hooks, elements = await place.run(_rules, walks)
    evidence.texts.update({(place.name, *key): text for key, text in texts.items()})
    evidence.elements.update({(place.name, *key): text for key, text in elements.items()})
    hooks.update({(place.name, *key): hook for key, hook in found_hooks.items()})
    for walk in walks:
        walk.hook = found_hooks.get((walk.family, walk.table, walk.chain), "")
    questions = {q for leg in legs for q in _route_questions([s for s in leg.seen if s.place is place], leg.walks)}
    for dst, src, iif in questions:
        evidence.routes[place.name, dst, iif] = await place.run(lookup.route, dst, src, iif)


def _rules(
    walks: list[Walk],
) -> tuple[dict[tuple[str, str, str, int], str], dict[tuple[str, str, str], str], dict[tuple[str, str, str, int], str]]:
    """Inside the place: the rules' texts, the base chains' hooks, the map elements found."""
    book = RuleBook()
    events = [event for walk in walks for event in walk.events]
    texts, elements = book.texts(events), {}
    for walk in walks:
        for event in walk.events:
            text = texts.get(key_of(event), "")
            if event.handle and (found := _BY_ADDRESS.search(text)):
                p = walk.packet
                key = f"{p.dst} . {p.kind} . {p.dport}"
                elements[key_of(event)] = element(event.family, event.table, found[1], key)
    return texts, book.hooks(events), elements


def _route_questions(seen: list[Seen], walks: list[Walk]) -> Iterable[tuple[str, str, str]]:
    """(destination, source, device) as the routing decision met them: after DNAT, before SNAT."""
    plain = [s for s in seen if not s.wrapped]
    if not plain:
        return
    if plain[0].outgoing:
        yield plain[0].packet.dst, plain[0].packet.src, ""
        return
    up = [s for s in plain if not s.outgoing and not s.master]  # a frame that stays in its bridge is not routed
    if up:
        here = (w for w in walks if w.place is plain[0].place and not w.wrapped)
        forwarded = [w.packet.dst for w in here if w.hook in ("forward", "input")]
        yield (forwarded or [up[-1].packet.dst])[-1], plain[0].packet.src, up[-1].interface


async def _tracked(out: Leg, flow: Flow, evidence: Evidence) -> None:
    """In every node: the entry of the flow as its first packet came there."""
    steps: list[Step] = [*out.seen, *out.walks]
    first: dict[str, Step] = {}
    for step in steps:
        if step.place.kind == "node" and not step.wrapped:
            first.setdefault(step.place.name, step)
    for name, step in first.items():
        p = step.packet
        asked = (_PROTOCOLS[flow.protocol], p.src, p.sport, p.dst, p.dport)
        if found := await step.place.run(lookup.tracked, *asked):
            evidence.tracked[name] = found


async def _listeners(out: Leg, flow: Flow, evidence: Evidence) -> None:
    """Where the packet arrived to stay: who has a socket there."""
    arrived = [s for s in out.seen if not s.outgoing and not s.wrapped and not s.master]
    if not arrived:
        return
    last = arrived[-1]
    if any(s.outgoing and s.place is last.place and s.at_ns > last.at_ns for s in out.seen):
        return  # it went on from there
    place, ip, port = last.place, last.packet.dst, last.packet.dport
    found = [each for each in await place.run(sockets.listeners, flow.protocol) if each.port == port and each.takes(ip)]
    if found:
        pids = await asyncio.to_thread(sockets.processes_in, place.fd)
        who = await asyncio.to_thread(sockets.owner, found[0].inode, pids)
        detail = f"process {who[0]} ({who[1]})" if who else "its process may not be looked at"
        evidence.listeners[place.name] = (f"{found[0]} is open: the packet is for it", detail)
    elif ip in await place.run(_own_addresses):
        evidence.listeners[place.name] = (
            f"nobody listens on {flow.protocol} port {port}",
            "no such socket in /proc/net",
        )


def _own_addresses() -> set[str]:
    return {address.ip for address in rtnetlink.addresses()}
