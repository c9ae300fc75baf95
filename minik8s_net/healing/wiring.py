"""Links, addresses, routes, neighbours and sysctls of one place: what differs, and putting it back.

The comparison and the mending go item by item, so that one thing can stay broken while all else is mended.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from ..kernel import ensure as kernel
from ..kernel import rtnetlink, sysctl
from ..kernel.ensure import Wanted
from ..kernel.netlink import Socket
from ..kernel.netns import NETNS_DIR, inside
from ..kernel.rtnetlink import Address, Fdb, Link, Neighbour, Route
from .drift import MISSING, Drift
from .places import Place

Item = Link | Address | Route | Neighbour | Fdb
R = TypeVar("R")
_LINK_FIELDS = ("kind", "up", "master", "hairpin", "mac", "mtu", "vni", "local")


@dataclass(frozen=True)
class Found:
    """What the kernel of one namespace holds."""

    links: dict[str, Link]
    addresses: set[Address]
    routes: set[Route]
    neighbours: set[Neighbour]
    fdb: set[Fdb]
    sysctls: dict[str, str | None]


async def wiring_drift(place: Place) -> list[Drift]:
    """Everything of the place that is not as it was written. A pod that has just gone has no drift."""
    try:
        found = await place.netns.run(within, place, _look, place)
    except FileNotFoundError:
        return []
    return list(compare(place, found))


async def mend_wiring(place: Place, spared: Callable[[Drift], bool]) -> None:
    """Put back what is missing or altered, but for what is `spared`; links must exist (see `replug`)."""
    await place.netns.run(within, place, _mend, place, spared)


def compare(place: Place, found: Found) -> Iterator[Drift]:
    """Pure: wanted against found."""

    def says(item: Item, wanted: str, have: str) -> Drift:
        port = place.ports.get(item.name) if isinstance(item, Link) else None
        whom = f"Pod {port.sandbox.config.namespace}/{port.sandbox.config.name}" if port else place.object
        component, what = named(item)
        return Drift(component, place.name, what, wanted, have, whom)

    for link in place.wanted.links:
        if (now := found.links.get(link.name)) is None:
            yield says(link, "there", MISSING)
        elif wrong := [f for f in _LINK_FIELDS if _asked(link, f) and getattr(link, f) != getattr(now, f)]:
            yield says(link, _fields(link, wrong), _fields(now, wrong))
    for address in place.wanted.addresses:
        if address not in found.addresses:
            yield says(address, "there", MISSING)
    known = {replace(route, src="") for route in found.routes}
    for route in place.wanted.routes:
        if route not in known:
            others = [_way(r) for r in sorted(known, key=str) if r.dst == route.dst]
            yield says(route, _way(route), " and ".join(others) or MISSING)
    for neighbour in place.wanted.neighbours:
        if neighbour not in found.neighbours:
            yield says(neighbour, f"{neighbour.mac} permanent", MISSING)
    for entry in place.wanted.fdb:
        if entry not in found.fdb:
            yield says(entry, f"to {entry.dst}", MISSING)
    for name, value in place.sysctls.items():
        if found.sysctls[name] not in (None, str(value)):
            yield Drift("sysctl", place.name, f"sysctl {name}", str(value), str(found.sysctls[name]), place.object)


def named(item: Item) -> tuple[str, str]:
    """Component and name of a thing: what pauses match."""
    match item:
        case Link():
            return "link", f"link {item.name}"
        case Address():
            return "address", f"address {item.ip}/{item.prefix} on {item.dev}"
        case Route():
            return "route", f"route {item.dst}"
        case Neighbour():
            return "neighbour", f"neighbour {item.ip} on {item.dev}"
        case Fdb():
            return "neighbour", f"forwarding entry {item.mac} on {item.dev}"


def _asked(link: Link, field: str) -> bool:
    """In a wanted link "" and 0 mean "as it comes"; whether it is up and on which bridge always counts."""
    return field in ("up", "master", "hairpin") or bool(getattr(link, field))


def _fields(link: Link, names: list[str]) -> str:
    def word(name: str) -> str:
        value = getattr(link, name)
        if name == "up":
            return "up" if value else "down"
        if name == "master":
            return f"on {value}" if value else "on no bridge"
        return f"{name} {value}"

    return ", ".join(map(word, names))


def _way(route: Route) -> str:
    return f"via {route.via} dev {route.dev}" if route.via else f"dev {route.dev}"


# -- in the place's namespace ------------------------------------------------------------------------------------------
def within(place: Place, function: Callable[..., R], *args: object) -> R:
    """On the thread of `place.netns`: step into the pod's own namespace where it is a pod."""
    if place.pod is None:
        return function(*args)
    fd = os.open(NETNS_DIR / place.pod.sandbox.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return inside(fd, place.netns.fd, function, *args)
    finally:
        os.close(fd)


def _look(place: Place) -> Found:
    with Socket() as sock:
        return Found(
            {link.name: link for link in rtnetlink.links(sock)},
            set(rtnetlink.addresses(sock)),
            set(rtnetlink.routes(sock)),
            set(rtnetlink.neighbours(sock)),
            set(rtnetlink.fdb(sock)) if place.wanted.fdb else set(),
            {name: sysctl.get(name) for name in place.sysctls},
        )


def _mend(place: Place, spared: Callable[[Drift], bool]) -> None:
    wrong = [drift for drift in compare(place, _look(place)) if not spared(drift)]
    names = {(drift.component, drift.what) for drift in wrong}
    sysctl.ensure({n: v for n, v in place.sysctls.items() if ("sysctl", f"sysctl {n}") in names}, optional=True)
    with Socket() as sock:
        present = {link.name for link in rtnetlink.links(sock)}
        # a veth cannot be made with one end only: that is `replug`'s
        links = [link for link in place.wanted.links if link.kind != "veth" or link.name in present]
        kernel.ensure(Wanted(links=[link for link in links if named(link) in names]), sock)
        standing = {link.name for link in rtnetlink.links(sock) if link.up}
        chosen = Wanted()
        for kind in ("addresses", "routes", "neighbours", "fdb"):
            items = getattr(place.wanted, kind)
            getattr(chosen, kind).extend(i for i in items if named(i) in names and i.dev in standing)
        _clear_the_way(chosen, sock)
        kernel.ensure(chosen, sock)


def _clear_the_way(chosen: Wanted, sock: Socket) -> None:
    """Another route to the same destination would stand beside ours, and might win."""
    mended = {route.dst for route in chosen.routes}
    others = [r for r in rtnetlink.routes(sock) if r.dst in mended and replace(r, src="") not in chosen.routes]
    kernel.remove(Wanted(routes=others))
