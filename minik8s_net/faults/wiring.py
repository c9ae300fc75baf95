"""Faults of links, routes and forwarding: the very things a student would type, and healing keeps its hands off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..cni.wire import UPLINK
from ..kernel import ensure, requests, rtnetlink, sysctl
from ..kernel.ensure import Wanted
from ..kernel.netlink import Socket
from ..kernel.rtnetlink import Link, Route
from . import nftables
from .catalogue import Json
from .mechanism import Mechanism
from .record import Injected
from .targets import pod, target

if TYPE_CHECKING:
    from ..boot.live import Live

IP_FORWARD = "net.ipv4.ip_forward"


class LinkDown(Mechanism):
    """The far end of the cable goes down: the near one keeps its addresses and routes, and says NO-CARRIER."""

    parameter = "at"

    def touches(self, live: Live, parameters: Json) -> list[str]:
        end = target(live, parameters[self.parameter])
        return [f"link {end.place} link {end.port}"]

    async def make(self, live: Live, fault: Injected) -> None:
        end = target(live, fault.parameters[self.parameter])
        await end.netns.run(change_link, end.port, lambda link: replace(link, up=False))


class NodeLost(LinkDown):
    """Its cable is pulled, and its kubelet says nothing any more."""

    parameter = "node"

    async def make(self, live: Live, fault: Injected) -> None:
        await super().make(live, fault)
        live.nodes.agents(fault.parameters["node"]).kubelet.silent = True

    async def undo(self, live: Live, fault: Injected) -> None:
        if fault.parameters["node"] in live.nodes.names():
            live.nodes.agents(fault.parameters["node"]).kubelet.silent = False


class Mtu(Mechanism):
    """The node believes in a smaller MTU than its peers, and its wire takes no more.

    A veth lets a sender's unsegmented frames (GSO) through whatever its MTU, a real wire would not: so a rule drops
    on the wire what is larger.
    """

    def touches(self, live: Live, parameters: Json) -> list[str]:
        return [f"link {parameters['node']} link {UPLINK}"]

    async def make(self, live: Live, fault: Injected) -> None:
        name, size = fault.parameters["node"], int(fault.parameters["bytes"])
        await live.nodes.agents(name).netns.run(change_link, UPLINK, lambda link: replace(link, mtu=size))
        await live.fabric.run(nftables.ensure_port_table, fault.number, name, {"egress": [f"ip length > {size} drop"]})

    async def undo(self, live: Live, fault: Injected) -> None:
        await live.fabric.run(nftables.remove_table, "netdev", fault.number)


class ForwardingOff(Mechanism):
    """As `sysctl -w net.ipv4.ip_forward=0` on the node."""

    def touches(self, live: Live, parameters: Json) -> list[str]:
        return [f"sysctl {parameters['node']} sysctl {IP_FORWARD}"]

    async def make(self, live: Live, fault: Injected) -> None:
        await live.nodes.agents(fault.parameters["node"]).netns.run(sysctl.ensure, {IP_FORWARD: 0})


class MissingRoute(Mechanism):
    """As `ip route del` on the node."""

    def touches(self, live: Live, parameters: Json) -> list[str]:
        return [f"route {parameters['node']} route {self._cidr(live, parameters)}"]

    async def make(self, live: Live, fault: Injected) -> None:
        await live.nodes.agents(fault.parameters["node"]).netns.run(_delete_route, self._cidr(live, fault.parameters))

    def _cidr(self, live: Live, parameters: Json) -> str:
        return str(live.config.node_pod_cidr(live.config.node_index(parameters["peer"])))


class WrongGateway(Mechanism):
    """The pod's default route leads to an address of its network that nobody has."""

    def touches(self, live: Live, parameters: Json) -> list[str]:
        return [f"route {parameters['pod']} route default"]

    async def make(self, live: Live, fault: Injected) -> None:
        from ..healing.places import place
        from ..healing.wiring import within

        found = pod(live, fault.parameters["pod"])
        assert found.spec and found.spec.nodeName
        here = place(live, fault.parameters["pod"])
        if here is not None:
            index = live.config.node_index(found.spec.nodeName)
            nobody = str(live.config.node_pod_cidr(index).broadcast_address - 1)
            await here.netns.run(within, here, _replace_default, nobody)


# -- in the namespace ------------------------------------------------------------------------------------------------
def change_link(name: str, change: Callable[[Link], Link]) -> None:
    """Give a link other flags or another MTU, if it has not got them."""
    with Socket() as sock:
        now = next((link for link in rtnetlink.links(sock) if link.name == name), None)
        if now is not None and (wanted := change(now)) != now:
            sock.burst([requests.set_link(wanted, now.index)])


def _delete_route(cidr: str) -> None:
    ensure.remove(Wanted(routes=[route for route in rtnetlink.routes() if route.dst == cidr]))


def _replace_default(gateway: str) -> None:
    with Socket() as sock:
        index = next((link.index for link in rtnetlink.links(sock) if link.name == UPLINK), None)
        wanted = Route("default", UPLINK, gateway)
        if index is not None and wanted not in {replace(r, src="") for r in rtnetlink.routes(sock)}:
            sock.burst([requests.new_route(wanted, index)])
