"""Make a namespace hold the wanted links, addresses, routes and neighbours: look, then send only what differs.

A no-op costs the lists (0.3 ms). What else is there is left alone, except addresses of another prefix; removing is the
caller's decision (`remove`). A link that is wanted with another kind, VNI or underlay address is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from . import requests, rtnetlink
from .netlink import Request, Socket
from .rtnetlink import Address, Fdb, Link, Neighbour, Route


@dataclass
class Wanted:
    """What a namespace should hold. Links come in the order of making: a bridge before its ports."""

    links: list[Link] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    neighbours: list[Neighbour] = field(default_factory=list)
    fdb: list[Fdb] = field(default_factory=list)


def ensure(wanted: Wanted, sock: Socket | None = None) -> list[str]:
    """Returns what had to be done, in words; [] when all was right. Raises NetlinkError."""
    if sock is None:
        with Socket() as own:
            return ensure(wanted, own)
    done = _ensure_links(wanted.links, sock)
    index = {link.name: link.index for link in rtnetlink.links(sock)}
    todo: list[Request] = []
    if wanted.addresses:
        have = set(rtnetlink.addresses(sock))
        todo += [requests.new_address(a, index.get(a.dev, 0)) for a in wanted.addresses if a not in have]
        _run(todo, sock, done)  # routes need their addresses first, and lists must be taken after
    if wanted.routes:
        known = set(rtnetlink.routes(sock))
        known |= {replace(r, src="") for r in known}  # the kernel fills in `src`: it counts only where asked for
        todo += [requests.new_route(r, index.get(r.dev, 0)) for r in wanted.routes if r not in known]
    if wanted.neighbours:
        near = set(rtnetlink.neighbours(sock))
        todo += [requests.new_neighbour(n, index.get(n.dev, 0)) for n in wanted.neighbours if n not in near]
    if wanted.fdb:
        entries = set(rtnetlink.fdb(sock))
        todo += [requests.new_fdb(f, index.get(f.dev, 0)) for f in wanted.fdb if f not in entries]
    _run(todo, sock, done)
    return done


def remove(unwanted: Wanted, sock: Socket | None = None) -> None:
    """Remove what is named, as far as it is there. Links last: what hangs on them goes with them."""
    with Socket() if sock is None else sock as s:
        index = {link.name: link.index for link in rtnetlink.links(s)}
        s.burst(
            [requests.del_fdb(f, index[f.dev]) for f in unwanted.fdb if f.dev in index]
            + [requests.del_neighbour(n, index[n.dev]) for n in unwanted.neighbours if n.dev in index]
            + [requests.del_route(r, index[r.dev]) for r in unwanted.routes if r.dev in index]
            + [requests.del_address(a, index[a.dev]) for a in unwanted.addresses if a.dev in index]
            + [requests.del_link(link.name) for link in unwanted.links]
        )


def _run(todo: list[Request], sock: Socket, done: list[str]) -> None:
    if todo:
        sock.burst(todo)
        done += [request.what for request in todo]
        todo.clear()


def _ensure_links(wanted: Sequence[Link], sock: Socket) -> list[str]:
    done: list[str] = []
    have = {link.name: link for link in rtnetlink.links(sock)}
    for link in wanted:
        now = have.get(link.name)
        if now and ((link.kind and link.kind != now.kind) or (link.vni, link.local) != (now.vni, now.local)):
            _run([requests.del_link(link.name)], sock, done)
            now = None
        todo: list[Request] = []
        master = have[link.master].index if link.master in have else 0
        if now is None:
            todo.append(requests.new_link(link, master))
        elif not _matches(link, now):
            todo.append(requests.set_link(link, now.index, master if link.master != now.master else None))
        if link.master and link.hairpin != (now.hairpin if now and now.master == link.master else False):
            todo.append(requests.set_hairpin(link.name, link.hairpin))
        _run(todo, sock, done)
        if now is None:
            have = {each.name: each for each in rtnetlink.links(sock)}
    return done


def _matches(link: Link, now: Link) -> bool:
    return link.up == now.up and link.master == now.master and link.mac in ("", now.mac) and link.mtu in (0, now.mtu)
