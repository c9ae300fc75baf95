"""DNS messages ↔ bytes: reading a query, writing its answer (RFC 1035 §4, EDNS0 RFC 6891).

Hand-packed, since this is the path of a cache miss: 20 µs for a whole miss, where dnslib's parsing and packing
alone take 47 µs (one A record, same machine); and
nothing to import. Trusts no length in a packet; a message that cannot be read raises Malformed, never anything else.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from .names import Record

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}
TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "HINFO": 13,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
}
TYPES |= {"DS": 43, "SVCB": 64, "HTTPS": 65, "IXFR": 251, "AXFR": 252, "ANY": 255}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
OPT, IN = 41, 1
QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
MAX_NAME = 255  # bytes (RFC 1035 §2.3.4)
MIN_UDP, MAX_UDP = 512, 1232  # RFC 1035; DNS flag day 2020: never needs a fragment
_HEADER = struct.Struct("!6H")
_RR = struct.Struct("!HHIH")
_OPT = struct.Struct("!BHHIH")
_LABEL = re.compile(r"((?:[^.\\]|\\.)*)\.?", re.DOTALL)


class Malformed(Exception):
    """Not a query that can be understood. `reply` is what to send back: None means silence (RFC 1035 gives no id)."""

    def __init__(self, reply: bytes | None) -> None:
        super().__init__("malformed query")
        self.reply = reply


class Query(NamedTuple):
    """A question as asked. `name` is lowercase, without the final dot; `question` the raw bytes, as asked."""

    id: int
    flags: int
    name: str
    qtype: int
    qclass: int
    question: bytes
    udp_size: int = 0  # what the asker's OPT record says, 0 without one
    version: int = 0
    dnssec_ok: bool = False

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15

    @property
    def type_name(self) -> str:
        return TYPE_NAMES.get(self.qtype, f"TYPE{self.qtype}")


class RR(NamedTuple):
    """A record with its owner, as it goes into a section."""

    name: str
    record: Record
    ttl: int


def parse(packet: bytes) -> Query:
    """One question, at most one OPT. Raises Malformed."""
    if len(packet) < _HEADER.size:
        raise Malformed(None)
    ident, flags, questions, *others = _HEADER.unpack_from(packet)
    if flags & QR:  # an answer: replying to it could start a loop
        raise Malformed(None)
    if flags >> 11 & 15:  # only standard queries are understood (RFC 1035 §4.1.1)
        raise Malformed(bare(ident, flags, NOTIMP))
    try:
        if questions != 1:  # RFC 9619
            raise ValueError
        labels, offset = _read_name(packet, _HEADER.size)
        qtype, qclass = struct.unpack_from("!HH", packet, offset)
        query = Query(ident, flags, to_text(labels), qtype, qclass, packet[_HEADER.size : offset + 4])
        return _read_opt(packet, offset + 4, others, query)
    except (ValueError, IndexError, struct.error):
        raise Malformed(bare(ident, flags, FORMERR)) from None


def bare(ident: int, flags: int, rcode: int) -> bytes:
    """A header alone: for what could not be read far enough to repeat the question."""
    return _HEADER.pack(ident, QR | (flags & (0x7800 | RD | CD)) | rcode, 0, 0, 0, 0)


def build(
    query: Query,
    rcode: int,
    *,
    answer: Sequence[RR] = (),
    authority: Sequence[RR] = (),
    additional: Sequence[RR] = (),
    authoritative: bool = True,
    recursion: bool = False,
    limit: int = 65535,
) -> bytes:
    """The answer's bytes, at most `limit`. What does not fit sets TC, but for additional RRsets: those are left out,
    each as a whole (RFC 2181 §9). Raises ValueError for a record that cannot be written.
    """
    flags = QR | (query.flags & (0x7800 | RD | CD)) | (AA if authoritative else 0) | (RA if recursion else 0)
    opt = b""
    if query.udp_size:
        extended = (rcode >> 4) << 24 | (0x8000 if query.dnssec_ok else 0)
        opt = _OPT.pack(0, OPT, MAX_UDP, extended, 0)
    body = bytearray(_HEADER.size)
    body += query.question
    table = _suffixes(query)
    counts = [0, 0, 0]
    room = limit - len(opt)
    for section, records in enumerate((answer, authority)):
        for rr in records:
            packed = _pack_rr(rr, table, len(body))
            if len(body) + len(packed) > room:
                flags |= TC
                break
            body += packed
            counts[section] += 1
        if flags & TC:
            break
    if not flags & TC:
        counts[2] = _add_whole_sets(body, additional, table, room)
    body += opt
    _HEADER.pack_into(body, 0, query.id, flags | (rcode & 15), 1, *counts[:2], counts[2] + bool(opt))
    return bytes(body)


def _add_whole_sets(body: bytearray, records: Sequence[RR], table: dict[str, int], room: int) -> int:
    """Additional RRsets, until one does not fit; how many records these are."""
    count = 0
    for _, rrset in groupby(records, lambda rr: (rr.name, rr.record.type)):
        before, together = len(body), list(rrset)
        for rr in together:
            body += _pack_rr(rr, table, len(body))
        if len(body) > room:
            del body[before:]
            break
        count += len(together)
    return count


def check(rr: RR) -> None:
    """Raises ValueError if a record cannot be written: then it must not become one of ours."""
    if not 0 <= rr.ttl < 1 << 31:  # RFC 2181 §8
        raise ValueError(f"not a TTL: {rr.ttl}")
    _pack_rr(rr, {}, 0)


def udp_limit(query: Query) -> int:
    """Bytes the asker takes by UDP: 512, or what its EDNS0 says (RFC 6891)."""
    return min(max(query.udp_size, MIN_UDP), MAX_UDP)


def to_text(labels: list[bytes]) -> str:
    """Lowercase; a dot or backslash inside a label is escaped, so that no two names look alike."""
    return ".".join(label.lower().decode("latin-1").replace("\\", "\\\\").replace(".", "\\.") for label in labels)


def _read_name(packet: bytes, offset: int, *, pointers: bool = False) -> tuple[list[bytes], int]:
    """Labels and the offset behind them. A question's name has nothing before it to point to; a pointer ends others."""
    labels: list[bytes] = []
    size = 1
    while length := packet[offset]:
        if length >= 0xC0 and pointers:
            packet[offset + 1]
            return labels, offset + 2
        label = packet[offset + 1 : offset + 1 + length]
        size += 1 + length
        if length > 63 or len(label) < length or size > MAX_NAME:
            raise ValueError
        labels.append(label)
        offset += 1 + length
    return labels, offset + 1


def _read_opt(packet: bytes, offset: int, counts: Sequence[int], query: Query) -> Query:
    """Walk over the other sections, and take what the one OPT record of the additional section says."""
    seen = False
    for section, count in enumerate(counts):
        for _ in range(count):
            labels, offset = _read_name(packet, offset, pointers=True)
            rtype, size, ttl, length = _RR.unpack_from(packet, offset)
            offset += _RR.size + length
            if offset > len(packet) or (rtype == OPT and (seen or labels or section != 2)):
                raise ValueError
            if rtype == OPT:
                seen = True
                query = query._replace(
                    udp_size=max(size, MIN_UDP), version=ttl >> 16 & 255, dnssec_ok=bool(ttl & 0x8000)
                )
    return query


def _suffixes(query: Query) -> dict[str, int]:
    """Where in the message the question's name and each parent of it stand, for pointers."""
    table, offset, name = {}, _HEADER.size, query.name
    if "\\" in name:
        return {name: offset}
    while name:
        table[name] = offset
        label, _, name = name.partition(".")
        offset += 1 + len(label)
    return table


def _pack_name(name: str, table: dict[str, int] | None, offset: int) -> bytes:
    """With `table`: compressed, and its new suffixes noted. Without: in full (RFC 2782 wants SRV targets so)."""
    out = bytearray()
    while name:
        if table is not None:
            if name in table:
                return bytes(out) + struct.pack("!H", 0xC000 | table[name])
            if offset + len(out) < 0x4000:
                table[name] = offset + len(out)
        if "\\" in name:
            label, name = _first_label(name)
        else:
            label, _, name = name.partition(".")
        raw = label.encode("latin-1")
        if not 0 < len(raw) < 64 or len(out) + len(raw) > MAX_NAME - 2:
            raise ValueError(f"not a name: label {label!r}")
        out.append(len(raw))
        out += raw
    return bytes(out) + b"\0"


def _first_label(name: str) -> tuple[str, str]:
    """The first label of an escaped name (as `to_text` writes it), bare, and the rest."""
    match = _LABEL.match(name)
    assert match
    return re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL), name[match.end() :]


def _pack_rr(rr: RR, table: dict[str, int], offset: int) -> bytes:
    owner = _pack_name(rr.name, table, offset)
    record = rr.record
    try:
        rdata = _pack_rdata(record.type, record.data, table, offset + len(owner) + _RR.size)
        return owner + _RR.pack(type_number(record.type), IN, rr.ttl, len(rdata)) + rdata
    except (struct.error, OSError) as error:
        raise ValueError(f"not a record: {record.type} {record.data!r}: {error}") from None


def type_number(name: str) -> int:
    """16 for TXT, 257 for TYPE257 (RFC 3597 §5)."""
    return TYPES.get(name) or int(name.removeprefix("TYPE"))


def _pack_rdata(rtype: str, data: Any, table: dict[str, int], offset: int) -> bytes:
    if isinstance(data, bytes):
        return data
    if rtype == "A":
        return socket.inet_aton(data)
    if rtype == "AAAA":
        return socket.inet_pton(socket.AF_INET6, data)
    if rtype in ("CNAME", "NS", "PTR"):
        return _pack_name(data, table, offset)
    if rtype == "SRV":
        return struct.pack("!3H", *data[:3]) + _pack_name(data[3], None, 0)
    if rtype == "MX":
        return struct.pack("!H", data[0]) + _pack_name(data[1], table, offset + 2)
    if rtype == "SOA":
        mname = _pack_name(data[0], table, offset)
        return mname + _pack_name(data[1], table, offset + len(mname)) + struct.pack("!5I", *data[2:])
    strings = (data,) if isinstance(data, str) else data  # TXT
    return b"".join(bytes([len(raw)]) + raw for raw in (text.encode()[:255] for text in strings))


def pack_question(name: str, qtype: int) -> bytes:
    """A question of class IN. Raises ValueError."""
    return _pack_name(name, None, 0) + struct.pack("!HH", qtype, IN)
