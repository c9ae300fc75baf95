"""healthCheckNodePort: where a load balancer asks each node "have you endpoints of your own for this Service?".

200 with the count, or 503 with none: kube-proxy's answer, served in the node's namespace.
https://kubernetes.io/docs/tasks/access-application-cluster/create-external-load-balancer/#preserving-the-client-source-ip
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterable, Mapping

from ..kernel.netns import Netns
from .model import ServicePort


class HealthServers:
    """One small HTTP server for each health check port of the node."""

    def __init__(self, node: str, netns: Netns) -> None:
        self._node, self._netns = node, netns
        self._servers: dict[int, asyncio.Server] = {}
        self._answers: dict[int, tuple[str, str, int]] = {}  # port -> (namespace, service, local endpoints)

    async def update(
        self, before: Mapping[str, Iterable[ServicePort]], after: Mapping[str, Iterable[ServicePort]]
    ) -> None:
        """Serve what `after` asks for and no longer what only `before` did."""
        gone = {p.health_check_node_port for ports in before.values() for p in ports}
        for ports in after.values():
            for p in ports:
                if port := p.health_check_node_port:
                    gone.discard(port)
                    self._answers[port] = (p.namespace, p.service, len({e.ip for e in p.local if e.ready}))
                    if port not in self._servers:
                        await self._serve(port)
        for port in gone & self._servers.keys():
            self._servers.pop(port).close()
            del self._answers[port]

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        self._answers.clear()

    async def _serve(self, port: int) -> None:
        listener = await self._netns.run(socket.create_server, ("", port))

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(5):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(port))
                    await writer.drain()
            except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
                pass  # a client that asks nothing gets nothing
            finally:
                writer.close()

        self._servers[port] = await asyncio.start_server(client, sock=listener)

    def _answer(self, port: int) -> bytes:
        namespace, service, count = self._answers.get(port, ("", "", 0))
        told = {"service": {"namespace": namespace, "name": service}, "localEndpoints": count}
        body = json.dumps({**told, "serviceProxyHealthy": True}).encode()
        status = "200 OK" if count else "503 Service Unavailable"
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
        head += f"X-Load-Balancing-Endpoint-Weight: {count}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return head.encode() + body
