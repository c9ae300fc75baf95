"""One Service's part of the nftables rules as netlink messages: the same as the text, without reading the ruleset.

`units` translates what `nftables.py` says for a Service, and for a further table (nfttables.py). What it has no words
for (the first table itself, sets of source ranges and of sticky clients) is not `sayable`: such a change goes to nft as
text. So nftables.py stays the one place that says what the rules are; a test compares the two ways in the kernel.
"""

from __future__ import annotations

import itertools
import re
import socket
import struct
from collections.abc import Iterator

from ..kernel import nftnl
from ..kernel.nftnl import Message
from .nftables import BASE, COMMENT
from .nftsentences import PROTOCOLS, expressions, spread
from .nfttables import tables_of, where
from .rules import Difference, Entry

_serial = itertools.count(1)


def sayable(d: Difference) -> bool:
    """Whether `units` can say it."""
    if any(place in BASE for place in (*d.write, *d.delete)) or any(kind != "chain" for kind, _ in d.delete):
        return False
    if any(kind != "chain" and (kind, where(place)[1]) not in BASE for kind, place in d.write):
        return False
    return not any(sentence.startswith("ip saddr != {") for body in d.write.values() for sentence in body)


def units(d: Difference) -> Iterator[list[Message]]:
    """The change as messages, in parts that may be sent one after the other if it is too much for one transaction.

    Chains come before the elements that lead to them, those before the chains that go.
    """
    for table in tables_of(d.write):
        yield [nftnl.new_table(table, COMMENT)]
    for (kind, place), body in d.write.items():
        yield list(_chain(*where(place), body) if kind == "chain" else _set(*where(place), body))
    yield [
        *(nftnl.delete_elements(*where(m), [nftnl.element(_key(key))]) for m, key, _ in d.remove),
        *(nftnl.add_elements(*where(entry[0]), [_element(entry)]) for entry in d.add),
    ]
    for _, place in d.delete:  # whoever jumps comes before whom it jumps to
        yield [nftnl.flush_chain(*where(place)), nftnl.delete_chain(*where(place))]


# -- sets and maps of a further table ----------------------------------------------------------------------------------
_COMMENT = re.compile(r'comment "(.*)"')


def _set(table: str, name: str, body: tuple[str, ...]) -> Iterator[Message]:
    """`type ipv4_addr . inet_proto . inet_service : verdict`, and its comment."""
    keys, _, verdicts = body[0].removeprefix("type ").partition(" : ")
    comment = next((found[1] for line in body[1:] if (found := _COMMENT.fullmatch(line))), "")
    yield nftnl.new_set(table, name, keys.split(" . "), next(_serial) & 0x7FFFFFFF, comment, verdicts=bool(verdicts))


# -- elements ----------------------------------------------------------------------------------------------------------
def _key(key: str) -> bytes:
    """`10.96.0.9 . tcp . 80`: each part padded to four bytes."""
    return b"".join(_value(part) for part in key.split(" . "))


def _value(part: str) -> bytes:
    if part in PROTOCOLS:
        return bytes((PROTOCOLS[part], 0, 0, 0))
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


# -- chains and rules --------------------------------------------------------------------------------------------------
_HOOK = re.compile(r"type nat hook (\w+) priority (\S+); policy accept;")


def _chain(table: str, name: str, body: tuple[str, ...]) -> Iterator[Message]:
    if hook := _HOOK.fullmatch(body[0]) if body else None:
        yield nftnl.new_nat_chain(table, name, hook[1], {"dstnat": -100}.get(hook[2]) or int(hook[2]))
    else:
        yield nftnl.new_chain(table, name)
    yield nftnl.flush_chain(table, name)
    for sentence in body[1 if hook else 0 :]:
        yield from _rule(table, name, sentence)


def _rule(table: str, chain: str, sentence: str) -> Iterator[Message]:
    """One that spreads has a map of its own before it."""
    said, _, comment = sentence.partition(" comment ")
    if spreading := _SPREAD.fullmatch(said):
        targets = [target.split(" : goto ")[1] for target in spreading[1].split(", ")]
        name = _map_name(chain)
        yield from _map(table, name, targets)
        found = spread(name, len(targets))
    else:
        found = expressions(said)
    yield nftnl.add_rule(table, chain, found, comment.strip('"'))


_SPREAD = re.compile(r"numgen random mod \d+ vmap \{ (.*) \}")


def _map_name(chain: str) -> str:
    """service-J3KWLXJG-default/web/tcp/http -> __sJ3KWLXJG. A chain has one such map, and its name only once."""
    kind, identity, _ = chain.split("-", 2)
    return f"__{kind[0]}{identity}"


def _map(table: str, name: str, targets: list[str]) -> Iterator[Message]:
    number = next(_serial) & 0x7FFFFFFF
    yield nftnl.new_anonymous_map(table, name, number, len(targets))
    pairs = enumerate(targets)
    elements = [nftnl.element(struct.pack("=I", i), nftnl.verdict(nftnl.GOTO, target)) for i, target in pairs]
    for start in range(0, len(elements), 200):  # a nested attribute has at most 64 KiB
        yield nftnl.fill_anonymous_map(table, number, elements[start : start + 200])
