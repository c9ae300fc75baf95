"""The Corefile: CoreDNS' configuration, as far as this server goes.

    SERVER BLOCK   zone[:port] … { PLUGIN … }      the block whose zone matches a name longest answers it
    PLUGINS        kubernetes ZONE… { pods disabled|insecure|verified; ttl N; fallthrough [ZONE…] }
                   hosts { ADDRESS NAME…; ttl N; fallthrough [ZONE…] }
                   file PATH ZONE…       PATH's last part is a key of the same ConfigMap
                   forward ZONE ADDRESS… { except ZONE… }
                   cache [TTL]           how long, at most, what `forward` was told is kept; ours is always fresh
                   log  errors  ready  health  prometheus  reload  loop  loadbalance  bind

Directives outside the subset are refused. Of the last line only `log` changes anything: the others are always on, as
CoreDNS has them by default; what else they are told is in `Config.warnings`, which the server logs. Pure.
https://coredns.io/manual/configuration/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from .answer import Forward, Source, Zone, longest_suffix
from .names import Names, Record
from .records import ClusterNames, address_record, reverse
from .zonefile import parse_zone  # not lazily: a pod sees no more of the package than what was loaded before it

DEFAULT_TTL, HOSTS_TTL, CACHE_TTL = 5, 3600, 3600  # CoreDNS' own defaults, seconds
POD_MODES = ("disabled", "insecure", "verified")
PLUGIN_ORDER = ("hosts", "kubernetes", "file", "forward")
SWITCHES = {  # directive -> the arguments that ask for what it does here anyway
    "log": ([], ["."]),
    "errors": ([],),
    "cache": ([],),
    "ready": ([], [":8181"]),
    "health": ([], [":8080"]),
    "prometheus": ([], [":9153"]),
    "reload": ([],),
    "loop": ([],),
    "loadbalance": ([], ["round_robin"]),
    "bind": (["0.0.0.0"],),
}
_ALWAYS = {
    "log": "every question of the block is logged",
    "errors": "errors are always logged, one by one",
    "cache": "only the TTL counts, and only for what another server was asked",
    "ready": "it is http://POD:8181/ready",
    "health": "it is http://POD:8080/health",
    "prometheus": "it is http://POD:9153/metrics",
    "reload": "a changed ConfigMap is taken at once",
    "loop": "a forward to ourselves ends in SERVFAIL",
    "loadbalance": "addresses take turns",
    "bind": "it listens at all addresses of the pod",
}
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(#[^\n]*)|(\n)|([^\s"]+)')


class CorefileError(ValueError):
    """A Corefile that cannot be: `Corefile:LINE - Error during parsing: …`"""


@dataclass
class Directive:
    """One line of a Corefile: a plugin, its arguments, its block."""

    name: str
    args: list[str]
    line: int
    body: list[Directive] = field(default_factory=list)


@dataclass
class KubernetesPlugin:
    """What the kubernetes directive asks for; `zone` is the first that is not a reverse zone."""

    zones: tuple[str, ...] = ("cluster.local",)
    pods: str = "disabled"
    ttl: int = DEFAULT_TTL
    fallthrough: tuple[str, ...] = ()

    @property
    def zone(self) -> str:
        return next((z for z in self.zones if not z.endswith(".arpa")), self.zones[0])


@dataclass
class Block:
    """One server block. `sources` are tried in order; `kubernetes` is where the cluster's zone goes among them."""

    zones: tuple[str, ...]
    sources: list[Source] = field(default_factory=list)
    kubernetes: KubernetesPlugin | None = None
    kubernetes_at: int = 0
    log: bool = False
    warnings: list[str] = field(default_factory=list)

    def serve(self, cluster: ClusterNames, serial: int, *, synced: bool) -> None:
        """Put the cluster's zone, as it is now, where the kubernetes directive says."""
        if plugin := self.kubernetes:
            insecure = plugin.zone if plugin.pods == "insecure" else ""
            names = cluster.names
            zone = Zone(plugin.zones, names, plugin.ttl, plugin.fallthrough, serial, synced, insecure)
            self.sources[self.kubernetes_at] = zone


@dataclass
class Config:
    """A Corefile, understood."""

    blocks: list[Block]

    @property
    def warnings(self) -> list[str]:
        """What the Corefile asks for and does not get, a sentence each."""
        return [warning for block in self.blocks for warning in block.warnings]

    def block(self, name: str) -> Block | None:
        """The block whose zone is the longest that `name` lies in."""
        best: tuple[int, Block] | None = None
        for block in self.blocks:
            zone = longest_suffix(name, block.zones)
            if zone is not None and (best is None or len(zone) > best[0]):
                best = len(zone), block
        return best[1] if best else None

    @property
    def kubernetes(self) -> KubernetesPlugin | None:
        return next((b.kubernetes for b in self.blocks if b.kubernetes), None)


def parse(text: str, files: Mapping[str, str] | None = None) -> Config:
    """A Corefile's text → Config. `files`: the ConfigMap's other keys, for `file`. Raises CorefileError."""
    blocks = [_block(directive, files or {}) for directive in _directives(text)]
    if not blocks:
        raise CorefileError("Corefile: no server block")
    seen: set[str] = set()
    for zone in (zone for block in blocks for zone in block.zones):
        if zone in seen:
            raise CorefileError(f"Corefile: cannot serve dns://{zone}. - it is already defined")
        seen.add(zone)
    return Config(blocks)


def _directives(text: str) -> list[Directive]:
    """Lines of words, `{` at a line's end opening a body and `}` on its own closing it."""
    top: list[Directive] = []
    stack = [top]
    for number, line in enumerate(text.splitlines(), 1):
        words = [m[1] if m[1] is not None else m[4] for m in _TOKEN.finditer(line) if m[2] is None]
        if not words:
            continue
        if words == ["}"]:
            if len(stack) == 1:
                raise _error(number, "unexpected '}'")
            stack.pop()
            continue
        opens = words[-1] == "{"
        words = words[:-1] if opens else words
        if not words or any(w in ("{", "}") for w in words):
            raise _error(number, "'{' belongs at the end of a line and '}' on a line of its own")
        directive = Directive(words[0], words[1:], number)
        stack[-1].append(directive)
        if opens:
            stack.append(directive.body)
        elif len(stack) == 1:
            raise _error(number, f"server block for {words[0]!r} has no '{{'")
    if len(stack) > 1:
        raise _error(len(text.splitlines()), "unexpected EOF: a '}' is missing")
    return top


def _block(server: Directive, files: Mapping[str, str]) -> Block:
    names = [word for arg in (server.name, *server.args) for word in arg.split(",") if word]
    block = Block(tuple(_zone(name) for name in names))
    known = (*PLUGIN_ORDER, *SWITCHES)
    for directive in server.body:
        if directive.name not in known:
            raise _error(directive.line, f"Unknown directive '{directive.name}'")
    for directive in sorted(server.body, key=lambda d: known.index(d.name)):
        if directive.name == "kubernetes":
            if block.kubernetes:
                raise _error(directive.line, "kubernetes: only once per server block")
            block.kubernetes, block.kubernetes_at = _kubernetes(directive, block), len(block.sources)
            block.sources.append(Zone(block.kubernetes.zones, Names(), synced=False))
        elif directive.name == "hosts":
            block.sources.append(_hosts(directive, block))
        elif directive.name == "file":
            block.sources.append(_file(directive, block, files))
        elif directive.name == "forward":
            block.sources.append(_forward(directive))
        else:
            block.log |= directive.name == "log"
            block.warnings += _unheeded(directive)
    keep = [_cache_ttl(directive) for directive in server.body if directive.name == "cache"]
    if keep:
        block.sources = [replace(s, keep=min(keep)) if isinstance(s, Forward) else s for s in block.sources]
    return block


def _cache_ttl(directive: Directive) -> int:
    """`cache [TTL] [ZONE…]`: seconds. CoreDNS' own default is an hour."""
    args = directive.args
    return _number(Directive("cache", args[:1], directive.line), 1, 86400) if args and args[0].isdigit() else CACHE_TTL


def _unheeded(directive: Directive) -> list[str]:
    """Arguments and options of a switch that change nothing here."""
    name, args = directive.name, directive.args
    if name == "cache":
        args = args[1:] if args and args[0].isdigit() else args
    told = [] if args in SWITCHES[name] else [" ".join([name, *args])]
    told += [" ".join([name, "{", option.name, *option.args, "}"]) for option in directive.body]
    return [f"Corefile:{directive.line}: `{words}` has no effect here: {_ALWAYS[name]}" for words in told]


def _kubernetes(directive: Directive, block: Block) -> KubernetesPlugin:
    plugin = KubernetesPlugin(tuple(map(_zone, directive.args)) or block.zones)
    for option in directive.body:
        if option.name == "pods":
            if option.args[:1] not in ([m] for m in POD_MODES):
                value = option.args[0] if option.args else ""
                raise _error(option.line, f"wrong value for pods: {value}, must be one of: {', '.join(POD_MODES)}")
            plugin.pods = option.args[0]
        elif option.name == "ttl":
            plugin.ttl = _number(option, 0, 3600)
        elif option.name == "fallthrough":
            plugin.fallthrough = tuple(map(_zone, option.args)) or plugin.zones
        else:
            raise _error(option.line, f"unknown property '{option.name}'")
    return plugin


def _hosts(directive: Directive, block: Block) -> Zone:
    """`ADDRESS NAME…` lines give A or AAAA, and PTR for the first name's address."""
    found: dict[str, list[Record]] = {}
    zone = Zone(("",), Names(), HOSTS_TTL)
    for option in directive.body:
        if option.name == "fallthrough":
            zone.fallthrough = tuple(map(_zone, option.args)) or ("",)
        elif option.name == "ttl":
            zone.ttl = _number(option, 1, 65535)
        else:
            try:
                address = str(ip_address(option.name))
            except ValueError:
                raise _error(option.line, f"unknown property '{option.name}'") from None
            for name in map(_zone, option.args):
                found.setdefault(name, []).append(address_record(address))
                found.setdefault(reverse(address), []).append(Record("PTR", name))
    zone.apexes = tuple(map(_zone, directive.args)) or block.zones
    zone.names.put("hosts", found)
    return zone


def _file(directive: Directive, block: Block, files: Mapping[str, str]) -> Zone:
    if not directive.args:
        raise _error(directive.line, "file: Wrong argument count")
    key = directive.args[0].rpartition("/")[2]
    if key not in files:
        raise _error(directive.line, f"file: open {directive.args[0]}: no such key in the ConfigMap: {key}")
    zone = Zone(tuple(map(_zone, directive.args[1:])) or block.zones, Names())
    try:
        zone.names.put("file", parse_zone(files[key], zone.apexes[0]))
    except ValueError as error:
        raise _error(directive.line, f"file: {key}: {error}") from None
    return zone


def _forward(directive: Directive) -> Forward:
    if len(directive.args) < 2:
        raise _error(directive.line, "forward: Wrong argument count or unexpected line ending")
    upstreams = tuple(_upstream(directive, arg) for arg in directive.args[1:])
    exclude: tuple[str, ...] = ()
    for option in directive.body:
        if option.name == "except":
            exclude += tuple(map(_zone, option.args))
        elif option.name != "max_concurrent":
            raise _error(option.line, f"unknown property '{option.name}'")
    return Forward(_zone(directive.args[0]), upstreams, exclude)


def _upstream(directive: Directive, text: str) -> tuple[str, int]:
    """`1.2.3.4`, `1.2.3.4:53`, `[2001:db8::1]:53`, each perhaps after `dns://`."""
    match = re.fullmatch(r"(?:dns://)?(?:\[([^]]+)\]|([^:]+|[0-9a-fA-F:]+:[0-9a-fA-F:]*))(?::(\d{1,5}))?", text)
    try:
        if not match:
            raise ValueError
        return str(ip_address(match[1] or match[2])), int(match[3] or 53)
    except ValueError:
        raise _error(directive.line, f'forward: not an IP address or file: "{text}"') from None


def _zone(text: str) -> str:
    """`dns://Example.Org.:53` → `example.org`; an address range stays what it is."""
    return re.sub(r":\d+$", "", text.removeprefix("dns://")).rstrip(".").lower()


def _number(option: Directive, low: int, high: int) -> int:
    if len(option.args) == 1 and option.args[0].isdigit() and low <= int(option.args[0]) <= high:
        return int(option.args[0])
    raise _error(option.line, f"{option.name} must be in range [{low}, {high}]: {' '.join(option.args)}")


def _error(line: int, message: str) -> CorefileError:
    return CorefileError(f"Corefile:{line} - Error during parsing: {message}")
