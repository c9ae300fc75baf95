"""Both CNI modes on real namespaces: who reaches whom, with which address, and what mends itself."""

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest

from minik8s_net.cni.errors import CniError
from minik8s_net.cni.node import remove_node
from minik8s_net.cni.peers import ensure_peers
from minik8s_net.kernel import sysctl
from minik8s_net.kernel.netns import Netns

pytestmark = pytest.mark.netns
Ping = Callable[[Netns, str], bool]


def sh(where: Netns, command: str) -> None:
    import subprocess

    where.call(subprocess.run, command.split(), check=True, capture_output=True)


def test_pods_reach_each_other_and_the_server_sees_the_client(wired: Any, ping: Ping) -> None:
    a, b, c = wired.pod("a", 1), wired.pod("b", 1), wired.pod("c", 2)
    assert ping(wired.pods["a"], b.ip) and ping(wired.pods["a"], c.ip) and ping(wired.pods["c"], b.ip)
    assert ping(wired.nodes[1], c.ip) and ping(wired.nodes[2], a.ip)
    with wired.pods["c"].call(socket.create_server, (c.ip, 80)) as server:
        client = wired.pods["a"].call(socket.create_connection, (c.ip, 80), 2)
        connection, peer = server.accept()
        connection.close()
        client.close()
    assert peer[0] == a.ip


def test_outside_reaches_nodes_and_there_is_no_way_out(wired: Any, ping: Ping) -> None:
    a = wired.pod("a", 1)
    assert ping(wired.outside, "172.18.1.1") and ping(wired.nodes[2], "172.18.0.1")
    assert not ping(wired.outside, a.ip), "the fabric forwards nothing"
    assert not ping(wired.pods["a"], "192.0.2.1")
    assert ping(wired.pods["a"], "172.18.1.2")


def test_ensure_is_a_no_op_when_right(wired: Any) -> None:
    assert wired.mend() == []


@pytest.mark.parametrize(
    "breakage",
    [
        "ip link del eth0",
        "ip link set eth0 down",
        "ip link set cni0 down",
        "ip addr flush dev eth0",
        "ip route del default",
        "ip route del 10.244.2.0/24",
        "ip neigh flush all nud permanent",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
    ],
)
def test_a_broken_node_is_mended(wired: Any, ping: Ping, breakage: str) -> None:
    wired.pod("a", 1)
    c = wired.pod("c", 2)
    sh(wired.nodes[1], breakage)
    assert wired.mend() != []
    if not breakage.endswith("all nud permanent"):
        assert ping(wired.pods["a"], c.ip)
    assert wired.mend() == []
    assert wired.nodes[1].call(sysctl.get, "net.ipv4.ip_forward") == "1"


def test_peers_come_and_go(wired: Any, ping: Ping) -> None:
    wired.pod("a", 1)
    c = wired.pod("c", 2)
    asyncio.run(ensure_peers(wired.config, wired.nodes[1], 1, []))
    assert not ping(wired.pods["a"], c.ip)
    asyncio.run(remove_node(wired.config, 2, wired.nodes[2], wired.fabric))
    asyncio.run(remove_node(wired.config, 2, wired.nodes[2], wired.fabric))
    wired.mend()
    assert ping(wired.pods["a"], c.ip)


@pytest.mark.parametrize(
    ("side", "breakage", "says"),
    [
        ("node", "ip link set {port} nomaster", "master of {port} is none, should be cni0"),
        ("node", "ip link set {port} down", "up of {port}"),
        ("node", "ip link set {port} type bridge_slave hairpin off", "hairpin of {port}"),
        ("node", "ip link del {port}", "no link {port}"),
        ("node", "ip neigh del {ip} dev cni0", "no permanent neighbour {ip}"),
        ("pod", "ip addr del {ip}/24 dev eth0", "no address {ip}/24"),
        ("pod", "ip route del default", "no route default"),
        ("pod", "ip link set eth0 down", "up of eth0"),
        ("pod", "ip link set lo down", "up of lo"),
        ("pod", "ip link set eth0 mtu 1400", "mtu of eth0 is 1400"),
    ],
)
def test_check_names_what_is_broken_and_add_mends_it(wired: Any, side: str, breakage: str, says: str) -> None:
    a = wired.pod("a", 1)
    node, pod = wired.nodes[1], wired.pods["a"]
    assert asyncio.run(wired.cni.check(node, pod.fd, "a")) == a
    sh(node if side == "node" else pod, breakage.format(port=a.host_ifname, ip=a.ip))
    with pytest.raises(CniError, match=re.escape(says.format(port=a.host_ifname, ip=a.ip))):
        asyncio.run(wired.cni.check(node, pod.fd, "a"))
    assert asyncio.run(wired.cni.add(node, pod.fd, "a")) == a
    assert asyncio.run(wired.cni.check(node, pod.fd, "a")) == a


def test_delete_twice_and_a_failed_add_leaves_nothing(wired: Any) -> None:
    a, node = wired.pod("a", 1), wired.nodes[1]
    for _ in range(2):
        asyncio.run(wired.cni.delete(node, "a"))
    with pytest.raises(CniError, match="no address is leased"):
        asyncio.run(wired.cni.check(node, wired.pods["a"].fd, "a"))
    with pytest.raises(CniError, match="ADD b"):
        asyncio.run(wired.cni.add(node, "no-such-namespace", "b"))
    assert wired.cni.ipam(node).leases() == {}
    assert asyncio.run(wired.cni.add(node, wired.pods["a"].fd, "c")).ip != a.ip


def test_two_hundred_pods(wired: Any, ping: Ping) -> None:
    wired.pod("far", 2)
    last = [wired.pod(f"p{n}", 1) for n in range(200)][-1]
    assert len(wired.cni.ipam(wired.nodes[1]).leases()) == 200
    assert ping(wired.pods["far"], last.ip)
