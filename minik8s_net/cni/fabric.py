"""The fabric: a bridge that is the wire between the nodes, and `outside`, a host on it that is no part of the cluster.

The fabric has an address, so that it can be everybody's default gateway and carry the API server, and forwards nothing:
there is no way out of a cluster. Without a default route a Service address could not even be refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

from ..config import ClusterConfig
from ..kernel import rtnetlink, sysctl
from ..kernel.ensure import Wanted, ensure, remove
from ..kernel.netns import Netns
from ..kernel.rtnetlink import Address, Link, Route
from .wire import FABRIC_BRIDGE, MTU, UPLINK, mac_of, plug, prepare, uplink

OUTSIDE_PORT = "outside"
# A wire has no firewall: frames between nodes must not pass iptables a second time here.
NO_FIREWALL = {"net.bridge.bridge-nf-call-iptables": 0}


async def ensure_fabric(config: ClusterConfig, fabric: Netns, outside: Netns) -> list[str]:
    """Make and mend fabric and outside; what had to be done, [] if all was right."""
    done = await fabric.run(_fabric, config)
    done += await outside.run(prepare, False)
    done += await plug(config, outside, config.outside_ip, fabric, OUTSIDE_PORT)
    return done + await outside.run(ensure, uplink(config, config.outside_ip))


def _fabric(config: ClusterConfig) -> list[str]:
    done = prepare(False)
    done += sysctl.ensure(NO_FIREWALL, optional=True)
    return done + ensure(fabric_wiring(config))


def fabric_wiring(config: ClusterConfig) -> Wanted:
    """What the fabric holds by itself (its ports and the ways to pods come on top)."""
    ip = str(config.fabric_ip)
    bridge = Link(FABRIC_BRIDGE, "bridge", mac=mac_of(ip), mtu=MTU)
    return Wanted(links=[Link("lo"), bridge], addresses=[Address(ip, config.fabric.prefixlen, FABRIC_BRIDGE)])


async def ensure_ways_to_pods(
    config: ClusterConfig, fabric: Netns, outside: Netns, indexes: Iterable[int]
) -> list[str]:
    """Give the fabric itself and `outside` the ways to the pods of exactly these nodes.

    Nothing is translated on the way out of a node: whoever a pod talks to must know the way back to its address.
    """
    there = sorted(indexes)
    return [
        *await fabric.run(_ways, config, FABRIC_BRIDGE, there),
        *await outside.run(_ways, config, UPLINK, there),
    ]


def ways_to_pods(config: ClusterConfig, device: str, indexes: Iterable[int]) -> list[Route]:
    """One route per node, on the fabric (`br0`) or outside (`eth0`)."""
    return [Route(str(config.node_pod_cidr(i)), device, str(config.node_ip(i))) for i in indexes]


def _ways(config: ClusterConfig, device: str, indexes: list[int]) -> list[str]:
    wanted = ways_to_pods(config, device, indexes)
    pods = IPv4Network(config.pod_cidr)
    present = [r for r in rtnetlink.routes() if r.via and r.dst != "default" and IPv4Network(r.dst).subnet_of(pods)]
    stale = [r for r in present if r.dst not in {w.dst for w in wanted}]
    remove(Wanted(routes=stale))
    return [f"delete route {r.dst}" for r in stale] + ensure(Wanted(routes=wanted))
