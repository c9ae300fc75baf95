"""A node: an uplink on the fabric, a bridge for its pods, and a kernel that forwards between them.

br_netfilter must be on: it shows bridged packets to iptables, so that flows pass FORWARD exactly once; without it
a Service whose pod is on the client's own node times out.
"""

from __future__ import annotations

from ..config import ClusterConfig
from ..kernel import sysctl
from ..kernel.accounting import ACCOUNTING
from ..kernel.ensure import Wanted, ensure, remove
from ..kernel.netns import Netns
from ..kernel.rtnetlink import Address, Link, Neighbour
from .errors import CniError
from .wire import BRIDGE_INDEX, FABRIC_BRIDGE, NODE_BRIDGE, UPLINK, mac_of, plug, pod_mtu, prepare, uplink

BRIDGE_NF = "net.bridge.bridge-nf-call-iptables"
NODE_SYSCTLS = {BRIDGE_NF: 1, "net.ipv4.conf.all.route_localnet": 1}  # kube-proxy's: a node port answers on 127.0.0.1


async def ensure_node(config: ClusterConfig, index: int, node: Netns, fabric: Netns) -> list[str]:
    """Make and mend one node (172.18.1.i, bridge 10.244.i.1/24); what had to be done. Raises CniError, NetlinkError."""
    done = await node.run(_sysctls)
    ip = config.node_ip(index)
    done += await plug(config, node, ip, fabric, config.node_name(index))
    return done + await node.run(ensure, node_wiring(config, index))


def node_wiring(config: ClusterConfig, index: int) -> Wanted:
    """What a node holds by itself: its uplink and its bridge (pods and peers come on top)."""
    wanted = uplink(config, config.node_ip(index))
    cidr = config.node_pod_cidr(index)
    gateway = str(cidr.network_address + 1)
    wanted.links.append(Link(NODE_BRIDGE, "bridge", BRIDGE_INDEX, mac_of(gateway), pod_mtu(config)))
    wanted.addresses.append(Address(gateway, cidr.prefixlen, NODE_BRIDGE))
    return wanted


def _sysctls() -> list[str]:
    done = prepare(True)
    if sysctl.get(BRIDGE_NF) is None:
        raise CniError(f"this kernel has no {BRIDGE_NF}: load the module with `modprobe br_netfilter`")
    return done + sysctl.ensure(NODE_SYSCTLS) + sysctl.ensure(ACCOUNTING, optional=True)


async def remove_node(config: ClusterConfig, index: int, node: Netns, fabric: Netns) -> None:
    """Unplug a node from the fabric; its namespace and all that is in it is dropped by whoever made it. Idempotent."""
    ip = config.node_ip(index)
    port = Wanted(links=[Link(config.node_name(index))], neighbours=[Neighbour(str(ip), mac_of(ip), FABRIC_BRIDGE)])
    await fabric.run(remove, port)
    await node.run(remove, Wanted(links=[Link(UPLINK)]))
