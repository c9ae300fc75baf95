"""Follow a packet through rendered chains, reading their text as iptables would: knows nothing of policies."""

from __future__ import annotations

import functools
import ipaddress
import shlex
from dataclasses import dataclass

from minik8s_net.policy.index import PolicyIndex
from minik8s_net.policy.render import FORWARD
from minik8s_net.policy.sets import PODS
from minik8s_net.policy.table import Program, SetContent, Table

ip_address, ip_network, split = (functools.cache(f) for f in (ipaddress.ip_address, ipaddress.ip_network, shlex.split))
CIDRS = {f"node-{i}": f"10.244.{i}.0/24" for i in range(1, 10)}


def table(index: PolicyIndex, node: str) -> Table:
    programs = [Program.of(p, index.policies_of(p)) for p in index.on_node(node)]
    used = {name: spec for p in programs for name, spec in p.sets.items()}
    sets = {name: SetContent(spec.type, frozenset(index.sets[name].members)) for name, spec in used.items()}
    return Table.of(programs, sets, {p.pod.ip: "port" for p in programs}, CIDRS[node])


@dataclass(frozen=True)
class Packet:
    src: str
    dst: str
    protocol: str = "TCP"
    port: int = 80
    state: str = "NEW"
    mark: int = 0


def passes(tables: dict[str, Table], packet: Packet) -> bool:
    """Through FORWARD of the source's node and, if it is another one, of the destination's."""
    on_way = [n for n, cidr in CIDRS.items() if n in tables and _inside(cidr, packet.src, packet.dst)]
    return all(_walk(tables[node], FORWARD, packet) != "DROP" for node in on_way)


def _inside(cidr: str, *ips: str) -> bool:
    return any(ip_address(ip) in ip_network(cidr) for ip in ips)


def _walk(table: Table, chain: str, packet: Packet) -> str:
    for rule in table.chains[chain]:
        matches, verb, target = _read(rule, table, packet)
        if not matches:
            continue
        if target in ("DROP", "RETURN"):
            return target
        if verb == "-g":
            return _walk(table, target, packet)
        if _walk(table, target, packet) == "DROP":
            return "DROP"
    return "RETURN"


def _read(rule: str, table: Table, p: Packet) -> tuple[bool, str, str]:
    words = split(rule)
    hit, at, negate = True, 0, False
    verb = target = ""
    while at < len(words):
        word = words[at]
        if word == "!":
            negate, at = True, at + 1
            continue
        value = words[at + 1]
        at += 2
        match word:
            case "-s" | "-d":
                said = ip_address(p.src if word == "-s" else p.dst) in ip_network(value)
            case "-p":
                said = value == p.protocol.lower()
            case "--dport":
                first, _, last = value.partition(":")
                said = int(first) <= p.port <= int(last or first)
            case "--match-set":
                said = _in_set(table, value, words[at], p)
                at += 1
            case "--ctstate":
                said = p.state in value.split(",")
            case "--mark":
                want, mask = (int(x, 16) for x in value.split("/"))
                said = p.mark & mask == want
            case "-j" | "-g":
                verb, target, said = word, value, True
            case "-m" | "--comment":
                said = True
            case _:
                raise AssertionError(f"{word} in {rule}")
        hit = hit and said != negate
        negate = False
    return hit, verb, target


def _in_set(table: Table, name: str, sides: str, p: Packet) -> bool:
    ip = p.src if sides == "src" else p.dst
    if name == PODS:
        return ip in table.pods
    content = table.sets[name]
    if content.type == "hash:ip,port":
        assert sides == "dst,dst"
        return f"{ip},{p.protocol.lower()}:{p.port}" in content.members
    return any(ip_address(ip) in ip_network(m) for m in content.members)
