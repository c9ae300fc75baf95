"""The Corefile: CoreDNS' configuration, as far as this server goes.

    SERVER BLOCK   zone[:port] … { PLUGIN … }      the block whose zone matches a name longest answers it
    PLUGINS        kubernetes ZONE… { pods disabled|insecure|verified; ttl N; fallthrough [ZONE…] }
                   hosts [PATH [ZONE…]] { ADDRESS NAME…; ttl N; fallthrough [ZONE…] }
                   file PATH ZONE…       PATH's last part is a key of the same ConfigMap
                   forward ZONE ADDRESS… { except ZONE…; max_concurrent N }
                   cache [TTL]           the longest TTL, and so how long what `forward` was told is kept at most
                   health { lameduck DURATION }
                   log  errors  ready  prometheus  reload  loop  loadbalance  bind

Directives outside the subset are refused. Of the last line only `log` changes anything: the others are always on, as
CoreDNS has them by default; what else they are told is in `Config.warnings`, which the server logs. Pure.
https://coredns.io/manual/configuration/
"""

from __future__ import annotations

from dataclasses import dataclass, field

from . import plugins
from .answer import Source, Zone, longest_suffix
from .corefile import CorefileError, Directive, directives, error, is_number, is_other_port, zones
from .names import Names
from .plugins import Files, KubernetesPlugin
from .records import ClusterNames

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
    "cache": "only the TTL counts",
    "ready": "it is http://POD:8181/ready",
    "health": "it is http://POD:8080/health",
    "prometheus": "it is http://POD:9153/metrics",
    "reload": "a changed ConfigMap is taken at once",
    "loop": "a forward to ourselves ends in SERVFAIL",
    "loadbalance": "addresses take turns",
    "bind": "it listens at all addresses of the pod",
}


@dataclass
class Block:
    """One server block. `sources` are tried in order; `kubernetes` is where the cluster's zone goes among them."""

    zones: tuple[str, ...]
    sources: list[Source] = field(default_factory=list)
    kubernetes: KubernetesPlugin | None = None
    kubernetes_at: int = 0
    log: bool = False
    cap: int | None = None  # seconds, of any TTL
    lameduck: float = 0.0  # seconds
    warnings: list[str] = field(default_factory=list)

    def serve(self, cluster: ClusterNames, serial: int, *, synced: bool) -> None:
        """Put the cluster's zone, as it is now, where the kubernetes directive says."""
        if plugin := self.kubernetes:
            insecure = plugin.zone if plugin.pods == "insecure" else ""
            names = cluster.names
            zone = Zone(plugin.zones, names, plugin.ttl, plugin.fallthrough, serial, synced, insecure_pods=insecure)
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
    def lameduck(self) -> float:
        """Seconds to answer on after TERM."""
        return max(block.lameduck for block in self.blocks)

    @property
    def kubernetes(self) -> KubernetesPlugin | None:
        return next((b.kubernetes for b in self.blocks if b.kubernetes), None)


def unread() -> Config:
    """Before any Corefile is known nothing can be said of any name: SERVFAIL."""
    return Config([Block(("",), [Zone(("",), Names(), synced=False)])])


def parse(text: str, files: Files | None = None) -> Config:
    """A Corefile's text → Config. `files`: the ConfigMap's other keys, for `file` and `hosts`. Raises CorefileError."""
    servers = directives(text)
    blocks = [_block(server, files or {}) for server in servers]
    if not blocks:
        raise CorefileError("Corefile: no server block")
    seen: set[str] = set()
    for zone in (zone for block in blocks for zone in block.zones):
        if zone in seen:
            raise CorefileError(f"Corefile: cannot serve dns://{zone}. - it is already defined")
        seen.add(zone)
    asked = {(plugin.zone, plugin.pods) for block in blocks if (plugin := block.kubernetes)}
    if len(asked) > 1:
        each = ", ".join(f"{zone} (pods {mode})" for zone, mode in sorted(asked))
        raise CorefileError(f"Corefile: a cluster has one zone and one mode for pods here, not {len(asked)}: {each}")
    return Config(blocks)


def _block(server: Directive, files: Files) -> Block:
    words = [word for arg in (server.name, *server.args) for word in arg.split(",") if word]
    if not words:
        raise error(server.line, "server block without a zone")
    if elsewhere := next(filter(is_other_port, words), None):
        raise error(server.line, f"{elsewhere}: only port 53 is listened at here")
    block = Block(zones(words, server.line))
    known = (*PLUGIN_ORDER, *SWITCHES)
    for directive in server.body:
        if directive.name not in known:
            raise error(directive.line, f"Unknown directive '{directive.name}'")
    block.cap = min((plugins.kept_for(d) for d in server.body if d.name == "cache"), default=None)
    block.lameduck = max((plugins.lameduck(d) for d in server.body if d.name == "health"), default=0.0)
    for directive in sorted(server.body, key=lambda d: known.index(d.name)):
        if directive.name == "kubernetes":
            if block.kubernetes:
                raise error(directive.line, "kubernetes: only once per server block")
            block.kubernetes, block.kubernetes_at = plugins.kubernetes(directive, block.zones), len(block.sources)
            block.sources.append(Zone(block.kubernetes.zones, Names(), synced=False))
        elif directive.name == "hosts":
            block.sources.append(plugins.hosts(directive, block.zones, files))
        elif directive.name == "file":
            block.sources.append(plugins.file(directive, block.zones, files))
        elif directive.name == "forward":
            block.sources.append(plugins.forward(directive, block.cap or 0))
        else:
            block.log |= directive.name == "log"
            block.warnings += _unheeded(directive)
    return block


def _unheeded(directive: Directive) -> list[str]:
    """Arguments and options of a switch that change nothing here."""
    name, args = directive.name, directive.args
    if name == "cache" and any(map(is_number, args[:1])):
        args = args[1:]
    told = [] if args in SWITCHES[name] else [" ".join([name, *args])]
    if name != "health":
        told += [" ".join([name, "{", option.name, *option.args, "}"]) for option in directive.body]
    return [f"Corefile:{directive.line}: `{words}` has no effect here: {_ALWAYS[name]}" for words in told]
