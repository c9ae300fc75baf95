"""One look at a container, or one hook of it: exec, httpGet, tcpSocket, asked from the node as the kubelet does.

The socket is opened inside the node's namespace and driven by the event loop: a slow probe holds nobody up.
https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

from lightkube.models.core_v1 import Container, HTTPGetAction, LifecycleHandler, Probe

from ..kernel.netns import Netns
from ..runtime.client import RuntimeClient
from ..runtime.cri import CriError

Outcome = tuple[bool, str]  # success, and what was seen
MAX_OUTPUT = 10 * 1024
HOOK_TIMEOUT = 3600.0  # seconds


async def dial(node: Netns, address: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection made from inside the node (non-blocking socket). Raises OSError, TimeoutError."""
    sock = await node.run(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


class Looker:
    """Looks at containers of one pod. `address` is the pod's."""

    def __init__(self, runtime: RuntimeClient, node: Netns, address: str) -> None:
        self.runtime, self.node, self.address = runtime, node, address

    async def look(self, probe: Probe, container: Container, container_id: str) -> Outcome:
        """Run the handler of a probe once. Never raises for what the container does."""
        timeout = float(probe.timeoutSeconds or 1)
        if probe.exec:
            return await self._exec(container_id, probe.exec.command or [], timeout)
        if probe.httpGet:
            code, seen = await self._http(probe.httpGet, container, timeout, "kube-probe/1.33")
            return 200 <= code < 400, seen or f"HTTP probe failed with statuscode: {code}"
        if probe.tcpSocket:
            host = probe.tcpSocket.host or self.address
            return await self._tcp(host, resolve_port(probe.tcpSocket.port, container), timeout)
        return False, "this kind of probe is not supported by minik8s-net: use exec, httpGet or tcpSocket"

    async def hook(self, handler: LifecycleHandler, container: Container, container_id: str) -> Outcome:
        """Run a postStart or preStop hook. However long it takes: who calls sets the limit. Any HTTP answer will do."""
        if handler.exec:
            return await self._exec(container_id, handler.exec.command or [], HOOK_TIMEOUT)
        if handler.httpGet:
            code, seen = await self._http(handler.httpGet, container, HOOK_TIMEOUT, "kube-lifecycle/1.33")
            return code > 0, seen
        if handler.sleep:
            await asyncio.sleep(handler.sleep.seconds)
            return True, ""
        return False, "a hook has to be exec, httpGet or sleep: Kubernetes takes tcpSocket too, and never runs it"

    async def _exec(self, container_id: str, command: list[str], timeout: float) -> Outcome:
        try:
            code, out, err = await self.runtime.exec_sync(container_id, command, timeout)
        except CriError as error:
            return False, error.message
        except TimeoutError:
            return False, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s'
        return code == 0, (out + err)[:MAX_OUTPUT].decode(errors="replace")

    async def _tcp(self, host: str, port: int, timeout: float) -> Outcome:
        try:
            (await dial(self.node, host, port, timeout)).close()
        except OSError as error:
            return False, _dial_error(host, port, error)
        return True, ""

    async def _http(self, action: HTTPGetAction, container: Container, timeout: float, agent: str) -> tuple[int, str]:
        """The answer's status code, or 0 and why there was none."""
        host, port = action.host or self.address, resolve_port(action.port, container)
        scheme = (action.scheme or "HTTP").lower()
        path = action.path or "/"
        path = path if path.startswith("/") else "/" + path
        url = f"{scheme}://{host}:{port}{path}"
        headers = {"Host": f"{host}:{port}", "User-Agent": agent, "Accept": "*/*"}
        headers |= {_canonical(h.name): h.value for h in action.httpHeaders or ()}
        lines = [
            f"GET {path} HTTP/1.1",
            *(f"{k}: {v}" for k, v in headers.items()),
            "Connection: close",
            "",
            "",
        ]
        request = "\r\n".join(lines).encode()
        try:
            async with asyncio.timeout(timeout):
                return await self._status_code(host, port, scheme == "https", request, timeout), ""
        except TimeoutError:
            why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        except OSError as error:
            why = _dial_error(host, port, error)
        except (ValueError, IndexError):
            why = "net/http: HTTP/1.x transport connection broken: malformed HTTP response"
        return 0, f'Get "{url}": {why}'

    async def _status_code(self, host: str, port: int, tls: bool, request: bytes, timeout: float) -> int:
        sock = await dial(self.node, host, port, timeout)
        context = ssl._create_unverified_context() if tls else None  # as the kubelet: probes don't verify
        reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host if tls else None)
        try:
            writer.write(request)
            line = await reader.readline()
            if not line:
                raise OSError("EOF")
            return int(line.split()[1])
        finally:
            writer.close()


def _canonical(header: str) -> str:
    """As Go writes it: `host` is `Host`, and replaces ours."""
    return "-".join(word.capitalize() for word in header.split("-"))


def resolve_port(port: int | str | None, container: Container) -> int:
    """A number, or the name of one of the container's ports (0 where there is none such: nobody listens there)."""
    if isinstance(port, int) or port is None:
        return port or 0
    for known in container.ports or ():
        if known.name == port:
            return known.containerPort
    return int(port) if port.isdigit() else 0


def _dial_error(host: str, port: int, error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"dial tcp {host}:{port}: i/o timeout"
    text = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"dial tcp {host}:{port}: connect: {text}" if error.errno else text
