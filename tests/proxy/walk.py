"""Follow a packet through rules by reading their text, as netfilter would: knows nothing of Services.

`Iptables(text)` reads what iptables-save prints or iptables-restore takes, `Nftables(text)` what `nft list` prints or
`nft -f` takes. `walk(packet)` gives every possible end with its probability: an endpoint ("10.244.1.11:8080", with
" masqueraded" if the source is translated), "refused", "dropped", or "untouched".
"""

from __future__ import annotations

import functools
import ipaddress
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

ip_address, ip_network, split = (functools.cache(f) for f in (ipaddress.ip_address, ipaddress.ip_network, shlex.split))
Ends = dict[str, float]


@dataclass(frozen=True)
class Packet:
    """The first one of a connection. `local`: made by the node itself. `recent`: lists the client is on."""

    src: str
    dst: str
    port: int
    protocol: str = "tcp"
    local: bool = False
    mark: int = 0
    translated: bool = False
    masqueraded: bool = False
    addresses: frozenset[str] = frozenset()  # the node's own
    recent: frozenset[str] = frozenset()

    def is_local(self, ip: str) -> bool:
        return ip in self.addresses or ip.startswith("127.")


@dataclass(frozen=True)
class Way:
    """One of the ways a packet may go: how likely, as what, and its end ("" while it goes on)."""

    chance: float
    packet: Packet
    verdict: str = ""


class Rules(Protocol):
    def walk(self, packet: Packet) -> Ends: ...


def _ends(ways: list[Way]) -> Ends:
    found: Ends = defaultdict(float)
    for way in ways:
        p = way.packet
        arrived = f"{p.dst}:{p.port}{' masqueraded' * p.masqueraded}" if p.translated else "untouched"
        found[way.verdict if way.verdict in ("refused", "dropped") else arrived] += way.chance
    return dict(found)


def _inside(ip: str, network: str) -> bool:
    return ip_address(ip) in ip_network(network)


@dataclass
class Iptables:
    text: str
    chains: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        table = ""
        for line in self.text.splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith(("-A ", "-I ")):
                verb, chain, rule = line.split(" ", 2)
                rules = self.chains[table, chain]
                rules.insert(0 if verb == "-I" else len(rules), rule)

    def walk(self, packet: Packet) -> Ends:
        ways = self._through("nat", "OUTPUT" if packet.local else "PREROUTING", [Way(1.0, packet)])
        ways = [self._filter(way) for way in ways]  # rules of the filter table choose nothing at random
        return _ends(self._through("nat", "POSTROUTING", ways))

    def _filter(self, way: Way) -> Way:
        p = way.packet
        hook = "OUTPUT" if p.local else "INPUT" if p.is_local(p.dst) else "FORWARD"
        (end,) = self._through("filter", hook, [way])
        return end

    def _through(self, table: str, chain: str, ways: list[Way]) -> list[Way]:
        """A verdict ends the way through this chain; "refused" and "dropped" end all."""
        ends = []
        for way in ways:
            over = way.verdict in ("refused", "dropped")
            ends += [way] if over else [replace(w, verdict=_final(w)) for w in self._chain(table, chain, way)]
        return ends

    def _chain(self, table: str, chain: str, way: Way) -> list[Way]:
        going, done = [replace(way, verdict="")], []
        for rule in self.chains[table, chain]:
            on = []
            for each in going:
                hit, words = _matches(rule, each.packet)
                if hit < 1:
                    on.append(replace(each, chance=each.chance * (1 - hit)))
                if hit:
                    for end in self._target(table, words, replace(each, chance=each.chance * hit)):
                        (done if end.verdict else on).append(end)
            going = on
        return [*(replace(w, verdict="" if w.verdict == "RETURN" else w.verdict) for w in done), *going]

    def _target(self, table: str, words: list[str], way: Way) -> list[Way]:
        p, target = way.packet, words[0] if words else ""
        match target:
            case "":
                return [way]
            case "MARK":
                value, mask = (int(x, 16) for x in words[2].split("/"))
                return [replace(way, packet=replace(p, mark=(p.mark & ~mask) ^ value))]
            case "DNAT":
                ip, port = words[2].split(":")
                return [replace(way, packet=replace(p, dst=ip, port=int(port), translated=True), verdict="ACCEPT")]
            case "MASQUERADE":
                return [replace(way, packet=replace(p, masqueraded=True), verdict="ACCEPT")]
            case "REJECT" | "DROP" | "ACCEPT" | "RETURN":
                return [replace(way, verdict={"REJECT": "refused", "DROP": "dropped"}.get(target, target))]
        assert (table, target) in self.chains or "KUBE" in target, f"no chain {target}"
        return self._chain(table, target, way)


def _final(way: Way) -> str:
    return way.verdict if way.verdict in ("refused", "dropped") else ""


def _matches(rule: str, p: Packet) -> tuple[float, list[str]]:
    """How likely the rule is hit, and the words of its target."""
    words, at, negate, chance = split(rule), 0, False, 1.0
    while at < len(words):
        word = words[at]
        if word == "-j":
            return chance, words[at + 1 :]
        if word == "!":
            negate, at = True, at + 1
            continue
        if word in ("--set", "--rcheck", "--rsource", "--reap"):
            at += 1
            continue
        hit = _match(word, words[at + 1], words, p)
        if negate:
            hit, negate = 1 - hit, False
        chance *= hit
        at += 2
    return chance, []


def _match(word: str, value: str, words: list[str], p: Packet) -> float:
    match word:
        case "-s" | "-d":
            return _inside(p.src if word == "-s" else p.dst, value)
        case "-p":
            return value == p.protocol
        case "--dport":
            return int(value) == p.port
        case "--ctstate":
            return bool({"NEW", *(["DNAT"] if p.translated else [])} & set(value.split(",")))
        case "--mark":
            want, mask = (int(x, 16) for x in value.split("/"))
            return p.mark & mask == want
        case "--src-type" | "--dst-type":
            return p.is_local(p.src if word == "--src-type" else p.dst)
        case "--probability":
            return float(value)
        case "--name":
            return "--set" in words or value in p.recent
        case "-m" | "--comment" | "--mode" | "--mask" | "--seconds" | "--nfacct-name":
            return 1
    raise AssertionError(f"{word} {value}: what is that?")


PRIORITIES = {"dstnat": -100, "srcnat": 100}
_SCRIPT = re.compile(r"add (chain|rule|element) ip (kube-proxy\S*) (\S+)(?: (.*))?")
_HOOK = re.compile(r"type (\w+) hook (\w+) priority (\S+)(?: - (\d+))?")


@dataclass
class Nftables:
    """One table or several: their chains at one hook by priority, and none translates what another one has."""

    text: str
    tables: dict[str, Table] = field(default_factory=lambda: defaultdict(Table))
    hooks: dict[str, list[tuple[int, str, str, str]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for table, kind, name, rest in self._script() if "add rule" in self.text else self._listing():
            if found := _HOOK.search(rest) if kind == "chain" else None:
                word, less = found[3].rstrip(";"), int(found[4] or 0)
                priority = PRIORITIES[word] if word in PRIORITIES else int(word)
                self.hooks[found[2]].append((priority - less, found[1], table, name))
            elif kind == "rule":
                self.tables[table].chains[name].append(rest)
            elif kind == "element":
                key, _, value = rest.partition(" : ")
                self.tables[table].maps[name][key.split(" comment ")[0].strip()] = value.strip()

    def _script(self) -> Iterator[tuple[str, str, str, str]]:
        for line in self.text.splitlines():
            if found := _SCRIPT.match(line):
                kind, table, name, rest = found[1], found[2], found[3], found[4] or ""
                yield table, kind, name, rest.strip("{} ") if kind == "element" else rest

    def _listing(self) -> Iterator[tuple[str, str, str, str]]:
        table = kind = name = ""
        for line in self.text.splitlines():
            if found := re.match(r"^table ip (\S+) \{$", line):
                table = found[1]
            elif found := re.match(r"^\t(chain|set|map) (\S+) \{$", line):
                kind, name = found.groups()
            elif line.startswith("\t\t") and kind == "chain":
                yield table, ("chain" if "hook" in line else "rule"), name, line.strip()
            elif line.startswith("\t\t") and ("elements" in line or line.startswith("\t\t\t")):
                for element in line.replace("elements = {", "").strip("\t }").split(","):
                    if element.strip():
                        yield table, "element", name, element.strip()

    def walk(self, packet: Packet) -> Ends:
        ways = self._hook("output" if packet.local else "prerouting", [Way(1.0, packet)])
        if not packet.local:
            ways = [w for each in ways for w in self._hook(_hook_after(each.packet), [each])]
        return _ends(self._hook("postrouting", ways))

    def _hook(self, hook: str, ways: list[Way]) -> list[Way]:
        for _, kind, table, chain in sorted(self.hooks[hook]):
            after = []
            for way in ways:
                over = way.verdict in ("refused", "dropped")
                over |= kind == "nat" and hook != "postrouting" and way.packet.translated
                after += [way] if over else [replace(w, verdict=_final(w)) for w in self.tables[table].way(chain, way)]
            ways = after
        return ways


@dataclass
class Table:
    chains: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    maps: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def way(self, chain: str, way: Way) -> list[Way]:
        going, done = [replace(way, verdict="")], []
        for rule in self.chains[chain]:
            on = []
            for each in going:
                for end in self._rule(rule.partition(" comment ")[0], each):
                    (done if end.verdict else on).append(end)
            going = on
        return [*(replace(w, verdict="" if w.verdict == "return" else w.verdict) for w in done), *going]

    def _rule(self, rest: str, way: Way) -> list[Way]:
        ways = [way]
        while rest and not rest.startswith("comment "):
            for pattern, act in _PHRASES:
                if found := re.match(pattern + r"(?: |$)", rest):
                    rest = rest[found.end() :]
                    said = act(self, found, way.packet)
                    break
            else:
                raise AssertionError(f"{rest!r}: what is that?")
            if said is False:
                return ways
            if isinstance(said, Packet):
                way = replace(way, packet=said)
                ways = [way]
            elif isinstance(said, list):
                ways = [w for chance, verdict in said for w in self._verdict(verdict, chance, way)]
        return ways

    def _verdict(self, verdict: str, chance: float, way: Way) -> list[Way]:
        way = replace(way, chance=way.chance * chance)
        match verdict.split():
            case ["jump", chain]:
                return self.way(chain, way)
            case ["goto", chain]:
                return [replace(w, verdict=w.verdict or "return") for w in self.way(chain, way)]
            case ["reject"]:
                return [replace(way, verdict="refused")]
            case ["drop"]:
                return [replace(way, verdict="dropped")]
            case ["dnat", "to", to]:
                ip, port = to.split(":")
                packet = replace(way.packet, dst=ip, port=int(port), translated=True)
                return [replace(way, packet=packet, verdict="accept")]
            case ["masquerade", *_]:
                return [replace(way, packet=replace(way.packet, masqueraded=True), verdict="accept")]
        assert verdict == "return", verdict
        return [replace(way, verdict="return")]


def _hook_after(p: Packet) -> str:
    return "input" if p.is_local(p.dst) else "forward"


def _address(rules: Table, found: re.Match[str], p: Packet) -> bool:
    ip, wanted = p.src if found[1] == "s" else p.dst, found[3]
    if wanted.startswith("@"):
        members = [*rules.maps[wanted[1:]], *([p.src] if wanted[1:] in p.recent else [])]
    else:
        members = [m for m in re.split(r"[{}, ]+", wanted) if m]
    return any(_inside(ip, m) for m in members) != bool(found[2])


def _mapped(key: str, rules: Table, name: str) -> list[tuple[float, str]] | bool:
    verdict = rules.maps[name].get(key)
    return [(1.0, verdict)] if verdict else False


def _spread(found: re.Match[str]) -> list[tuple[float, str]]:
    choices = [choice.split(" : ")[1].strip() for choice in found[2].split(",")]
    assert len(choices) == int(found[1])
    return [(1 / len(choices), choice) for choice in choices]


_PHRASES = [
    (r"ip daddr \. meta l4proto \. th dport vmap @(\S+)",
     lambda r, m, p: _mapped(f"{p.dst} . {p.protocol} . {p.port}", r, m[1])),
    (r"meta l4proto \. th dport vmap @(\S+)", lambda r, m, p: _mapped(f"{p.protocol} . {p.port}", r, m[1])),
    (r"ip ([sd])addr (!= )?(\{.*?\}|[@\d]\S*)", _address),
    (r"(tcp|udp|sctp) dport (\d+)", lambda r, m, p: p.protocol == m[1] and p.port == int(m[2])),
    (r"meta l4proto (\w+)", lambda r, m, p: p.protocol == m[1]),
    (r"ct state new", lambda r, m, p: True),
    (r"fib saddr type local", lambda r, m, p: p.is_local(p.src)),
    (r"meta mark & (\S+) == (\S+)", lambda r, m, p: p.mark & int(m[1], 16) == int(m[2], 16)),
    (r"meta mark set meta mark \| (\S+)", lambda r, m, p: replace(p, mark=p.mark | int(m[1], 16))),
    (r"meta mark set meta mark \^ (\S+)", lambda r, m, p: replace(p, mark=p.mark ^ int(m[1], 16))),
    (r"update @\S+ \{ ip saddr \}", lambda r, m, p: True),
    (r"numgen random mod (\d+) vmap \{ (.*) \}", lambda r, m, p: _spread(m)),
    (r"((?:jump|goto) \S+|dnat to \S+|masquerade.*|reject|drop|return)", lambda r, m, p: [(1.0, m[1])]),
]  # fmt: skip
