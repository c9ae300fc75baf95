"""A Corefile's text → its directives, and the words that several of them share. Pure.

https://coredns.io/manual/configuration/
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_network

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(#[^\n]*)|(\n)|([^\s"]+)')
_DIGITS = re.compile(r"[0-9]{1,10}")


class CorefileError(ValueError):
    """A Corefile that cannot be: `Corefile:LINE - Error during parsing: …`"""


@dataclass
class Directive:
    """One line of a Corefile: a plugin, its arguments, its block."""

    name: str
    args: list[str]
    line: int
    body: list[Directive] = field(default_factory=list)


def directives(text: str) -> list[Directive]:
    """Lines of words, `{` at a line's end opening a body and `}` on its own closing it. Raises CorefileError."""
    top: list[Directive] = []
    stack = [top]
    for number_, line in enumerate(text.splitlines(), 1):
        words = [m[1] if m[1] is not None else m[4] for m in _TOKEN.finditer(line) if m[2] is None]
        if not words:
            continue
        if words == ["}"]:
            if len(stack) == 1:
                raise error(number_, "unexpected '}'")
            stack.pop()
            continue
        opens = words[-1] == "{"
        words = words[:-1] if opens else words
        if not words or any(w in ("{", "}") for w in words):
            raise error(number_, "'{' belongs at the end of a line and '}' on a line of its own")
        directive = Directive(words[0], words[1:], number_)
        stack[-1].append(directive)
        if opens:
            stack.append(directive.body)
        elif len(stack) == 1:
            raise error(number_, f"server block for {words[0]!r} has no '{{'")
    if len(stack) > 1:
        raise error(len(text.splitlines()), "unexpected EOF: a '}' is missing")
    return top


def zones(words: list[str], line: int) -> tuple[str, ...]:
    """`dns://Example.Org.:53` → `example.org`; `10.0.0.0/22` → the four zones of in-addr.arpa. Raises CorefileError."""
    return tuple(zone for word in words for zone in _zone(word, line))


def _zone(word: str, line: int) -> list[str]:
    text = re.sub(r":\d+$", "", word.removeprefix("dns://")).rstrip(".").lower()
    if "/" in text:
        return _of_range(text, line)
    if text and not all(0 < len(label) < 64 for label in text.split(".")):
        raise error(line, f"not a zone: {word!r}")
    return [text]


def _of_range(text: str, line: int) -> list[str]:
    """An address range in zones cut at whole labels: octets of IPv4, nibbles of IPv6 (RFC 3172)."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise error(line, f"not a zone: {text!r}") from None
    bits = 8 if network.version == 4 else 4
    prefix = -(-network.prefixlen // bits) * bits
    skipped = (network.max_prefixlen - prefix) // bits  # labels of the host's part
    return [
        part.network_address.reverse_pointer.split(".", skipped)[skipped] for part in network.subnets(new_prefix=prefix)
    ]


def is_other_port(word: str) -> bool:
    """Is it `.:5353`, for a port that nobody listens at?"""
    return re.search(r":(?!53$)[0-9]+$", word) is not None


def is_reverse(zone: str) -> bool:
    """Does it hold PTR records of addresses?"""
    return zone in ("in-addr.arpa", "ip6.arpa") or zone.endswith((".in-addr.arpa", ".ip6.arpa"))


def is_number(word: str) -> bool:
    """Decimal digits, few enough for a number of seconds."""
    return _DIGITS.fullmatch(word) is not None


def number(option: Directive, low: int, high: int) -> int:
    """The one argument of an option. Raises CorefileError."""
    if len(option.args) == 1 and is_number(option.args[0]) and low <= int(option.args[0]) <= high:
        return int(option.args[0])
    raise error(option.line, f"{option.name} must be in range [{low}, {high}]: {' '.join(option.args)}")


def seconds(text: str) -> float | None:
    """Go's `5s`, `500ms`, `1m30s`; None for anything else."""
    if not re.fullmatch(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+", text):
        return None
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", text)
    return sum(float(number_) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for number_, unit in parts)


def error(line: int, message: str) -> CorefileError:
    """To be raised: in CoreDNS' words where it has some."""
    return CorefileError(f"Corefile:{line} - Error during parsing: {message}")
