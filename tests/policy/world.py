"""A small cluster without an API server: real nodes and pods wired by the CNI, enforcers, and listeners in the pods."""

from __future__ import annotations

import asyncio
import functools
import selectors
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from lightkube.resources.core_v1 import Pod

from minik8s_net.cni.fabric import ensure_fabric
from minik8s_net.cni.node import ensure_node
from minik8s_net.cni.peers import ensure_peers
from minik8s_net.cni.pod import Cni
from minik8s_net.config import ClusterConfig
from minik8s_net.kernel import sysctl
from minik8s_net.kernel.netns import Netns
from minik8s_net.observe.reach import Place, Reach, reach
from minik8s_net.policy.enforcer import Enforcer
from minik8s_net.policy.index import PolicyIndex
from minik8s_net.state import State

from .objects import Objects

T = TypeVar("T")
SHORT_MEMORY = {f"net.netfilter.nf_conntrack_{t}": 1 for t in ("tcp_timeout_time_wait", "tcp_timeout_close")}


class World:
    """Close it, or use it in a `with`. `pods` are namespaces by key; `places` what `reach` wants."""

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        self.config = ClusterConfig(name="t", nodes=nodes)
        self.objects = Objects()
        self.index = PolicyIndex(self.objects)  # type: ignore[arg-type]
        self.fabric, self.outside = Netns.anonymous("t.fabric"), Netns.anonymous("t.outside")
        self.nodes = {f"node-{i}": Netns.anonymous(f"t.node-{i}") for i in range(1, nodes + 1)}
        self.pods: dict[str, Netns] = {}
        self.ips: dict[str, str] = {}
        self.cni = Cni(self.config, State(folder))
        self.loop = asyncio.new_event_loop()
        self.run(self._wire())
        for node in self.nodes.values():  # what thousands of probes leave behind goes soon
            node.call(sysctl.ensure, SHORT_MEMORY)
        self.enforcers = {n: Enforcer(self.config, n, self.index, ns) for n, ns in self.nodes.items()}
        self._tasks = {n: self.loop.create_task(e.run()) for n, e in self.enforcers.items()}
        self._sockets: list[socket.socket] = []
        self._echo = selectors.DefaultSelector()
        self._stop, self._stopped = socket.socketpair()
        self._echo.register(self._stopped, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()
        self.settle()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def _wire(self) -> None:
        await ensure_fabric(self.config, self.fabric, self.outside)
        for i, node in enumerate(self.nodes.values(), 1):
            await ensure_node(self.config, i, node, self.fabric)
        for i, node in enumerate(self.nodes.values(), 1):
            await ensure_peers(self.config, node, i, [j for j in range(1, len(self.nodes) + 1) if j != i])

    # -- pods --------------------------------------------------------------------------------------------------------
    def wire(self, key: str, node: str) -> str:
        """A namespace for the pod, plugged into its node; its address."""
        self.pods[key] = Netns.anonymous(key)
        self.ips[key] = self.run(self.cni.add(self.nodes[node], self.pods[key].fd, key)).ip
        return self.ips[key]

    def ready(self, pod: Pod) -> None:
        """The pod's object is stored, and its address enforced."""
        self.objects.put(pod)
        self.run(self.enforcers[pod.spec.nodeName].ready(pod))  # type: ignore[union-attr, index]

    def unwire(self, key: str, node: str) -> None:
        self.run(self.cni.delete(self.nodes[node], key))
        self.pods.pop(key).close()

    def listen(self, key: str, *ports: int) -> None:
        """TCP by the kernel's backlog, UDP echoed by one thread for all."""
        for port in ports:
            server = self.pods[key].call(socket.create_server, ("0.0.0.0", port), backlog=500)
            udp = self.pods[key].call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind(("0.0.0.0", port))
            udp.setblocking(False)
            self._sockets += [server, udp]
            self._echo.register(udp, selectors.EVENT_READ)
            server.setblocking(False)
            self._echo.register(server, selectors.EVENT_READ)

    def _answer(self) -> None:
        while True:
            for key, _ in self._echo.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._stopped:
                    return
                try:
                    if sock.type == socket.SOCK_STREAM:
                        sock.accept()[0].close()
                    else:
                        sock.sendto(*sock.recvfrom(2048))
                except OSError:
                    continue  # the client has gone

    # -- policies and probes -------------------------------------------------------------------------------------------
    def settle(self) -> None:
        for enforcer in self.enforcers.values():
            self.run(enforcer.synced())

    def put(self, *objects: Any) -> None:
        self.objects.put(*objects)
        self.settle()

    def drop(self, *objects: Any) -> None:
        self.objects.drop(*objects)
        self.settle()

    def place(self, key: str) -> Place:
        return Place(key, self.ips[key], self.pods[key])

    def reach(
        self,
        port: int,
        protocol: str,
        expected: Callable[[str, str], bool] | None = None,
        timeout: float = 0.05,
    ) -> Reach:
        """Every pod to every pod. What is against expectation is asked again with more patience."""
        places = [self.place(key) for key in self.pods]
        first = reach(places, places, port, protocol, timeout=timeout, expected=expected)
        return reach(places, places, port, protocol, timeout=1.5, expected=expected) if first.wrong else first

    def reach_all(self, probes: list[tuple[int, str]], expected: Callable[[str, str, int, str], bool]) -> list[Reach]:
        """The matrices of several ports, at once."""
        with ThreadPoolExecutor(len(probes)) as pool:
            asked = [
                pool.submit(self.reach, port, protocol, functools.partial(_swap, expected, port, protocol))
                for port, protocol in probes
            ]
            return [a.result() for a in asked]

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*self._tasks.values(), return_exceptions=True))
        self.loop.close()
        self._stop.send(b"x")
        self._thread.join()
        self._echo.close()
        for sock in (*self._sockets, self._stop, self._stopped):
            sock.close()
        for netns in (*self.pods.values(), *self.nodes.values(), self.fabric, self.outside):
            netns.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _swap(expected: Callable[[str, str, int, str], bool], port: int, protocol: str, source: str, target: str) -> bool:
    return expected(source, target, port, protocol)
