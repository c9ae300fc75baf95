"""The way to other nodes' pods: plain routes (host-gw) or a VXLAN overlay. Pure; `ensure_peers` applies it.

- host-gw: `10.244.j.0/24 via 172.18.1.j dev eth0`, as flannel's host-gw or kindnet.
- vxlan (RFC 7348, UDP 4789): each node has a tunnel end 10.244.i.0 on `vxlan.1`; a route via the peer's tunnel end, a
  neighbour entry (its hardware address) and a forwarding entry (where in the fabric that address lives) per peer, as
  flannel does. Nothing is learned or flooded.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

from ..config import ClusterConfig
from ..kernel import rtnetlink
from ..kernel.ensure import Wanted, ensure, remove
from ..kernel.netns import Netns
from ..kernel.rtnetlink import Address, Fdb, Link, Neighbour, Route
from .wire import UPLINK, VXLAN, VXLAN_INDEX, VXLAN_MTU, mac_of


async def ensure_peers(config: ClusterConfig, node: Netns, index: int, peers: Iterable[int]) -> list[str]:
    """Give node `index` the ways to exactly these peers (node indexes); what had to be done."""
    return await node.run(_apply, config, peer_wiring(config, index, sorted(peers)))


def peer_wiring(config: ClusterConfig, index: int, peers: Iterable[int]) -> Wanted:
    """What node `index` needs to reach the pods of `peers`, in the cluster's CNI mode."""
    return _vxlan(config, index, peers) if config.cni == "vxlan" else _host_gw(config, peers)


def _host_gw(config: ClusterConfig, peers: Iterable[int]) -> Wanted:
    wanted = Wanted()
    for peer in peers:
        via = str(config.node_ip(peer))
        wanted.routes.append(Route(str(config.node_pod_cidr(peer)), UPLINK, via))
        wanted.neighbours.append(Neighbour(via, mac_of(via), UPLINK))
    return wanted


def _vxlan(config: ClusterConfig, index: int, peers: Iterable[int]) -> Wanted:
    end, underlay = str(config.node_pod_cidr(index).network_address), str(config.node_ip(index))
    link = Link(VXLAN, "vxlan", VXLAN_INDEX, mac_of(end), VXLAN_MTU, vni=1, local=underlay)
    wanted = Wanted(links=[link], addresses=[Address(end, 32, VXLAN)])
    for peer in peers:
        node, pods = str(config.node_ip(peer)), config.node_pod_cidr(peer)
        far = str(pods.network_address)
        wanted.routes.append(Route(str(pods), VXLAN, far, onlink=True))
        wanted.neighbours += [Neighbour(far, mac_of(far), VXLAN), Neighbour(node, mac_of(node), UPLINK)]
        wanted.fdb.append(Fdb(mac_of(far), node, VXLAN))
    return wanted


def _apply(config: ClusterConfig, wanted: Wanted) -> list[str]:
    stale = _stale(config, wanted)
    gone = [*stale.routes, *stale.neighbours, *stale.fdb, *stale.links]
    if gone:
        remove(stale)
    return [f"delete {each}" for each in gone] + ensure(wanted)


def _stale(config: ClusterConfig, wanted: Wanted) -> Wanted:
    """What earlier peers (or the other mode) left behind: our routes have a gateway and lead into the pod range."""
    pods = IPv4Network(config.pod_cidr)
    routes = [
        r
        for r in rtnetlink.routes()
        if r.via and r.dev in (UPLINK, VXLAN) and r.dst != "default" and IPv4Network(r.dst).subnet_of(pods)
    ]
    gateways = (str(config.fabric_ip), "")
    near = [n for n in rtnetlink.neighbours() if n.permanent and n.dev in (UPLINK, VXLAN) and n.ip not in gateways]
    keep = {(r.dst, r.dev, r.via) for r in wanted.routes}
    extra = [link for link in rtnetlink.links() if link.name == VXLAN and not wanted.links]
    return Wanted(
        links=extra,
        routes=[r for r in routes if (r.dst, r.dev, r.via) not in keep],
        neighbours=[n for n in near if n not in wanted.neighbours and "." in n.ip],
        fdb=[] if extra else [f for f in rtnetlink.fdb() if f.dev == VXLAN and f not in wanted.fdb],
    )
