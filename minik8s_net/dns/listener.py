"""Queries over UDP and TCP → answers; the cache of ready answers that makes it quick.

A datagram's bytes behind the message id are the key of its answer: an equal question has an equal answer until records
change, and then all answers are dropped. Addresses take turns at coming first (CoreDNS' loadbalance). One event loop,
no threads: a reader callback drains the socket, for a slice of time, before it returns.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from . import wire
from .answer import Answer, respond
from .config import Block, Config
from .datagrams import SLOT, Batch, Peer
from .told import Told
from .wire import Malformed, Query

log = logging.getLogger(__name__)
CACHE_BYTES = 32 << 20  # of questions and of all the answers that may be built to them
OVERHEAD = 512  # bytes of an entry's own objects
LONGEST = 512  # bytes of a question worth keeping; longer ones are padded, each differently
TRIES = 8  # to find a port that is free in both protocols
SLICE = 0.005  # seconds of datagrams per wake-up, so that timers, watches and TCP get their turn
TURNS = 32  # of addresses that are kept ready
TCP_IDLE = 10.0  # seconds (RFC 7766 §6.2.3)
TCP_CONNECTIONS = 128
FLAGS = (("qr", wire.QR), ("aa", wire.AA), ("tc", wire.TC), ("rd", wire.RD), ("ra", wire.RA), ("cd", wire.CD))


class Cached:
    """Ready answers (without their id) to one question; `hits` and labels for the metrics."""

    __slots__ = ("alone", "answers", "hits", "rcode", "rtype", "unbuilt")

    def __init__(self, first: bytes, unbuilt: Iterator[bytes], turns: int, rtype: str, rcode: str) -> None:
        self.answers, self.unbuilt, self.alone = deque((first[2:],)), unbuilt, turns == 1
        self.rtype, self.rcode, self.hits = rtype, rcode, 0

    def turn(self) -> bytes:
        """The next answer: each is built when its turn first comes."""
        if (raw := next(self.unbuilt, None)) is not None:
            self.answers.append(raw[2:])
        self.answers.rotate(1)
        return self.answers[0]


@dataclass(frozen=True)
class Request:
    """A query on its way: who asked, how, and how to reply."""

    query: Query
    peer: Peer
    protocol: str  # udp or tcp
    reply: Callable[[bytes], None]
    logged: bool
    size: int  # bytes of the message
    began: float = field(default_factory=time.perf_counter)

    def log_line(self, rcode: str, raw: bytes) -> str:
        """As CoreDNS' log plugin, what is no plain character of a name as \\DDD (RFC 4343): no name forges a line.

        `[INFO] 10.0.0.1:4711 - 7 "A IN web… udp 54 false 512" NOERROR qr,aa,rd 98 0.0001s`.

        https://coredns.io/plugins/log/
        """
        query, host = self.query, self.peer[0]
        flags = int.from_bytes(raw[2:4], "big")
        said = ",".join(name for name, bit in FLAGS if flags & bit)
        qclass = "IN" if query.qclass == wire.IN else f"CLASS{query.qclass}"
        bufsize = query.udp_size or (wire.MIN_UDP if self.protocol == "udp" else 65535)
        dnssec = "true" if query.dnssec_ok else "false"
        name = "".join(c if "!" <= c <= "~" and c != '"' else f"\\{ord(c):03}" for c in query.name)
        asked = f"{query.type_name} {qclass} {name}. {self.protocol} {self.size} {dnssec} {bufsize}"
        address = f"[{host}]:{self.peer[1]}" if ":" in host else f"{host}:{self.peer[1]}"
        seconds = time.perf_counter() - self.began
        return f'[INFO] {address} - {query.id} "{asked}" {rcode} {said} {len(raw)} {seconds:.9f}s'


class Listener:
    """Answers according to `config` until it is replaced or its records change (`changed`)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._cache: dict[bytes, Cached] = {}
        self._bytes = 0
        self._told = Told()
        self._forwards: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self.responses: Counter[tuple[str, str]] = Counter()  # (type, rcode)
        self.hits = self.misses = 0
        self.log_line: Callable[[str], None] = partial(print, flush=True)

    def changed(self) -> None:
        """Records changed: no ready answer is known to be right any more."""
        if self._cache:
            self.count()
            self._cache.clear()
            self._bytes = 0

    def count(self) -> None:
        """Fold the cached answers' hits into the counters."""
        for entry in self._cache.values():
            if entry.hits:
                self.responses[entry.rtype, entry.rcode] += entry.hits
                self.hits += entry.hits
                entry.hits = 0

    def entries(self) -> int:
        """How many answers are cached."""
        return len(self._cache)

    async def listen(self, host: str, port: int) -> tuple[socket.socket, asyncio.Server]:
        """Open UDP and TCP on the same port (0: any that is free in both). Raises OSError."""
        for _ in range(TRIES - 1 if port == 0 else 0):  # what is free in UDP may be taken in TCP
            try:
                return await self._listen(host, port)
            except OSError:
                continue
        return await self._listen(host, port)

    async def _listen(self, host: str, port: int) -> tuple[socket.socket, asyncio.Server]:
        udp = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        udp.setblocking(False)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        udp.bind((host, port))
        try:
            tcp = await asyncio.start_server(self._stream, host, udp.getsockname()[1], backlog=256)
        except OSError:
            udp.close()
            raise
        asyncio.get_running_loop().add_reader(udp.fileno(), self._drain, udp, Batch(udp))
        return udp, tcp

    # -- UDP -------------------------------------------------------------------------------------------------------
    def _drain(self, udp: socket.socket, batch: Batch) -> None:
        cache, slots, received, replies = self._cache, batch.slots, batch.received, batch.replies
        until = time.monotonic() + SLICE
        while time.monotonic() < until and (count := batch.receive()):
            waiting = 0  # slots from here on hold replies that are not sent yet
            for i in range(count):
                start, size = i * SLOT, received[i].len
                entry = cache.get(slots[start + 2 : start + size])
                if entry is None:
                    batch.send(waiting, i)
                    waiting = i + 1
                    self._miss(udp, slots[start : start + size], batch.peer(i))
                    continue
                entry.hits += 1
                answer = entry.answers[0] if entry.alone else entry.turn()
                size = len(answer) + 2
                slots[start + 2 : start + size] = answer
                replies[i].len = size
            batch.send(waiting, count)

    def _miss(self, udp: socket.socket, packet: bytes, peer: Peer) -> None:
        def reply(answer: bytes) -> None:
            try:
                udp.sendto(answer, peer)
            except OSError as error:
                log.debug("no answer to %s: %s", peer, error)

        self.handle(packet, peer, "udp", reply)

    # -- TCP (RFC 7766) --------------------------------------------------------------------------------------------
    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        peer = writer.get_extra_info("peername")
        later: set[asyncio.Task[None]] = set()

        def reply(answer: bytes) -> None:
            if not writer.is_closing():
                writer.write(struct.pack("!H", len(answer)) + answer)

        try:
            while len(self._connections) <= TCP_CONNECTIONS:
                async with asyncio.timeout(TCP_IDLE):
                    size = struct.unpack("!H", await reader.readexactly(2))[0]
                    packet = await reader.readexactly(size)
                if asked := self.handle(packet, peer, "tcp", reply):
                    later.add(asked)
                    asked.add_done_callback(later.discard)
                async with asyncio.timeout(TCP_IDLE):
                    await writer.drain()
                await asyncio.sleep(0)  # many questions in one piece: others get their turn
        except (TimeoutError, EOFError, OSError):  # idle, gone, or cut off: only what was asked before is still owed
            if later:
                await asyncio.wait(later, timeout=TCP_IDLE)
        finally:
            self._connections.discard(task)
            writer.close()

    # -- both ------------------------------------------------------------------------------------------------------
    def handle(
        self, packet: bytes, peer: Peer, protocol: str, reply: Callable[[bytes], None]
    ) -> asyncio.Task[None] | None:
        """Answer one message: at once or, if another server has to be asked, by the task returned."""
        self.misses += 1
        try:
            query = wire.parse(packet)
        except Malformed as error:
            if error.reply is not None:
                self.responses["other", wire.RCODES[error.reply[3] & 15]] += 1
                reply(error.reply)
            return None
        block = self.config.block(query.name)
        request = Request(query, peer, protocol, reply, block is not None and block.log, len(packet))
        try:
            answer = self._decide(block, query)
            if answer.ask is not None:
                task = asyncio.create_task(self._ask(request, answer))
                self._forwards.add(task)
                task.add_done_callback(self._forwards.discard)
                return task
            turns = _messages(request, answer)
            first = next(turns)
            if protocol == "udp" and not request.logged and answer.rcode != wire.SERVFAIL:
                self._keep(packet, first, turns, answer, query.type_name)
            self._finish(request, answer, first)
        except Exception:  # a fault of ours with one question is not to cost the others their answers
            self._failed(request)
        return None

    def _keep(self, packet: bytes, first: bytes, others: Iterator[bytes], answer: Answer, rtype: str) -> None:
        if len(packet) > LONGEST:
            return
        turns = _turns(answer)
        size = OVERHEAD + len(packet) + len(first) * turns
        if self._bytes + size > CACHE_BYTES:
            self.changed()
        self._bytes += size
        self._cache[packet[2:]] = Cached(
            first, others if turns > 1 else iter(()), turns, rtype, wire.RCODES[answer.rcode]
        )

    def _decide(self, block: Block | None, query: Query) -> Answer:
        if query.version:
            return Answer(wire.BADVERS, authoritative=False)
        if block is None or query.qclass != wire.IN:
            return Answer(wire.REFUSED, authoritative=False)
        answer = respond(block.sources, query.name, query.type_name)
        return answer if block.cap is None else answer.capped(block.cap)

    async def _ask(self, request: Request, answer: Answer) -> None:
        try:
            answer = await self._told.complete(answer, request.query)
            self._finish(request, answer, next(_messages(request, answer)))
        except Exception:
            self._failed(request)

    def _failed(self, request: Request) -> None:
        log.exception("[ERROR] no answer could be made to %r", request.query)
        self._finish(request, Answer(wire.SERVFAIL), wire.bare(request.query.id, request.query.flags, wire.SERVFAIL))

    def _finish(self, request: Request, answer: Answer, raw: bytes) -> None:
        request.reply(raw)
        rcode = wire.RCODES.get(answer.rcode, str(answer.rcode))
        self.responses[request.query.type_name, rcode] += 1
        if request.logged:
            self.log_line(request.log_line(rcode, raw))


def _turns(answer: Answer) -> int:
    """How many of its addresses get the first place."""
    return max(1, min(TURNS, sum(rr.record.type in ("A", "AAAA") for rr in answer.answer)))


def _messages(request: Request, answer: Answer) -> Iterator[bytes]:
    """The reply; with several addresses in it, further ones in which others come first, from a random one on."""
    limit = wire.udp_limit(request.query) if request.protocol == "udp" else 65535
    movable = [rr for rr in answer.answer if rr.record.type in ("A", "AAAA")]
    fixed = [rr for rr in answer.answer if rr.record.type not in ("A", "AAAA")]
    start = random.randrange(len(movable)) if len(movable) > 1 else 0
    for turn in range(start, start + _turns(answer)):
        at = turn % len(movable) if movable else 0
        yield wire.build(
            request.query,
            answer.rcode,
            answer=[*fixed, *movable[at:], *movable[:at]],
            authority=answer.authority,
            additional=answer.additional,
            authoritative=answer.authoritative,
            recursion=answer.recursive,
            limit=limit,
        )
