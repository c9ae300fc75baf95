"""Which packets one wants to see, in simple words, read as tcpdump would (pcap-filter(7)). Pure.

    tcp port 80 and not host 10.244.1.2
    dns or arp
    src 10.244.1.3 udp

Words side by side mean `and`; `or` is weaker than `and`. What VXLAN carries matches as well as its wrapping.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ..api.errors import bad_request
from .decode import DNS_PORT, VXLAN_PORT, Packet

Match = Callable[[Packet], bool]
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_WORDS: dict[str, Match] = {
    "tcp": lambda p: p.kind == "tcp",
    "udp": lambda p: p.kind == "udp",
    "icmp": lambda p: p.kind == "icmp",
    "arp": lambda p: p.kind == "arp",
    "dns": lambda p: DNS_PORT in (p.sport, p.dport),
    "vxlan": lambda p: p.dport == VXLAN_PORT,
    "syn": lambda p: "SYN" in p.flag_names,
    "rst": lambda p: "RST" in p.flag_names,
}
_HELP = f"a filter is made of {', '.join(_WORDS)}, host IP, src IP, dst IP, port N, and, or, not"


def parse(text: str) -> Match:
    """True for the packets one wants; "" wants all. Raises StatusError 400 with what there is."""
    words = iter(text.lower().split())
    branches: list[list[Match]] = [[]]
    for word in words:
        if word == "or":
            branches.append([])
        elif word != "and":
            branches[-1].append(_one(word, words))
    if text.strip() and not all(branches):
        raise bad_request(f"filter {text!r}: something is missing beside `or`; {_HELP}")
    return lambda p: any(all(_either(match, p) for match in branch) for branch in branches)


def _either(match: Match, p: Packet) -> bool:
    return match(p) or (p.inner is not None and p.kind == "udp" and match(p.inner))


def _one(word: str, rest: Iterator[str]) -> Match:
    if word == "not":
        match = _one(next(rest, ""), rest)
        return lambda p: not match(p)
    if word in _WORDS:
        return _WORDS[word]
    value = next(rest, "")
    if word == "port" and value.isdigit():
        return lambda p: int(value) in (p.sport, p.dport)
    if word in ("host", "src", "dst") and _ADDRESS.fullmatch(value):
        source, target = word in ("host", "src"), word in ("host", "dst")
        return lambda p: (source and p.src == value) or (target and p.dst == value)
    raise bad_request(f"filter: {f'{word} {value}'.strip()!r} is not understood; {_HELP}")
