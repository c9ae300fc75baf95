"""Asking another server (CoreDNS' forward plugin): the user's upstream or stub zone, none by default."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct

from . import wire
from .answer import Answer
from .names import Record
from .wire import RR, Query

TIMEOUT = 2.0  # seconds per server
MAX_POINTERS = 64


async def complete(answer: Answer, query: Query) -> Answer:
    """Fill in what only another server knows; SERVFAIL if none of them answers in time."""
    assert answer.ask is not None
    forward, name = answer.ask
    question = wire.pack_question(name, query.qtype)
    for upstream in forward.upstreams:
        try:
            async with asyncio.timeout(TIMEOUT):
                reply = await _exchange(upstream, question)
            rcode, found, authority = read_reply(reply)
        except (OSError, TimeoutError, EOFError, ValueError):
            continue
        return Answer(rcode, answer.answer + found, authority, authoritative=False, recursive=True)
    return Answer(wire.SERVFAIL, authoritative=False)


class _Exchange(asyncio.DatagramProtocol):
    """One question on a socket of its own (a fresh random port, connected: nobody else's datagram is taken)."""

    def __init__(self, message: bytes) -> None:
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._id, self._question = message[:2], message[12:].lower()

    def datagram_received(self, data: bytes, addr: object) -> None:
        echoed = data[12 : 12 + len(self._question)].lower()
        if data[:2] == self._id and echoed == self._question and not self.reply.done():
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def _exchange(upstream: tuple[str, int], question: bytes) -> bytes:
    """UDP, then TCP if the answer did not fit. Raises OSError, EOFError."""
    message = struct.pack("!6H", secrets.randbelow(65536), wire.RD, 1, 0, 0, 0) + question
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Exchange(message), remote_addr=upstream)
    try:
        transport.sendto(message)
        reply = await protocol.reply
    finally:
        transport.close()
    if not int.from_bytes(reply[2:4], "big") & wire.TC:
        return reply
    reader, writer = await asyncio.open_connection(*upstream)
    try:
        writer.write(struct.pack("!H", len(message)) + message)
        return await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0])
    finally:
        writer.close()


def read_reply(packet: bytes) -> tuple[int, list[RR], list[RR]]:
    """(rcode, answer, authority). What may hold compressed names is read, other RDATA kept as it is (RFC 3597 §4).
    Raises ValueError."""
    try:
        _, flags, questions, *counts = struct.unpack_from("!6H", packet)
        offset = 12
        for _ in range(questions):
            offset = _name(packet, offset)[1] + 4
        sections: list[list[RR]] = []
        for count in counts[:2]:
            sections.append([])
            for _ in range(count):
                name, offset = _name(packet, offset)
                number, rclass, ttl, length = struct.unpack_from("!HHIH", packet, offset)
                rtype = wire.TYPE_NAMES.get(number, f"TYPE{number}")
                data = _rdata(rtype, packet, offset + 10, length)
                offset += 10 + length
                if offset > len(packet):
                    raise ValueError("unreadable reply: cut off")
                if rclass == wire.IN:
                    sections[-1].append(RR(name, Record(rtype, data), min(ttl, 0x7FFFFFFF)))
        return flags & 15, sections[0], sections[1]
    except (struct.error, IndexError, OSError) as error:
        raise ValueError(f"unreadable reply: {error}") from None


def _name(packet: bytes, offset: int) -> tuple[str, int]:
    """A possibly compressed name, and the offset behind where it stands. Pointers must be few."""
    labels: list[bytes] = []
    end, pointers = 0, 0
    while length := packet[offset]:
        if length >= 0xC0:
            end = end or offset + 2
            offset = (length & 0x3F) << 8 | packet[offset + 1]
            pointers += 1
        else:
            labels.append(packet[offset + 1 : offset + 1 + length])
            offset += 1 + length
        if 0x40 <= length < 0xC0 or pointers > MAX_POINTERS or sum(map(len, labels)) + len(labels) > wire.MAX_NAME - 1:
            raise ValueError("bad name")
    return wire.to_text(labels), end or offset + 1


def _rdata(rtype: str, packet: bytes, offset: int, length: int) -> object:
    raw = packet[offset : offset + length]
    if rtype == "A":
        return socket.inet_ntop(socket.AF_INET, raw)
    if rtype == "AAAA":
        return socket.inet_ntop(socket.AF_INET6, raw)
    if rtype in ("CNAME", "NS", "PTR"):
        return _name(packet, offset)[0]
    if rtype == "SRV":
        return (*struct.unpack_from("!3H", raw), _name(packet, offset + 6)[0])
    if rtype == "MX":
        return struct.unpack_from("!H", raw)[0], _name(packet, offset + 2)[0]
    if rtype == "SOA":
        mname, offset = _name(packet, offset)
        rname, offset = _name(packet, offset)
        return (mname, rname, *struct.unpack_from("!5I", packet, offset))
    return raw
