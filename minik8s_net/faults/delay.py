"""Delay without netem: a relay on the cable between the fabric's bridge and a node's port.

    br0 ── tap ── (this process, a queue each way) ── port of the node ── the node's eth0

The port leaves the bridge, a tap device takes its place, and every frame is passed on after its time. Frames keep
their virtio header, so that unsegmented and unchecksummed ones stay what they are. The tap goes with this process:
for as long as no controller runs, the cable is cut.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..api.errors import StatusError
from ..cni.wire import FABRIC_BRIDGE
from ..kernel import requests, rtnetlink
from ..kernel.netlink import Socket
from ..kernel.rtnetlink import Link
from .catalogue import Json
from .mechanism import Mechanism
from .record import Injected

if TYPE_CHECKING:
    from ..boot.live import Live

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
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
        port, tap = fault.parameters["node"], f"delay-{fault.number}"
        relay = self._relays.get(fault.number)
        if relay is not None:
            if await live.fabric.run(_stands, port, tap):
                return
            relay.close()
        ends = await live.fabric.run(_open, port, tap)
        self._relays[fault.number] = Relay(*ends, int(fault.parameters["milliseconds"]) / 1000)

    async def undo(self, live: Live, fault: Injected) -> None:
        if relay := self._relays.pop(fault.number, None):
            relay.close()


class Relay:
    """Two queues. Reads and writes never block; what does not fit is lost, as on any wire."""

    def __init__(self, tap: int, port: socket.socket, seconds: float) -> None:
        self._tap, self._port, self._seconds = tap, port, seconds
        self._loop = asyncio.get_running_loop()
        self._closed = False
        to_port: deque[tuple[float, bytes]] = deque()
        to_tap: deque[tuple[float, bytes]] = deque()
        self._loop.add_reader(tap, self._take, lambda: os.read(tap, LARGEST), to_port, port.send)
        self._loop.add_reader(port, self._take, lambda: port.recv(LARGEST), to_tap, lambda f: os.write(tap, f))

    def close(self) -> None:
        """The tap device goes with its descriptor."""
        self._closed = True
        self._loop.remove_reader(self._tap)
        self._loop.remove_reader(self._port)
        os.close(self._tap)
        self._port.close()

    def _take(
        self, read: Callable[[], bytes], queue: deque[tuple[float, bytes]], write: Callable[[bytes], int]
    ) -> None:
        for _ in range(AT_ONCE):
            try:
                frame = read()
            except OSError:  # nothing more, or the port is down
                return
            queue.append((self._loop.time() + self._seconds, frame))
            if len(queue) == 1:
                self._loop.call_at(queue[0][0], self._give, queue, write)

    def _give(self, queue: deque[tuple[float, bytes]], write: Callable[[bytes], int]) -> None:
        if self._closed:
            return
        while queue and queue[0][0] <= self._loop.time():
            try:
                write(queue.popleft()[1])
            except OSError:  # full, or down: this frame is lost
                continue
        if queue:
            self._loop.call_at(queue[0][0], self._give, queue, write)


# -- in the fabric ---------------------------------------------------------------------------------------------------
def _stands(port: str, tap: str) -> bool:
    links = {link.name: link for link in rtnetlink.links()}
    return tap in links and links[tap].master == FABRIC_BRIDGE and port in links and not links[port].master


def _open(port: str, tap: str) -> tuple[int, socket.socket]:
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = f"delay needs tap devices or netem, and this kernel has neither ({error.strerror}: {error.filename})"
        raise StatusError(501, "NotImplemented", f"{why}; try: modprobe tun") from error
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", tap.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind((port, ETH_P_ALL))
    with Socket() as netlink:
        links = {link.name: link for link in rtnetlink.links(netlink)}
        bridge = links[FABRIC_BRIDGE].index
        changes = [
            requests.set_link(Link(port), links[port].index, 0),
            requests.set_link(Link(tap, mtu=links[port].mtu), links[tap].index, bridge),
        ]
        netlink.burst(changes)
    return fd, sock
