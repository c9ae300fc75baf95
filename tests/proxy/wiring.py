"""Two nodes on a fabric, pods behind them and a host outside: small, by hand, in anonymous namespaces."""

from __future__ import annotations

import secrets
import socket
import subprocess
import threading
from collections import Counter
from pathlib import Path

from minik8s_net.kernel import sysctl
from minik8s_net.kernel.netns import Netns


def ip(where: Netns, *lines: str) -> None:
    where.call(subprocess.run, ["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


class Fabric:
    def __init__(self, nodes: int = 2) -> None:
        self.wire, self.outside = Netns.anonymous("fabric"), Netns.anonymous("outside")
        self.nodes: dict[str, Netns] = {}
        self.pods: dict[str, Netns] = {}
        self._servers: list[socket.socket] = []
        ip(self.wire, "link add br0 type bridge", "addr add 172.18.0.1/16 dev br0", "link set br0 up")
        self._plug(self.outside, "172.18.0.2/16", "outside")
        for i in range(1, nodes + 1):
            self._node(i, nodes)

    def _plug(self, where: Netns, address: str, port: str) -> None:
        veth(self.wire, "br0", port, where)
        ip(where, "link set lo up", f"addr add {address} dev eth0", "link set eth0 up")

    def _node(self, i: int, nodes: int) -> None:
        node = self.nodes[f"node-{i}"] = Netns.anonymous(f"node-{i}")
        self._plug(node, f"172.18.1.{i}/16", f"node{i}")
        ip(node, "link add cni0 type bridge", f"addr add 10.244.{i}.1/24 dev cni0", "link set cni0 up")
        ip(node, "route add default via 172.18.0.1")
        for j in (n for n in range(1, nodes + 1) if n != i):
            ip(node, f"route add 10.244.{j}.0/24 via 172.18.1.{j}")
        ip_sysctls = {"net.ipv4.ip_forward": 1, "net.ipv4.icmp_ratelimit": 0}
        node.call(sysctl.ensure, {**ip_sysctls, "net.bridge.bridge-nf-call-iptables": 1}, optional=True)

    def pod(self, node: int, host: int) -> str:
        """A pod at 10.244.NODE.HOST; its address."""
        address = f"10.244.{node}.{host}"
        self.pods[address] = Netns.anonymous(address)
        veth(self.nodes[f"node-{node}"], "cni0", f"p{host}", self.pods[address], hairpin=True)
        ip(self.pods[address], "link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up")
        ip(self.pods[address], f"route add default via 10.244.{node}.1")
        return address

    def serve(self, address: str, port: int = 8080, udp: bool = False) -> None:
        """Answer every connection or datagram with `server-address client-address`."""
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        server = self.pods[address].call(socket.socket, socket.AF_INET, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        self._servers.append(server)
        if not udp:
            server.listen(512)
            answer_streams(server, address)
        else:
            threading.Thread(target=_datagrams, args=(server, address), daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            try:
                server.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # a datagram socket is not connected
            server.close()
        for where in (*self.pods.values(), *self.nodes.values(), self.outside, self.wire):
            where.close()


def veth(host: Netns, bridge: str, port: str, inside: Netns, hairpin: bool = False) -> None:
    target = f"/proc/{threading.get_native_id()}/fd/{inside.fd}"
    assert Path(target).exists()
    ip(host, f"link add {port} type veth peer name eth0 netns {target}", f"link set {port} master {bridge} up")
    if hairpin:
        ip(host, f"link set {port} type bridge_slave hairpin on")


def answer_streams(server: socket.socket, address: str) -> None:
    """Say `address`, and the client's, to everybody who connects, then echo."""
    threading.Thread(target=_streams, args=(server, address), daemon=True).start()


def _streams(server: socket.socket, address: str) -> None:
    while True:
        try:
            connection, client = server.accept()
        except OSError:
            return
        threading.Thread(target=_stream, args=(connection, address, client[0]), daemon=True).start()


def _stream(connection: socket.socket, address: str, client: str) -> None:
    with connection:
        try:
            connection.sendall(f"{address} {client}\n".encode())
            while data := connection.recv(1024):
                connection.sendall(data)
        except OSError:
            pass  # the client went away


def _datagrams(server: socket.socket, address: str) -> None:
    while True:
        try:
            token, client = server.recvfrom(1024)
            if client is None:  # shut down
                return
            server.sendto(f"{address} {client[0]} {token.decode()}".encode(), client)
        except OSError:
            return


def open_connection(where: Netns, address: str, port: int, timeout: float = 2.0) -> socket.socket:
    client = where.call(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(timeout)
    try:
        client.connect((address, port))
    except OSError:
        client.close()
        raise
    return client


def ask(where: Netns, address: str, port: int, timeout: float = 2.0) -> tuple[str, str]:
    """(endpoint that answered, source address it saw)."""
    with open_connection(where, address, port, timeout) as client:
        server, source = client.makefile().readline().split()
    return server, source


def ask_udp(where: Netns, address: str, port: int, source_port: int = 0, timeout: float = 1.0) -> tuple[str, str]:
    with where.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(timeout)
        client.bind(("", source_port))
        client.connect((address, port))
        token = secrets.token_hex(4)  # an answer to somebody before us, on the same port, is none
        client.send(token.encode())
        while True:
            server, source, answered = client.recv(100).decode().split()
            if answered == token:
                break
    return server, source


def spread(where: Netns, address: str, port: int, times: int) -> Counter[str]:
    return Counter(ask(where, address, port)[0] for _ in range(times))
