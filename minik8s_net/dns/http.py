"""What a cluster asks of its DNS server over HTTP, at CoreDNS' ports: /health, /ready and /metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import Dns

PORTS = {"health": 8080, "ready": 8181, "metrics": 9153}
TIMEOUT = 5.0  # seconds for a request to arrive


class Endpoints:
    """Three tiny HTTP servers; each answers one GET per connection."""

    def __init__(self, dns: Dns, ports: dict[str, int] = PORTS) -> None:
        self.dns, self.ports = dns, dict(ports)
        self._servers: list[asyncio.Server] = []

    async def listen(self, host: str) -> None:
        for what, port in self.ports.items():
            self._servers.append(await asyncio.start_server(self._serve, host, port))
            self.ports[what] = self._servers[-1].sockets[0].getsockname()[1]

    def close(self) -> None:
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
            words = head.split(None, 2)
            path = words[1].split(b"?")[0].decode("latin-1") if len(words) > 1 else ""
            code, body = self.answer(path)
            status = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}[code]
            head_out = f"HTTP/1.1 {code} {status}\r\nContent-Type: text/plain; version=0.0.4\r\n"
            writer.write(f"{head_out}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
            await writer.drain()
        except (TimeoutError, EOFError, OSError, asyncio.LimitOverrunError):
            pass  # not a request, or its sender is gone
        finally:
            writer.close()

    def answer(self, path: str) -> tuple[int, str]:
        if path == "/health":
            return 200, "OK"
        if path == "/ready":
            serving = self.dns.ready.is_set() and not self.dns.leaving
            return (200, "OK") if serving else (503, "kubernetes")
        if path == "/metrics":
            return 200, self.metrics()
        return 404, "404 page not found\n"

    def metrics(self) -> str:
        """CoreDNS' names (https://coredns.io/plugins/metrics/), Prometheus' text format."""
        server = self.dns.listener
        server.count()
        requests: dict[str, int] = {}  # every request gets one response
        for (rtype, _), count in server.responses.items():
            requests[rtype] = requests.get(rtype, 0) + count
        lines = ["# TYPE coredns_dns_requests_total counter"]
        lines += [f'coredns_dns_requests_total{{type="{rtype}"}} {n}' for rtype, n in sorted(requests.items())]
        lines += ["# TYPE coredns_dns_responses_total counter"]
        for (rtype, rcode), count in sorted(server.responses.items()):
            lines.append(f'coredns_dns_responses_total{{type="{rtype}",rcode="{rcode}"}} {count}')
        for name, value in (("hits", server.hits), ("misses", server.misses)):
            lines += [f"# TYPE coredns_cache_{name}_total counter", f"coredns_cache_{name}_total {value}"]
        lines += ["# TYPE coredns_cache_entries gauge", f"coredns_cache_entries {server.entries()}"]
        return "\n".join(lines) + "\n"
