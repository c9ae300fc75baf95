"""Noticing: which places have changed since the last look. Costs nothing while nothing happens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightkube.resources.core_v1 import Node, Pod

from ..cni.node import NODE_SYSCTLS
from ..cni.wire import NO_IPV6, host_sysctls
from ..kernel import changes, ipset, sysctl
from ..kernel.changes import ADDRESSES, LINKS, NEIGHBOURS, ROUTES, Listener
from ..kernel.netns import NETNS_DIR, Netns, inside

if TYPE_CHECKING:
    from ..boot.live import Live

OF_HOSTS = LINKS | ADDRESSES | ROUTES | NEIGHBOURS
OF_PODS = LINKS | ADDRESSES | ROUTES  # a pod's own neighbour table is alive: its one permanent entry waits for a sweep
Key = tuple[str, str]  # place, and what tells it from a former one of that name


@dataclass
class Changed:
    """Names of places whose wiring, and of nodes whose rules are to be looked at."""

    places: set[str] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)


class Watches:
    """The listening sockets. A socket holds its namespace, so that of a pod goes as soon as the pod is on its way."""

    def __init__(self) -> None:
        self._ends: list[Callable[[], None]] = []
        self._listeners: dict[Key, tuple[Netns, Listener]] = {}  # with whose thread made it
        self._changed = Changed()
        self._rules: dict[str, tuple[int, int]] = {}  # node -> nftables' generation, digest of its ipsets
        self._sysctls: dict[str, tuple[str | None, ...]] = {}
        self._moved = True  # whether pods or nodes have come, gone or changed since the last look
        self._nodes: list[str] = []

    def begin(self, live: Live) -> None:
        """Follow pods and nodes, whose places come and go with them."""
        for kind in (Pod, Node):
            self._ends.append(live.client.watch(kind, self._move))

    def _move(self, _: object) -> None:
        self._moved = True

    def close(self) -> None:
        while self._ends:
            self._ends.pop()()
        for key in list(self._listeners):
            self._end(key)

    def again(self, place: str) -> None:
        """Look at it once more in the next turn, and when its sysctls are next asked for.

        It was wrong: mended, and broken the same way at once, it would look as it did when they were last asked for.
        """
        self._changed.places.add(place)
        self._sysctls.pop(place, None)

    def again_rules(self, node: str) -> None:
        self._changed.rules.add(node)

    async def follow(self, live: Live) -> None:
        """Listen in every place there is now, and nowhere else."""
        names = live.nodes.names()  # wired some time after their objects came, and the same when they go
        if not self._moved and names == self._nodes:
            return
        self._moved, self._nodes = False, names
        wanted: dict[Key, tuple[Netns, str]] = {("fabric", ""): (live.fabric, ""), ("outside", ""): (live.outside, "")}
        for name in names:
            agents = live.nodes.agents(name)
            wanted[name, ""] = agents.netns, ""
            for _, sandbox in agents.kubelet.wired():
                place = f"{sandbox.config.namespace}/{sandbox.config.name}"
                wanted[place, sandbox.id] = agents.netns, sandbox.netns
        for key, (netns, _) in list(self._listeners.items()):
            if key not in wanted or wanted[key][0] is not netns:  # it has gone, or went and came back
                self._end(key)
        for key in wanted.keys() - self._listeners.keys():
            await self._begin(key, *wanted[key])

    async def changed(self, live: Live, *, sysctls: bool) -> Changed:
        """What has changed since this was asked last; `sysctls`: of those too."""
        for name, agents in live.nodes.each():
            await self._ask_node(name, agents.netns, sysctls)
        for name, host in (("fabric", live.fabric), ("outside", live.outside)):
            if sysctls:
                self._compare_sysctls(name, await host.run(_sysctls, False))
        changed, self._changed = self._changed, Changed()
        changed.rules &= set(live.nodes.names())
        return changed

    async def _ask_node(self, name: str, netns: Netns, with_sysctls: bool) -> None:
        rules, sysctls = await netns.run(_node_state, with_sysctls)
        if self._rules.get(name) != rules:
            self._rules[name] = rules
            self._changed.rules.add(name)
        if sysctls is not None:
            self._compare_sysctls(name, sysctls)

    def _compare_sysctls(self, name: str, now: tuple[str | None, ...]) -> None:
        if self._sysctls.get(name) != now:
            self._sysctls[name] = now
            self._changed.places.add(name)

    async def _begin(self, key: Key, netns: Netns, pod: str) -> None:
        try:
            listener = await netns.run(_listen, netns.fd, pod)
        except (OSError, RuntimeError):
            self._moved = True  # a pod that has gone meanwhile, or a node
            return
        self._listeners[key] = netns, listener
        asyncio.get_running_loop().add_reader(listener, self._told, key)
        self._changed.places.add(key[0])

    def _told(self, key: Key) -> None:
        if self._listeners[key][1].drain():
            self._changed.places.add(key[0])

    def _end(self, key: Key) -> None:
        _, listener = self._listeners.pop(key)
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()


# -- in the namespace ------------------------------------------------------------------------------------------------
def _listen(node_fd: int, pod: str) -> Listener:
    if not pod:
        return Listener(OF_HOSTS)
    fd = os.open(NETNS_DIR / pod, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return inside(fd, node_fd, Listener, OF_PODS)
    finally:
        os.close(fd)


def _node_state(sysctls: bool) -> tuple[tuple[int, int], tuple[str | None, ...] | None]:
    return (changes.generation(), ipset.digest()), _sysctls(True) if sysctls else None


def _sysctls(forwarding: bool) -> tuple[str | None, ...]:
    names = {**host_sysctls(forwarding), **NO_IPV6, **(NODE_SYSCTLS if forwarding else {})}
    return tuple(sysctl.get(name) for name in names)
