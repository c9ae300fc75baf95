"""One directive of a Corefile → the source of answers it stands for. Pure; all raise CorefileError.

What a source would answer is written once on trial: a record that no message can hold is refused with the Corefile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from . import wire
from .answer import Forward, Zone
from .corefile import CorefileError, Directive, error, is_number, is_reverse, number, seconds, zones
from .names import Names, Record
from .records import address_record, reverse
from .zonefile import parse_zone  # not lazily: a pod sees no more of the package than what was loaded before it

DEFAULT_TTL, HOSTS_TTL, CACHE_TTL = 5, 3600, 3600  # CoreDNS' own defaults, seconds
POD_MODES = ("disabled", "insecure", "verified")
Files = Mapping[str, str]  # the ConfigMap's other keys


@dataclass
class KubernetesPlugin:
    """What the kubernetes directive asks for; `zone` is the one that is no reverse zone."""

    zones: tuple[str, ...] = ("cluster.local",)
    pods: str = "disabled"
    ttl: int = DEFAULT_TTL
    fallthrough: tuple[str, ...] = ()

    @property
    def zone(self) -> str:
        return next(zone for zone in self.zones if not is_reverse(zone))


def kubernetes(directive: Directive, of_block: tuple[str, ...]) -> KubernetesPlugin:
    """`kubernetes ZONE… { pods MODE; ttl N; fallthrough [ZONE…] }`"""
    plugin = KubernetesPlugin(zones(directive.args, directive.line) or of_block)
    forward = [zone for zone in plugin.zones if not is_reverse(zone)]
    if not forward:
        raise error(directive.line, "non-reverse zone name must be used")
    if len(forward) > 1:
        raise error(directive.line, f"a cluster has one zone here, not {len(forward)}: {' '.join(forward)}")
    if forward == [""]:
        raise error(directive.line, "kubernetes: a cluster's zone has a name, such as cluster.local")
    for option in directive.body:
        if option.name == "pods":
            if option.args[:1] not in ([m] for m in POD_MODES):
                value = option.args[0] if option.args else ""
                raise error(option.line, f"wrong value for pods: {value}, must be one of: {', '.join(POD_MODES)}")
            plugin.pods = option.args[0]
        elif option.name == "ttl":
            plugin.ttl = number(option, 0, 3600)
        elif option.name == "fallthrough":
            plugin.fallthrough = zones(option.args, option.line) or plugin.zones
        else:
            raise error(option.line, f"unknown property '{option.name}'")
    return plugin


def hosts(directive: Directive, of_block: tuple[str, ...], files: Files) -> Zone:
    """`hosts [PATH [ZONE…]] { ADDRESS NAME…; ttl N; fallthrough [ZONE…] }`: A or AAAA, and PTR for each address."""
    zone = Zone(zones(directive.args[1:], directive.line) or of_block, Names(), HOSTS_TTL, flat=True)
    found: dict[str, list[Record]] = {}
    if directive.args:
        for words in map(_without_comment, _read(directive, files).splitlines()):
            if words and not _add_host(found, words):
                raise error(directive.line, f"hosts: {directive.args[0]}: not an address with names: {' '.join(words)}")
    for option in directive.body:
        if option.name == "fallthrough":
            zone.fallthrough = zones(option.args, option.line) or ("",)
        elif option.name == "ttl":
            zone.ttl = number(option, 1, 65535)
        elif not _add_host(found, [option.name, *option.args]):
            raise error(option.line, f"unknown property '{option.name}'")
    zone.names.put("hosts", found)
    return _tried(zone, directive)


def _without_comment(line: str) -> list[str]:
    return line.partition("#")[0].split()


def _add_host(found: dict[str, list[Record]], words: list[str]) -> bool:
    """False if it is no line of hosts(5). An address with a scope (fe80::1%eth0) is none for others."""
    try:
        address = str(ip_address(words[0]))
    except ValueError:
        return False
    if "%" in address:
        return False
    for name in (word.rstrip(".").lower() for word in words[1:]):
        found.setdefault(name, []).append(address_record(address))
        found.setdefault(reverse(address), []).append(Record("PTR", name))
    return True


def file(directive: Directive, of_block: tuple[str, ...], files: Files) -> Zone:
    """`file PATH [ZONE…]`: a zone in master-file syntax."""
    if not directive.args:
        raise error(directive.line, "file: Wrong argument count")
    zone = Zone(zones(directive.args[1:], directive.line) or of_block, Names())
    try:
        zone.names.put("file", parse_zone(_read(directive, files), zone.apexes[0]))
    except CorefileError:
        raise
    except ValueError as problem:
        raise error(directive.line, f"file: {_key(directive)}: {problem}") from None
    return _tried(zone, directive)


def _read(directive: Directive, files: Files) -> str:
    """PATH's last part is a key of the ConfigMap."""
    key = _key(directive)
    if key not in files:
        problem = f"open {directive.args[0]}: no such key in the ConfigMap: {key}"
        raise error(directive.line, f"{directive.name}: {problem}")
    return files[key]


def _key(directive: Directive) -> str:
    return directive.args[0].rpartition("/")[2]


def _tried(zone: Zone, directive: Directive) -> Zone:
    try:
        for name in zone.names:
            for rr in zone.at(name):
                wire.check(rr)
    except ValueError as problem:
        raise error(directive.line, f"{directive.name}: {name}: {problem}") from None
    return zone


def forward(directive: Directive, keep: int) -> Forward:
    """`forward ZONE ADDRESS… { except ZONE…; max_concurrent N }`; `keep` is what the directive `cache` allows."""
    if len(directive.args) < 2:
        raise error(directive.line, "forward: Wrong argument count or unexpected line ending")
    upstreams = tuple(_upstream(directive, arg) for arg in directive.args[1:])
    exclude: tuple[str, ...] = ()
    most = Forward.max_concurrent
    for option in directive.body:
        if option.name == "except":
            exclude += zones(option.args, option.line)
        elif option.name == "max_concurrent":
            most = number(option, 1, 999_999_999)
        else:
            raise error(option.line, f"unknown property '{option.name}'")
    from_zones = zones(directive.args[:1], directive.line)
    if len(from_zones) != 1:
        raise error(directive.line, f"forward: one zone, not {len(from_zones)}: {directive.args[0]}")
    return Forward(from_zones[0], upstreams, exclude, keep, most)


def _upstream(directive: Directive, text: str) -> tuple[str, int]:
    """`1.2.3.4`, `1.2.3.4:53`, `[2001:db8::1]:53`, each perhaps after `dns://`."""
    match = re.fullmatch(r"(?:dns://)?(?:\[([^]]+)\]|([^:]+|[0-9a-fA-F:]+:[0-9a-fA-F:]*))(?::([0-9]{1,5}))?", text)
    try:
        if not match or not 0 < (port := int(match[3] or 53)) < 65536:
            raise ValueError
        return str(ip_address(match[1] or match[2])), port
    except ValueError:
        raise error(directive.line, f'forward: not an IP address or file: "{text}"') from None


def lameduck(directive: Directive) -> float:
    """`health { lameduck DURATION }`: seconds to answer on after TERM, so that whoever still comes is served."""
    longest = 0.0
    for option in directive.body:
        duration = seconds(option.args[0]) if len(option.args) == 1 else None
        if option.name != "lameduck" or duration is None:
            raise error(option.line, f"unknown property '{' '.join([option.name, *option.args])}'")
        longest = max(longest, duration)
    return longest


def kept_for(directive: Directive) -> int:
    """`cache [TTL] [ZONE…]`: seconds. CoreDNS' own default is an hour."""
    words = directive.args[:1]
    return number(Directive("cache", words, directive.line), 1, 86400) if any(map(is_number, words)) else CACHE_TTL
