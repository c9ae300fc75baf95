"""A pod's name look-up, step by step, as its C library does it (resolv.conf(5), nsswitch `files dns`).

Reads the /etc/hosts and /etc/resolv.conf the pod's processes really have, then asks real questions from the pod's
namespace, one after the other, until one is answered with an address. Only type A: the network is IPv4.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import dataclass, field

from ...boot.live import Live
from ...kernel import rooted
from ...kubelet import dnsconfig
from .. import decode
from ..decode import Dns
from .places import Place

DNS_PORT = 53
LOCAL = "127.0.0.1"
"""Whom the C library asks if no nameserver is given (resolv.conf(5))."""
UNKNOWING = ("SERVFAIL", "NOTIMP", "REFUSED")
"""What a server says that leaves the question to the next one."""


@dataclass(frozen=True)
class Resolver:
    """What the two files say."""

    servers: list[str] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)
    ndots: int = 1
    hosts: dict[str, str] = field(default_factory=dict)

    def candidates(self, name: str) -> list[str]:
        """The names to ask for, in order: with fewer dots than ndots the search path comes first."""
        if name.endswith("."):
            return [name.rstrip(".")]
        searched = [f"{name}.{suffix}" for suffix in self.searches]
        return [name, *searched] if name.count(".") >= self.ndots else [*searched, name]


@dataclass(frozen=True)
class Lookup:
    """One question. `answer` None: nobody answered within the time; `error` where it could not even be sent."""

    server: str
    name: str
    query: bytes
    answer: Dns | None = None
    error: str = ""
    milliseconds: float = 0.0

    @property
    def addresses(self) -> list[str]:
        return [value for kind, value in self.answer.answers if kind == "A"] if self.answer else []


async def resolver_of(live: Live, place: Place) -> Resolver:
    """Of the pod's first container, or else as its kubelet wrote them; nodes and outside have no such files."""
    if place.pod is None:
        return Resolver(hosts={"localhost": "127.0.0.1"})  # a process there sees the machine's files, and its servers
    containers = await live.runtime.list_containers(place.sandbox.id) if place.sandbox else []
    pids = [container.pid for container in containers if container.pid]
    for pid in pids:
        root = f"/proc/{pid}/root"
        try:
            return parse(rooted.read_text(root, "/etc/resolv.conf"), _hosts(root))
        except OSError:  # ended meanwhile, or has no such file
            continue
    address = (place.pod.status.podIP if place.pod.status else None) or ""
    hosts = dnsconfig.hosts(place.pod, address, live.config.cluster_domain)
    return parse(dnsconfig.resolv_conf(place.pod, live.config), hosts)


def _hosts(root: str) -> str:
    try:
        return rooted.read_text(root, "/etc/hosts")
    except FileNotFoundError:
        return ""


def parse(resolv_conf: str, hosts: str = "") -> Resolver:
    """Both files' text. As in glibc, of several `search` lines the last counts."""
    servers: list[str] = []
    searches: list[str] = []
    ndots = 1
    for line in resolv_conf.splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word in ("search", "domain"):
            searches = rest
        elif word == "options":
            ndots = next((int(o[6:]) for o in rest if o.startswith("ndots:") and o[6:].isdigit()), ndots)
    known: dict[str, str] = {}
    for line in hosts.splitlines():
        ip, *names = line.partition("#")[0].split() or [""]
        if "." in ip:
            known.update({name: ip for name in names if name not in known})
    return Resolver(servers[:3], searches, ndots, known)


async def look_up(sock: socket.socket, resolver: Resolver, name: str, seconds: float) -> list[Lookup]:
    """Ask until an address comes, or until nobody answers; every question asked, in order. A nameserver that is silent
    or does not know leads to the next one, as in the C library."""
    asked: list[Lookup] = []
    servers = list(resolver.servers)
    for candidate in resolver.candidates(name):
        for server in list(servers):
            asked.append(await _ask(sock, server, candidate, seconds))
            answer = asked[-1].answer
            if answer is None and len(servers) > 1:
                servers.remove(server)
            if answer is not None and answer.rcode not in UNKNOWING:
                break
        if asked and (asked[-1].addresses or asked[-1].answer is None):
            break
    return asked


async def _ask(sock: socket.socket, server: str, name: str, seconds: float) -> Lookup:
    loop = asyncio.get_running_loop()
    query = decode.dns_query(int.from_bytes(os.urandom(2), "big"), name)
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            await loop.sock_connect(sock, (server, DNS_PORT))
            await loop.sock_sendall(sock, query)
            answer = await _answer(sock, query)
    except TimeoutError:
        return Lookup(server, name, query)
    except OSError as error:
        return Lookup(server, name, query, error=error.strerror or str(error))
    return Lookup(server, name, query, answer, milliseconds=1000 * (time.monotonic() - began))


async def _answer(sock: socket.socket, query: bytes) -> Dns:
    """The message with the question's id; others (late ones) are left out."""
    loop = asyncio.get_running_loop()
    while True:
        data = await loop.sock_recv(sock, 4096)
        if data[:2] == query[:2] and (message := decode.dns(data)):
            return message
