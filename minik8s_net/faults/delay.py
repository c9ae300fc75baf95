"""Delay without netem: a relay on the cable between the fabric's bridge and a node's port.

    br0 ── delay-1 ══ delay-1-far ── (this process, a queue each way) ── port of the node ── the node's eth0

The port leaves the bridge, one end of a veth takes its place, and every frame is passed on after its time, from packet
socket to packet socket. Frames keep their virtio header, so that unsegmented and unchecksummed ones stay what they are.
For as long as no controller runs, the cable is cut. (A tap device would do the same with half the pieces, but its
/dev/net/tun is root's alone on many machines.)
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING

from ..cni.wire import FABRIC_BRIDGE
from ..kernel import requests, rtnetlink, sysctl
from ..kernel.netlink import Socket
from ..kernel.rtnetlink import Link
from .catalogue import Json
from .mechanism import Mechanism
from .record import Injected

if TYPE_CHECKING:
    from ..boot.live import Live

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 15, 23, 0x0003
LARGEST = 70_000  # bytes: an unsegmented frame and its headers
AT_ONCE = 256  # frames read before others get their turn


class Delay(Mechanism):
    """One relay per fault, for as long as this controller lives; the next one makes it again."""

    def __init__(self) -> None:
        self._relays: dict[int, Relay] = {}

    def touches(self, live: Live, parameters: Json) -> list[str]:
        return [f"link fabric link {parameters['node']}"]

    async def make(self, live: Live, fault: Injected) -> None:
        port, plug = fault.parameters["node"], _plug(fault)
        relay = self._relays.get(fault.number)
        if relay is not None:
            if await live.fabric.run(_stands, port, plug):
                return
            self._relays.pop(fault.number).close()
        ends = await live.fabric.run(_open, port, plug)
        self._relays[fault.number] = Relay(*ends, int(fault.parameters["milliseconds"]) / 1000)

    async def undo(self, live: Live, fault: Injected) -> None:
        if relay := self._relays.pop(fault.number, None):
            relay.close()
        await live.fabric.run(_unplug, _plug(fault))


def _plug(fault: Injected) -> str:
    return f"delay-{fault.number}"


class Relay:
    """Two queues. Reads and writes never block; what does not fit is lost, as on any wire."""

    def __init__(self, plug: socket.socket, port: socket.socket, seconds: float) -> None:
        self._ends, self._seconds = (plug, port), seconds
        self._loop = asyncio.get_running_loop()
        self._closed = False
        for source, target in ((plug, port), (port, plug)):
            queue: deque[tuple[float, bytes]] = deque()
            self._loop.add_reader(source, self._take, source, queue, target)

    def close(self) -> None:
        """Nothing is passed on from now on; what waits is lost."""
        self._closed = True
        for end in self._ends:
            self._loop.remove_reader(end)
            end.close()

    def _take(self, source: socket.socket, queue: deque[tuple[float, bytes]], target: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                frame = source.recv(LARGEST)
            except OSError:  # nothing more, or the port is down
                return
            queue.append((self._loop.time() + self._seconds, frame))
            if len(queue) == 1:
                self._loop.call_at(queue[0][0], self._give, queue, target)

    def _give(self, queue: deque[tuple[float, bytes]], target: socket.socket) -> None:
        if self._closed:
            return
        while queue and queue[0][0] <= self._loop.time():
            try:
                target.send(queue.popleft()[1])
            except OSError:  # full, or down: this frame is lost
                continue
        if queue:
            self._loop.call_at(queue[0][0], self._give, queue, target)


# -- in the fabric ---------------------------------------------------------------------------------------------------
def _stands(port: str, plug: str) -> bool:
    links = {link.name: link for link in rtnetlink.links()}
    return plug in links and links[plug].master == FABRIC_BRIDGE and port in links and not links[port].master


def _open(port: str, plug: str) -> tuple[socket.socket, socket.socket]:
    """Put the relay in; its two ends. A plug that a former controller left is made anew.

    Raises LookupError where the node has no port (any more).
    """
    far = f"{plug}-far"
    with Socket() as netlink, open("/proc/thread-self/ns/net") as here:
        mtu = {link.name: link.mtu for link in rtnetlink.links(netlink)}[port]
        near = Link(plug, "veth", mtu=mtu, up=False)
        netlink.burst([requests.del_link(plug), requests.new_link(near, 0, Link(far, mtu=mtu), here.fileno())])
        sysctl.put(f"net/ipv4/conf/{far}/arp_ignore", 8)  # the relay's end is no host: it answers nobody
        ends = _end(far), _end(port)
        index = {link.name: link.index for link in rtnetlink.links(netlink)}
        changes = [
            requests.set_link(Link(far), index[far]),
            requests.set_link(Link(port), index[port], 0),
            requests.set_link(Link(plug), index[plug], index[FABRIC_BRIDGE]),
        ]
        netlink.burst(changes)
    return ends


def _end(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind((name, ETH_P_ALL))
    return sock


def _unplug(plug: str) -> None:
    with Socket() as netlink:
        netlink.burst([requests.del_link(plug)])
