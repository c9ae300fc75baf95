"""One Service's part of the nftables rules as netlink messages: the same as the text, without reading the ruleset.

`units` translates the sentences that `nftables.py` makes for a Service. What it has no translation for (the table
itself, sets of source ranges and of sticky clients) is not `sayable`: such a change goes to nft as text. So
nftables.py stays the one place that says what the rules are; a test compares the two ways in the kernel.
"""

from __future__ import annotations

import functools
import itertools
import re
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network

from ..kernel import nftnl
from ..kernel.netlink import attr, nest, text
from ..kernel.nftnl import Message, be32
from .nftables import BASE
from .rules import Difference, Entry

TABLE = "kube-proxy"
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_SOURCE, _DESTINATION, _DESTINATION_PORT = (1, 12), (1, 16), (2, 2)  # header (1 network, 2 transport), offset
_VERDICTS = {"jump": nftnl.JUMP, "goto": nftnl.GOTO}
_serial = itertools.count(1)


def sayable(d: Difference) -> bool:
    """Whether `units` can say it."""
    if any(place in BASE or place[0] != "chain" for place in (*d.write, *d.delete)):
        return False
    return not any(sentence.startswith("ip saddr != {") for body in d.write.values() for sentence in body)


def units(d: Difference) -> Iterator[list[Message]]:
    """The change as messages, in parts that may be sent one after the other if it is too much for one transaction.

    Chains come before the elements that lead to them, those before the chains that go.
    """
    for (_, name), body in d.write.items():
        rules = [message for sentence in body for message in _rule(name, sentence)]
        yield [nftnl.new_chain(TABLE, name), nftnl.flush_chain(TABLE, name), *rules]
    yield [
        *(nftnl.delete_elements(TABLE, m, [nftnl.element(_key(key))]) for m, key, _ in d.remove),
        *(nftnl.add_elements(TABLE, entry[0], [_element(entry)]) for entry in d.add),
    ]
    for _, name in d.delete:  # whoever jumps comes before whom it jumps to
        yield [nftnl.flush_chain(TABLE, name), nftnl.delete_chain(TABLE, name)]


# -- elements ----------------------------------------------------------------------------------------------------------
def _key(key: str) -> bytes:
    """`10.96.0.9 . tcp . 80`: each part padded to four bytes."""
    return b"".join(_value(part) for part in key.split(" . "))


def _value(part: str) -> bytes:
    if part in _PROTOCOLS:
        return bytes((_PROTOCOLS[part], 0, 0, 0))
    if part.isdigit():
        return struct.pack("!HH", int(part), 0)
    return socket.inet_aton(part)


_ELEMENT = re.compile(r'(?:comment "(?P<comment>[^"]*)" )?: (?:goto (?P<chain>\S+)|(?P<drop>drop))')


def _element(entry: Entry) -> bytes:
    _, key, value = entry
    if not value:
        return nftnl.element(_key(key))
    if not (found := _ELEMENT.fullmatch(value)):
        raise ValueError(value)
    verdict = nftnl.verdict(nftnl.DROP) if found["drop"] else nftnl.verdict(nftnl.GOTO, found["chain"])
    return nftnl.element(_key(key), verdict, found["comment"] or "")


# -- rules -------------------------------------------------------------------------------------------------------------
def _rule(chain: str, sentence: str) -> Iterator[Message]:
    """A rule is its matches in order, then what it does. One that spreads has a map of its own before it."""
    rest, _, comment = sentence.partition(" comment ")
    expressions: list[bytes] = []
    while rest:
        for pattern, translate in _PHRASES:
            if found := pattern.match(rest):
                expressions += translate(found)
                rest = rest[found.end() :].lstrip()
                break
        else:
            if not (spread := _SPREAD.fullmatch(rest)):
                raise ValueError(sentence)
            targets = [target.split(" : goto ")[1] for target in spread[1].split(", ")]
            name, rest = _map_name(chain), ""
            yield from _map(name, targets)
            expressions += _spread(name, len(targets))
    yield nftnl.add_rule(TABLE, chain, expressions, comment.strip('"'))


_SPREAD = re.compile(r"numgen random mod \d+ vmap \{ (.*) \}")


def _map_name(chain: str) -> str:
    """service-J3KWLXJG-default/web/tcp/http -> __sJ3KWLXJG. A chain has one such map, and its name only once."""
    kind, identity, _ = chain.split("-", 2)
    return f"__{kind[0]}{identity}"


def _map(name: str, targets: list[str]) -> Iterator[Message]:
    number = next(_serial) & 0x7FFFFFFF
    yield nftnl.new_anonymous_map(TABLE, name, number, len(targets))
    pairs = enumerate(targets)
    elements = [nftnl.element(struct.pack("=I", i), nftnl.verdict(nftnl.GOTO, target)) for i, target in pairs]
    for start in range(0, len(elements), 200):  # a nested attribute has at most 64 KiB
        yield nftnl.fill_anonymous_map(TABLE, number, elements[start : start + 200])


def _expression(name: str, *data: bytes) -> bytes:
    return nest(1, _name(name), nest(2, *data))


_name = functools.cache(functools.partial(text, 1))


def _spread(name: str, count: int) -> list[bytes]:
    return [
        _expression("numgen", be32(1, 1), be32(2, count), be32(3, 1), be32(4, 0)),
        _expression("lookup", text(1, name), be32(2, 1), be32(3, 0)),
    ]


@functools.cache
def _load(where: tuple[int, int], length: int) -> bytes:
    base, offset = where
    return _expression("payload", be32(1, 1), be32(2, base), be32(3, offset), be32(4, length))


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
    meta = _expression("meta", be32(2, 16), be32(1, 1))
    return [meta, _compare(bytes((_PROTOCOLS[protocol],)))]


def _port(found: re.Match[str]) -> list[bytes]:
    return [*_of_protocol(found[1]), _load(_DESTINATION_PORT, 2), _compare(struct.pack("!H", int(found[2])))]


def _local_source(_: re.Match[str]) -> list[bytes]:
    return [_expression("fib", be32(3, 1), be32(2, 3), be32(1, 1)), _compare(struct.pack("=I", 2))]


def _verdict(found: re.Match[str]) -> list[bytes]:
    return _go(found[1], found[2])


@functools.lru_cache(64)  # mark-for-masquerade, mostly
def _go(how: str, chain: str) -> list[bytes]:
    return [_expression("immediate", be32(1, 0), nest(2, nftnl.verdict(_VERDICTS[how], chain)))]


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
    (re.compile(r"ip ([sd])addr (!= )?([\d./]+)(?= |$)"), _address),
    (re.compile(r"(tcp|udp|sctp) dport (\d+)"), _port),
    (re.compile(r"meta l4proto (tcp|udp|sctp)"), _protocol),
    (re.compile(r"fib saddr type local"), _local_source),
    (re.compile(r"(jump|goto) (\S+)"), _verdict),
    (re.compile(r"drop$"), _drop),
    (re.compile(r"dnat to ([\d.]+):(\d+)"), _translate_address),
]
