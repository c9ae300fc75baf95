"""The overlay: one tunnel end a node, one forwarding entry a peer, nothing learned, nothing flooded."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from typing import Any

import pytest

from minik8s_net.cni.wire import mac_of
from minik8s_net.kernel.netns import Netns

pytestmark = [pytest.mark.netns, pytest.mark.parametrize("wired", ["vxlan"], indirect=True)]


ETH_P_ALL = 3


def shown(where: Netns, command: str) -> Any:
    done = where.call(subprocess.run, command.split(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_tunnel_end(wired: Any) -> None:
    (link,) = shown(wired.nodes[1], "ip -j -d link show vxlan.1")
    tunnel = link["linkinfo"]["info_data"]
    assert (tunnel["port"], tunnel["local"], link["mtu"], tunnel["learning"]) == (4789, "172.18.1.1", 1450, False)
    entries = shown(wired.nodes[1], "bridge -j fdb show dev vxlan.1")
    assert [(e["mac"], e["dst"], e["state"]) for e in entries] == [(mac_of("10.244.2.0"), "172.18.1.2", "permanent")]


def test_packets_between_nodes_are_udp_4789_on_the_fabric(wired: Any) -> None:
    wired.pod("a", 1)
    c = wired.pod("c", 2)
    with wired.fabric.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as wire:
        wire.bind(("node-1", ETH_P_ALL))
        wire.settimeout(2)
        ping = ["ping", "-c1", "-i0.2", "-w2", c.ip]
        wired.pods["a"].call(subprocess.run, ping, capture_output=True, check=True)
        frame = wire.recv(2000)
    assert frame[:6].hex(":") == mac_of("172.18.1.2")  # to that node alone
    protocol, source, target = frame[14 + 9], frame[14 + 12 : 14 + 16], frame[14 + 16 : 14 + 20]
    (port,) = struct.unpack("!H", frame[14 + 20 + 2 : 14 + 20 + 4])
    assert (protocol, port) == (socket.IPPROTO_UDP, 4789)
    assert (socket.inet_ntoa(source), socket.inet_ntoa(target)) == ("172.18.1.1", "172.18.1.2")
    assert socket.inet_aton(c.ip) in frame[14 + 20 + 8 + 8 :]


def test_a_full_sized_packet_fits(wired: Any) -> None:
    wired.pod("a", 1)
    c = wired.pod("c", 2)
    for size, fits in ((1450 - 28, True), (1451 - 28, False)):
        command = ["ping", "-c1", "-i0.2", "-w2", "-M", "do", "-s", str(size), c.ip]
        done = wired.pods["a"].call(subprocess.run, command, capture_output=True, check=False)
        assert (done.returncode == 0) == fits
