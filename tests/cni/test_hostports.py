"""hostPort in real namespaces: who reaches a pod through its node's port, with which address, and what is left."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from ipaddress import IPv4Address
from typing import Any

import pytest

from minik8s_net.cni.errors import CniError
from minik8s_net.cni.hostports import HostPort, chain_of, ensure_host_ports, render
from minik8s_net.kernel.netns import Netns

pytestmark = pytest.mark.netns
NODE = "172.18.1.1"


def rules(node: Netns) -> list[str]:
    saved = node.call(subprocess.run, ["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout
    return [line for line in saved.splitlines() if "CNI" in line and not line.startswith(":")]


def add(wired: Any, key: str, *ports: HostPort) -> str:
    wired.pods[key] = Netns.anonymous(key)
    address: str = asyncio.run(wired.cni.add(wired.nodes[1], wired.pods[key].fd, key, ports)).ip
    return address


def tcp(server: Netns, client: Netns, to: tuple[str, int], port: int = 80) -> str:
    """The address that the pod's server saw."""
    with server.call(socket.create_server, ("", port)) as listener:
        listener.settimeout(2)
        with client.call(socket.create_connection, to, 2):
            connection, peer = listener.accept()
            connection.close()
    return str(peer[0])


def test_the_nodes_port_is_the_pods_from_everywhere(wired: Any) -> None:
    a = add(wired, "a", HostPort(8080, 80))
    client = wired.pod("c", 1)
    far = wired.pod("d", 2)
    assert tcp(wired.pods["a"], wired.outside, (NODE, 8080)) == "172.18.0.2"
    assert tcp(wired.pods["a"], wired.nodes[2], (NODE, 8080)) == "172.18.1.2"
    assert tcp(wired.pods["a"], wired.pods["d"], (NODE, 8080)) == far.ip
    # Whoever shares the pod's subnet could else be answered past the node.
    assert tcp(wired.pods["a"], wired.pods["c"], (NODE, 8080)) in (NODE, "10.244.1.1") != client.ip
    assert tcp(wired.pods["a"], wired.pods["a"], (NODE, 8080)) == "10.244.1.1" != a
    assert tcp(wired.pods["a"], wired.nodes[1], ("127.0.0.1", 8080)) == "10.244.1.1"
    with pytest.raises(ConnectionRefusedError):
        wired.outside.call(socket.create_connection, (NODE, 8081), 2)


def test_protocol_and_address_count(wired: Any) -> None:
    add(wired, "a", HostPort(5353, 53, "udp"), HostPort(8080, 80, "tcp", "172.18.1.1"))
    node, pod = wired.nodes[1], wired.pods["a"]
    with pytest.raises(ConnectionRefusedError):
        tcp(pod, node, ("127.0.0.1", 8080))  # the node's other addresses are not meant
    assert tcp(pod, wired.outside, (NODE, 8080)) == "172.18.0.2"
    with pytest.raises(ConnectionRefusedError):
        tcp(pod, wired.outside, (NODE, 5353), 53)
    with (
        pod.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as server,
        wired.outside.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("", 53))
        server.settimeout(2)
        client.sendto(b"?", (NODE, 5353))
        assert server.recvfrom(10) == (b"?", ("172.18.0.2", client.getsockname()[1]))


def test_adding_twice_changes_nothing_and_deleting_leaves_nothing(wired: Any) -> None:
    node = wired.nodes[1]
    ports = [HostPort(8080 + n, 80 + n) for n in range(20)]
    ip = add(wired, "a", *ports)
    before = rules(node)
    assert {line for line in before if chain_of("a") in line} == set(render(ip, "10.244.1.0/24", "a", ports))
    assert not node.call(ensure_host_ports, ip, "10.244.1.0/24", "a", ports)
    add(wired, "b", HostPort(9090, 90))
    assert node.call(ensure_host_ports, ip, "10.244.1.0/24", "a", ports[:1])  # and less than before
    assert sum(chain_of("a") in line for line in rules(node)) == 4
    asyncio.run(wired.cni.delete(node, "a"))
    assert [line for line in rules(node) if chain_of("a") in line] == []
    assert tcp(wired.pods["b"], wired.outside, (NODE, 9090), 90) == "172.18.0.2"
    for _ in range(2):
        asyncio.run(wired.cni.delete(node, "b"))
    assert rules(node) == []


@pytest.mark.parametrize("breakage", ["iptables -t nat -F", "iptables -t nat -F CNI-HOSTPORT-DNAT"])
def test_check_sees_what_is_missing_and_add_mends_it(wired: Any, breakage: str) -> None:
    add(wired, "a", HostPort(8080, 80))
    node, pod = wired.nodes[1], wired.pods["a"]
    before = rules(node)
    asyncio.run(wired.cni.check(node, pod.fd, "a"))
    node.call(subprocess.run, breakage.split(), check=True)
    with pytest.raises(CniError, match="node: no rules for hostPort 8080"):
        asyncio.run(wired.cni.check(node, pod.fd, "a"))
    asyncio.run(wired.cni.add(node, pod.fd, "a"))
    assert sorted(rules(node)) == sorted(before)


def test_rules_go_with_the_pod_though_its_address_is_anothers(wired: Any) -> None:
    """A snapshot was restored: the pod that comes back has claimed the address of one that is on its way out."""
    node, ip = wired.nodes[1], add(wired, "a", HostPort(8080, 80))
    wired.cni.ipam(node).claim("back", IPv4Address(ip))
    add(wired, "back", HostPort(9090, 90))
    asyncio.run(wired.cni.delete(node, "a"))
    assert [line for line in rules(node) if chain_of("a") in line] == []
    assert tcp(wired.pods["back"], wired.outside, (NODE, 9090), 90) == "172.18.0.2"
    asyncio.run(wired.cni.delete(node, "back"))
    assert rules(node) == []
