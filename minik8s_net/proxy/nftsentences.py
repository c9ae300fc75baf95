"""What a rule says, as the kernel's expressions: each sentence is its matches in order, then what it does. Pure.

These are the sentences that `nftables.py` makes for a Service and for a further table; others raise ValueError.
"""

from __future__ import annotations

import functools
import re
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Network

from ..kernel import nftnl
from ..kernel.netlink import attr, nest, text
from ..kernel.nftnl import be32

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_SOURCE, _DESTINATION, _DESTINATION_PORT = (1, 12), (1, 16), (2, 2)  # header (1 network, 2 transport), offset
_MARK, _L4PROTO = 3, 16  # meta keys
_VERDICTS = {"jump": nftnl.JUMP, "goto": nftnl.GOTO}


def expressions(sentence: str) -> list[bytes]:
    """The whole sentence, without its comment."""
    found_so_far: list[bytes] = []
    rest = sentence
    while rest:
        for pattern, translate in _PHRASES:
            if found := pattern.match(rest):
                found_so_far += translate(found)
                rest = rest[found.end() :].lstrip()
                break
        else:
            raise ValueError(sentence)
    return found_so_far


def _expression(name: str, *data: bytes) -> bytes:
    return nest(1, _name(name), nest(2, *data))


_name = functools.cache(functools.partial(text, 1))


def spread(name: str, count: int) -> list[bytes]:
    """An even choice among `count`, looked up in the map `name`."""
    return [
        _expression("numgen", be32(1, 1), be32(2, count), be32(3, 1), be32(4, 0)),
        _expression("lookup", text(1, name), be32(2, 1), be32(3, 0)),
    ]


@functools.cache
def _load(where: tuple[int, int], length: int, register: int = 1) -> bytes:
    base, offset = where
    return _expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, length))


@functools.cache
def _meta(what: int, register: int) -> bytes:
    return _expression("meta", be32(2, what), be32(1, register))


def _compare(value: bytes, negated: bool = False) -> bytes:
    return _before(len(value), negated) + value + bytes(-len(value) % 4)


@functools.cache
def _before(length: int, negated: bool) -> bytes:
    """All of a comparison but its value, which comes last."""
    whole = _expression("cmp", be32(1, 1), be32(2, int(negated)), nest(3, attr(1, bytes(length))))
    return whole[: len(whole) - (length + 3) // 4 * 4]


def _address(found: re.Match[str]) -> list[bytes]:
    """`ip saddr != 10.244.0.0/16`: whole bytes are compared; other prefixes are masked first."""
    where, negated = _SOURCE if found[1] == "s" else _DESTINATION, bool(found[2])
    if "/" not in found[3]:
        return [_load(where, 4), _compare(socket.inet_aton(found[3]), negated)]
    return _in_network(where, negated, _network(found[3]))


_network = functools.lru_cache(IPv4Network)


@functools.lru_cache
def _in_network(where: tuple[int, int], negated: bool, network: IPv4Network) -> list[bytes]:
    length, odd = divmod(network.prefixlen, 8)
    if not odd:
        return [_load(where, length or 4), _compare(network.network_address.packed[: length or 4], negated)]
    operands = nest(4, attr(1, network.netmask.packed)) + nest(5, attr(1, bytes(4)))
    mask = _expression("bitwise", be32(1, 1), be32(2, 1), be32(3, 4), operands)
    return [_load(where, 4), mask, _compare(network.network_address.packed, negated)]


def _protocol(found: re.Match[str]) -> list[bytes]:
    return _of_protocol(found[1])


@functools.cache
def _of_protocol(protocol: str) -> list[bytes]:
    return [_meta(_L4PROTO, 1), _compare(bytes((PROTOCOLS[protocol],)))]


def _port(found: re.Match[str]) -> list[bytes]:
    return [*_of_protocol(found[1]), _load(_DESTINATION_PORT, 2), _compare(struct.pack("!H", int(found[2])))]


def _local_source(_: re.Match[str]) -> list[bytes]:
    return [_expression("fib", be32(3, 1), be32(2, 3), be32(1, 1)), _compare(struct.pack("=I", 2))]


def _verdict(found: re.Match[str]) -> list[bytes]:
    return _go(found[1], found[2])


@functools.lru_cache(64)  # mark-for-masquerade, mostly
def _go(how: str, chain: str) -> list[bytes]:
    return [_expression("immediate", be32(1, 0), nest(2, nftnl.verdict(_VERDICTS[how], chain)))]


@functools.lru_cache(64)
def _look_up(name: str, *keys: bytes, verdict: bool) -> list[bytes]:
    """Where in a set or map the keys, one beside the other in the registers, are."""
    return [*keys, _expression("lookup", text(1, name), be32(2, 1), *([be32(3, 0)] if verdict else []))]


def _service_of(found: re.Match[str]) -> list[bytes]:
    return _look_up(found[1], _load(_DESTINATION, 4), _meta(_L4PROTO, 9), _load(_DESTINATION_PORT, 2, 10), verdict=True)


def _node_port_of(found: re.Match[str]) -> list[bytes]:
    return _look_up(found[1], _meta(_L4PROTO, 1), _load(_DESTINATION_PORT, 2, 9), verdict=True)


def _is_in(found: re.Match[str]) -> list[bytes]:
    return _look_up(found[1], _load(_DESTINATION, 4), verdict=False)


def _mark(found: re.Match[str]) -> list[bytes]:
    bits = int(found[1], 16)
    operands = nest(4, attr(1, struct.pack("=I", bits ^ 0xFFFFFFFF))) + nest(5, attr(1, struct.pack("=I", bits)))
    changed = _expression("bitwise", be32(1, 1), be32(2, 1), be32(3, 4), operands)
    return [_meta(_MARK, 1), changed, _expression("meta", be32(2, _MARK), be32(3, 1))]


def _drop(_: re.Match[str]) -> list[bytes]:
    return [_expression("immediate", be32(1, 0), nest(2, nftnl.verdict(nftnl.DROP)))]


def _translate_address(found: re.Match[str]) -> list[bytes]:
    ip = _expression("immediate", be32(1, 1), nest(2, attr(1, socket.inet_aton(found[1]))))
    return [ip, *_to_port(int(found[2]))]


@functools.lru_cache
def _to_port(port: int) -> list[bytes]:
    return [
        _expression("immediate", be32(1, 2), nest(2, attr(1, struct.pack("!H", port)))),
        _expression("nat", be32(1, 1), be32(2, socket.AF_INET), be32(3, 1), be32(5, 2)),
    ]


_PHRASES: list[tuple[re.Pattern[str], Callable[[re.Match[str]], list[bytes]]]] = [
    (re.compile(r"ip daddr \. meta l4proto \. th dport vmap @(\S+)"), _service_of),
    (re.compile(r"meta l4proto \. th dport vmap @(\S+)"), _node_port_of),
    (re.compile(r"ip daddr @(\S+)"), _is_in),
    (re.compile(r"meta mark set meta mark \| (0x[0-9a-f]+)"), _mark),
    (re.compile(r"ip ([sd])addr (!= )?([\d./]+)(?= |$)"), _address),
    (re.compile(r"(tcp|udp|sctp) dport (\d+)"), _port),
    (re.compile(r"meta l4proto (tcp|udp|sctp)"), _protocol),
    (re.compile(r"fib saddr type local"), _local_source),
    (re.compile(r"(jump|goto) (\S+)"), _verdict),
    (re.compile(r"drop$"), _drop),
    (re.compile(r"dnat to ([\d.]+):(\d+)"), _translate_address),
]
