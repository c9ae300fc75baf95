"""A pod's veth: CNI's ADD, CHECK and DEL (https://www.cni.dev/docs/spec/).

Everything follows from the leased address: hardware address, port name and index. The pod's namespace is entered
once, to switch IPv6 off before its device arrives and to open a netlink socket that goes on speaking to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from ..config import ClusterConfig
from ..kernel import nftnl, requests, rtnetlink, sysctl
from ..kernel.ensure import Wanted
from ..kernel.netlink import NetlinkError, Socket
from ..kernel.netns import NETNS_DIR, Netns, inside
from ..kernel.rtnetlink import Address, Link, Neighbour, Route
from ..kernel.tool import ToolError
from ..state import State
from .errors import CniError
from .hostports import HostPort, chain_of, ensure_host_ports, has_host_ports, remove_host_ports
from .ipam import Ipam
from .wire import BRIDGE_INDEX, NO_IPV6, NODE_BRIDGE, POD_PORTS, UPLINK, UPLINK_INDEX, mac_of, pod_mtu

POD_SYSCTLS = {"net.ipv4.icmp_ratelimit": 0}


@dataclass(frozen=True)
class PodAddress:
    """The result of ADD. `host_ifname` is the pod's port on the node's bridge `cni0`."""

    ip: str
    prefix: int
    gateway: str
    mac: str
    host_ifname: str
    mtu: int

    @property
    def subnet(self) -> str:
        """The pod's network, e.g. 10.244.1.0/24."""
        return str(IPv4Network(f"{self.ip}/{self.prefix}", strict=False))


def host_ifname(ip: str) -> str:
    """The bridge port of the pod that has `ip`: `10.244.1.5` -> `veth0af40105` (the address in hexadecimal)."""
    return f"veth{int(IPv4Address(ip)):08x}"


class Cni:
    """ADD, CHECK and DEL for all nodes of a cluster.

    `pod` is the name of a namespace under NETNS_DIR, or a descriptor of one. `key` owns the lease: one per sandbox.
    """

    def __init__(self, config: ClusterConfig, state: State) -> None:
        self._config, self._state = config, state
        self._ipams: dict[str, Ipam] = {}
        self._ports: dict[str, Sequence[HostPort]] = {}  # by key; what ADD was told, for CHECK

    def at(self, node: Netns) -> NodeCni:
        """The same for one node, as its kubelet uses it."""
        return NodeCni(self, node)

    def ipam(self, node: Netns) -> Ipam:
        """The leases of a node."""
        name = node.name.removeprefix(f"{self._config.name}.")
        if name not in self._ipams:
            cidr = self._config.node_pod_cidr(self._config.node_index(name))
            self._ipams[name] = Ipam(self._state.ipam / name, cidr)
        return self._ipams[name]

    async def add(self, node: Netns, pod: str | int, key: str, ports: Sequence[HostPort] = ()) -> PodAddress:
        """Wire a pod up; the same key gets the same address again, and what stands is left alone: its packets pass on.
        Undone as a whole if it fails. Raises CniError.

        `ports` of the node lead to the pod from then on; none given: those of the ADD before.
        """
        return await node.run(self._add, node, pod, key, ports)

    async def check(self, node: Netns, pod: str | int, key: str) -> PodAddress:
        """Raises CniError naming all that is wrong with a pod's wiring."""
        return await node.run(self._check, node, pod, key)

    async def delete(self, node: Netns, key: str) -> None:
        """Unwire a pod and give its address back; may be called many times, and without its namespace."""
        await node.run(self._delete, node, key)

    def wiring(self, node: Netns, key: str) -> PodAddress | None:
        """What a pod's wiring should be; None while no address is leased to it. Looks at the lease only."""
        address = self.ipam(node).find(key)
        return None if address is None else self._result(node, address)

    def _add(self, node: Netns, pod: str | int, key: str, ports: Sequence[HostPort]) -> PodAddress:
        leases = self.ipam(node)
        held = leases.find(key)
        result = self._result(node, held or leases.reserve_next(key))
        try:
            with _pod_fd(pod) as fd:
                if not held or _wrong(result, fd, node.fd, _prepare):
                    _wire(result, fd, node.fd)
            if ports := ports or self._ports.get(key, ()):
                self._ports[key] = ports
                ensure_host_ports(result.ip, result.subnet, key, ports)
        except (OSError, NetlinkError, ToolError) as error:
            self._delete(node, key)
            raise CniError(f"ADD {key}: {error}") from error
        return result

    def _check(self, node: Netns, pod: str | int, key: str) -> PodAddress:
        address = self.ipam(node).find(key)
        if address is None:
            raise CniError(f"CHECK {key}: no address is leased to it")
        result = self._result(node, address)
        try:
            with _pod_fd(pod) as fd:
                wrong = _wrong(result, fd, node.fd)
            if (ports := self._ports.get(key)) and not has_host_ports(result.ip, result.subnet, key, ports):
                wrong.append(f"node: no rules for hostPort {', '.join(str(p.host_port) for p in ports)}")
        except OSError as error:
            raise CniError(f"CHECK {key}: {error}") from error
        if wrong:
            raise CniError(f"CHECK {key}: {'; '.join(wrong)}")
        return result

    def _delete(self, node: Netns, key: str) -> None:
        leases = self.ipam(node)
        if nftnl.exists("nat", chain_of(key)):  # by key: the lease may have been claimed by another pod
            remove_host_ports(key)
        self._ports.pop(key, None)
        if (address := leases.find(key)) is None:
            return
        port = host_ifname(str(address))
        with Socket() as sock:
            neighbour = Neighbour(str(address), mac_of(address), NODE_BRIDGE)
            sock.burst([requests.del_link(port), requests.del_neighbour(neighbour, BRIDGE_INDEX)])
        leases.release(key)

    def _result(self, node: Netns, ip: IPv4Address) -> PodAddress:
        cidr = self._config.node_pod_cidr(self._config.node_index(node.name.removeprefix(f"{self._config.name}.")))
        gateway = str(cidr.network_address + 1)
        return PodAddress(str(ip), cidr.prefixlen, gateway, mac_of(ip), host_ifname(str(ip)), pod_mtu(self._config))


class NodeCni:
    """One node's CNI, as the kubelet sees it (`kubelet.host.PodNetwork`)."""

    def __init__(self, cni: Cni, node: Netns) -> None:
        self._cni, self._node = cni, node

    async def add(self, pod_netns: str | int, key: str, ports: Sequence[HostPort] = ()) -> str:
        """CNI ADD on this node; idempotent."""
        return (await self._cni.add(self._node, pod_netns, key, ports)).ip

    def wiring(self, key: str) -> PodAddress | None:
        """What a pod's wiring should be; None while no address is leased to it."""
        return self._cni.wiring(self._node, key)

    async def check(self, pod_netns: str | int, key: str) -> str:
        """CNI CHECK on this node: what differs, in words; [] if nothing."""
        return (await self._cni.check(self._node, pod_netns, key)).ip

    async def delete(self, pod_netns: str | int, key: str) -> None:
        """CNI DEL on this node; may be called any number of times."""
        await self._cni.delete(self._node, key)


# -- in the node's namespace -----------------------------------------------------------------------------------------
def node_side(pod: PodAddress) -> Wanted:
    """What the node holds for the pod: its port on the bridge, and its hardware address."""
    index = POD_PORTS + int(IPv4Address(pod.ip)) % 65536
    port = Link(pod.host_ifname, "veth", index, mtu=pod.mtu, master=NODE_BRIDGE, hairpin=True)
    return Wanted(links=[port], neighbours=[Neighbour(pod.ip, pod.mac, NODE_BRIDGE)])


def pod_side(pod: PodAddress) -> Wanted:
    """What the pod's own namespace holds."""
    return Wanted(
        links=[Link("lo"), Link(UPLINK, "veth", UPLINK_INDEX, pod.mac, pod.mtu)],
        addresses=[Address(pod.ip, pod.prefix, UPLINK)],
        routes=[Route("default", UPLINK, pod.gateway)],
        neighbours=[Neighbour(pod.gateway, mac_of(pod.gateway), UPLINK)],
    )


def _wire(pod: PodAddress, pod_fd: int, node_fd: int) -> None:
    node, inner = node_side(pod), pod_side(pod)
    (port,), (lo, eth0) = node.links, inner.links
    with inside(pod_fd, node_fd, _prepare) as there, Socket() as here:
        there.burst([requests.del_link(UPLINK)])  # of an ADD that was interrupted
        here.burst(
            [
                requests.del_link(port.name),
                requests.new_link(port, BRIDGE_INDEX, peer=eth0, peer_fd=pod_fd),
                requests.set_hairpin(port.name, True, port.index),
                requests.new_neighbour(node.neighbours[0], BRIDGE_INDEX),
            ]
        )
        there.burst(
            [
                requests.set_link(lo, 1),
                requests.set_link(eth0, UPLINK_INDEX),
                requests.new_address(inner.addresses[0], UPLINK_INDEX),
                requests.new_route(inner.routes[0], UPLINK_INDEX),
                requests.new_neighbour(inner.neighbours[0], UPLINK_INDEX),
            ]
        )


def _prepare() -> Socket:
    """In the pod's namespace."""
    sysctl.ensure(NO_IPV6, optional=True)
    sysctl.ensure(POD_SYSCTLS)
    return Socket()


def _wrong(pod: PodAddress, pod_fd: int, node_fd: int, enter: Callable[[], Socket] = Socket) -> list[str]:
    """What both ends of the wire lack, in words. `enter` is called in the pod's namespace."""
    with Socket() as here, inside(pod_fd, node_fd, enter) as there:
        return [*_missing(node_side(pod), here, "node"), *_missing(pod_side(pod), there, "pod")]


def _missing(wanted: Wanted, sock: Socket, where: str) -> Iterator[str]:
    """What a namespace lacks, in words."""
    have = {link.name: link for link in rtnetlink.links(sock)}
    for link in wanted.links:
        now = have.get(link.name)
        if now is None:
            yield f"{where}: no link {link.name}"
            continue
        for field in ("kind", "up", "master", "hairpin", "mac", "mtu"):
            want, got = getattr(link, field), getattr(now, field)
            if want and want != got:  # "" and 0 mean any
                yield f"{where}: {field} of {link.name} is {got or 'none'}, should be {want}"
    addresses, neighbours = rtnetlink.addresses(sock), rtnetlink.neighbours(sock)
    yield from (f"{where}: no address {a.ip}/{a.prefix} on {a.dev}" for a in wanted.addresses if a not in addresses)
    yield from (f"{where}: no permanent neighbour {n.ip} {n.mac}" for n in wanted.neighbours if n not in neighbours)
    routes = [replace(route, src="") for route in rtnetlink.routes(sock)]
    for route in wanted.routes:
        if route not in routes:
            yield f"{where}: no route {route.dst} via {route.via}"


@contextmanager
def _pod_fd(pod: str | int) -> Iterator[int]:
    if isinstance(pod, int):
        yield pod
        return
    fd = os.open(NETNS_DIR / pod, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
