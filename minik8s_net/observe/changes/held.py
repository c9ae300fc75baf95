"""The verb "held": all that the cluster holds in the kernel (and in DNS), as lines that can be compared.

{place: {layer: [line, …]}}; the places are fabric, outside, the nodes, the pods and DNS, the layers `model.LAYERS`.
Read in every namespace at once; what comes and goes by itself (counters, learnt neighbours) is left out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

from lightkube.resources.core_v1 import Namespace, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ...boot.live import Live
from ...dns.names import Record
from ...dns.records import ClusterNames
from ...healing.places import Place, places
from ...healing.wiring import within
from ...kernel import ipset, iptables, nft, rtnetlink, sysctl
from ...kernel.netlink import Socket
from ...kernel.rtnetlink import Link, Route
from ...policy.apply import parse_sets
from .model import Held

_OF_IPTABLES = {"nat", "filter", "mangle", "raw", "security"}
_PASSING = "minik8s-trace-"  # a trace under way
_ELEMENT = re.compile(r",\s+(?=\S)")


async def held(live: Live, asked: object) -> Held:
    """Pods that are just going are left out."""
    there = list(places(live))
    read = await asyncio.gather(*(_read(place) for place in there))
    found = {place.name: lines for place, lines in zip(there, read, strict=True) if lines}
    return {**found, "DNS": {"name": sorted(_names(live))}}


async def _read(place: Place) -> dict[str, list[str]]:
    try:
        return await place.netns.run(within, place, look, place.pod is None, list(place.sysctls))
    except FileNotFoundError:
        return {}


def look(rules_too: bool, sysctls: list[str]) -> dict[str, list[str]]:
    """Of the calling thread's namespace. Rules keep their order, all else is sorted."""
    with Socket() as sock:
        neighbours = [f"{n.ip} is at {n.mac} dev {n.dev}" for n in rtnetlink.neighbours(sock) if n.permanent]
        found = {
            "link": sorted(map(_link, rtnetlink.links(sock))),
            "address": sorted(f"{a.ip}/{a.prefix} dev {a.dev}" for a in rtnetlink.addresses(sock)),
            "route": sorted(map(_route, rtnetlink.routes(sock))),
            "neighbour": sorted([*neighbours, *(f"{f.mac} is at {f.dst} dev {f.dev}" for f in rtnetlink.fdb(sock))]),
            "sysctl": sorted(f"{name} = {sysctl.get(name)}" for name in sysctls),
        }
    if rules_too:
        found["rule"] = [*_iptables_rules(), *_nftables_rules()]
        sets = parse_sets(ipset.save())
        found["set"] = sorted(f"{name} {member}" for name, content in sets.items() for member in content.members)
    return found


def _link(link: Link) -> str:
    words = [link.name, link.kind, f"mtu {link.mtu}", "up" if link.up else "down"]
    words += [f"on {link.master}"] if link.master else []
    words += ["no carrier"] if link.up and not link.carrier else []
    return " ".join(filter(None, words))


def _route(route: Route) -> str:
    return " ".join(filter(None, [route.dst, route.via and f"via {route.via}", f"dev {route.dev}"]))


def _iptables_rules() -> Iterator[str]:
    table = ""
    for line in iptables.save().splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            yield f"{table} {line.removeprefix('-A ')}"


def _nftables_rules() -> Iterator[str]:
    for item in nft.list_json("list tables"):
        family, name = item["table"]["family"], item["table"]["name"]
        if name in _OF_IPTABLES or name.startswith(_PASSING):
            continue
        yield from nft_lines(nft.list_table(f"{family} {name}"), f"{family} {name}")


def nft_lines(listed: str, table: str) -> Iterator[str]:
    """`nft list table` -> a line for each rule and each element, its chain, map or set in front. Pure."""
    holder, elements = "", None
    for line in (raw.strip() for raw in listed.splitlines()[1:]):
        words = line.split()
        if words[:1] and words[0] in ("chain", "map", "set") and line.endswith("{"):
            holder = words[1]
        elif elements is not None or line.startswith("elements = {"):
            elements = f"{elements or ''} {line.removeprefix('elements = {')}"
            if elements.endswith("}"):
                for each in _ELEMENT.split(elements.removesuffix("}").strip()):
                    yield f"{table} {holder} {each.strip()}"
                elements = None
        elif line and line != "}":
            yield f"{table} {holder} {line}"


def _names(live: Live) -> Iterator[str]:
    """What the DNS servers answer, by the same code as theirs, from the same objects."""
    names = ClusterNames(live.config.cluster_domain)
    objects = [*live.client.list(Namespace), *live.client.list(Service), *live.client.list(EndpointSlice)]
    for obj in objects:
        names.apply(type(obj).__name__, obj.to_dict())
    for name in names.names:
        for record in names.names.at(name):
            yield _record(name, record)


def _record(name: str, record: Record) -> str:
    parts = record.data if isinstance(record.data, tuple) else (record.data,)
    return f"{name} {record.type} {' '.join(map(str, parts))}"
