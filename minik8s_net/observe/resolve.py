"""The verb "resolve": any type of question, asked from a pod's namespace down its search path, every step kept.

`POST /minik8s/v1/resolve {"source": "client", "name": "web", "type": "SRV"}` answers {servers, searches, ndots,
questions: [{server, name, type, suffix, rcode, answers, milliseconds, error}]}; rcode null: nobody answered.
The walk is the C library's (resolv.conf(5)): it ends with the first answer that has records of the type, and asks the
next nameserver where one does not answer or does not know. One that was silent is not asked again in the same walk (the
C library would wait for it at each name). Where there is no nameserver, the C library asks the place itself, 127.0.0.1,
and so do we.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import time
from typing import Any

from ..api.errors import bad_request
from ..boot.live import Live
from ..dns.wire import TYPES
from . import decode
from .trace.names import DNS_PORT, LOCAL, UNKNOWING, Resolver, resolver_of
from .trace.places import Place, Places

Json = dict[str, Any]
SECONDS = 2.0  # to wait for each answer
MOST_NAME = 253  # RFC 1035


async def resolve(live: Live, asked: Json) -> Json:
    """Raises StatusError: 400 for what is no question, 404 for a pod that is not there."""
    kind, name = str(asked.get("type") or "A").upper(), str(asked.get("name") or "").strip()
    if kind not in TYPES:
        raise bad_request(f"type: {kind!r} is none of {', '.join(sorted(TYPES))}")
    labels = name.rstrip(".").split(".") if name != "." else []
    if not name or len(name) > MOST_NAME or not all(0 < len(label) < 64 for label in labels) or not name.isascii():
        raise bad_request(f"name: {name!r} is no domain name")
    places = Places(live)
    try:
        place = places.source(str(asked.get("source") or ""), str(asked.get("namespace") or "default"))
        resolver = await resolver_of(live, place)
        questions: list[Json] = []
        servers = list(resolver.servers or [LOCAL])
        for candidate, suffix in _candidates(resolver, name, kind):
            for server in list(servers):
                told = {"suffix": suffix, **await _ask_from(place, server, candidate, kind)}
                questions.append(told)
                if told["rcode"] is None and len(servers) > 1:
                    servers.remove(server)
                if told["rcode"] in (None, *UNKNOWING):
                    continue
                break
            if questions[-1]["rcode"] is None or answered(questions[-1]):
                break
    finally:
        places.close()
    about = {"servers": resolver.servers, "searches": resolver.searches, "ndots": resolver.ndots}
    return {**about, "questions": questions}


def answered(told: Json) -> bool:
    """Whether there are records of the type that was asked for: an alias of nothing is no answer."""
    return any(kind == told["type"] or told["type"] == "ANY" for kind, _ in told["answers"])


async def _ask_from(place: Place, server: str, name: str, kind: str) -> Json:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with await place.run(socket.socket, family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        return await _ask(sock, server, name, kind)


def _candidates(resolver: Resolver, name: str, kind: str) -> list[tuple[str, str]]:
    """Names to ask for, each with the search suffix it got. A PTR question for an address is about its reverse name."""
    try:
        if kind == "PTR":
            return [(ipaddress.ip_address(name).reverse_pointer, "")]
    except ValueError:
        pass
    bare = name.rstrip(".")
    return [(full, full[len(bare) + 1 :]) for full in resolver.candidates(name)]


async def _ask(sock: socket.socket, server: str, name: str, kind: str) -> Json:
    loop = asyncio.get_running_loop()
    query = decode.dns_query(int.from_bytes(os.urandom(2), "big"), name, TYPES[kind])
    began = time.monotonic()
    told: Json = {"server": server, "name": name, "type": kind, "rcode": None, "answers": [], "error": ""}
    try:
        async with asyncio.timeout(SECONDS):
            await loop.sock_connect(sock, (server, DNS_PORT))
            await loop.sock_sendall(sock, query)
            while told["rcode"] is None:
                data = await loop.sock_recv(sock, 4096)
                if data[:2] == query[:2] and (message := decode.dns(data)):
                    told |= {"rcode": message.rcode, "answers": message.answers}
    except TimeoutError:
        told["error"] = f"no answer in {SECONDS:g} s"
    except OSError as error:
        told["error"] = error.strerror or str(error)
    return {**told, "milliseconds": 1000 * (time.monotonic() - began)}
