"""The `proxy` subresource: one HTTP request relayed into a pod, directly or behind a Service.

https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, unquote

import h11
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..api.errors import StatusError, bad_request
from ..api.kinds import Kind, by_path
from . import bodies
from .kubelets import Kubelets
from .registry import Registry
from .target import Target, not_served

Json = dict[str, Any]
HOP_BY_HOP = frozenset(b"connection keep-alive proxy-authenticate proxy-authorization te trailer".split()) | {
    b"transfer-encoding", b"upgrade", b"host",
}  # fmt: skip
NOT_PASSED_ON = HOP_BY_HOP | {b"authorization", b"content-length"}
PATIENCE = 30.0  # seconds until the pod begins to answer
SENT = "/%:@!$&'()*+,;=~"  # what a path may hold besides letters and digits


async def answer(registry: Registry, kubelets: Kubelets, request: Request, target: Target) -> Response:
    """Raises StatusError: 404, 400, 503."""
    _, name, port = _split(target.kind, target.name)
    if target.kind.plural == "services":
        pod, number = _endpoint(registry, target.namespace, name, port)
    elif target.kind.plural == "pods":
        pod, number = name, _pod_port(registry, target, name, port)
    else:
        raise not_served()
    if not 0 <= number < 65536:
        raise unavailable(f"error trying to reach service: dial tcp: address {number}: invalid port")
    try:
        connection = await kubelets.dial(target.namespace, pod, number)
    except OSError as error:
        raise unavailable(f"error trying to reach service: dial {pod}:{number}: {error}") from None
    prefix = f"/api/v1/namespaces/{target.namespace}/{target.kind.plural}/{target.name}/proxy"
    return await _relay(connection, request, _rest(request, target), prefix, f"{pod}:{number}")


def unavailable(message: str) -> StatusError:
    """503: nobody answers there."""
    return StatusError(503, "ServiceUnavailable", message)


def _rest(request: Request, target: Target) -> str:
    """What follows `/proxy`, escaped as the client sent it: `%3F` begins no query, `%2F` is no slash."""
    raw = quote(request.scope.get("raw_path") or b"", SENT)
    before = request.scope["path"].removesuffix(target.rest).count("/")
    rest = "/".join(["", *raw.split("/")[before + 1 :]])
    if unquote(rest) != target.rest:  # escaped slashes before it: then as Kubernetes does
        rest = quote(target.rest, SENT.replace("%", ""))
    return rest or "/"


def _split(kind: Kind, asked: str) -> tuple[str, str, str]:
    """`name`, `name:port` or `scheme:name:port`. Raises StatusError 400."""
    parts = asked.split(":")
    scheme, name, port = {1: ("", *parts, ""), 2: ("", *parts), 3: (*parts,)}.get(len(parts), ("", "", ""))
    if not name or scheme not in ("", "http", "https"):
        raise bad_request(f'invalid {kind.kind.lower()} request "{asked}"')
    if scheme == "https":
        raise bad_request(f"scheme {scheme!r} is not supported by this server's proxy")
    return scheme, name, port


def _number(port: str) -> int | None:
    return int(port) if port.isascii() and port.isdigit() and len(port) < 10 else None


def _pod_port(registry: Registry, target: Target, name: str, port: str) -> int:
    containers = registry.read(target.kind, target.namespace, name).tree["spec"]["containers"]
    ports = [p for container in containers for p in container.get("ports", [])]
    if (number := _number(port)) is not None:
        return number
    for candidate in ports:
        if port in ("", candidate.get("name")):
            return int(candidate["containerPort"])
    if port:
        raise bad_request(f'no port named "{port}" on pod {name}')
    return 80


def _endpoint(registry: Registry, namespace: str, name: str, port: str) -> tuple[str, int]:
    """A ready pod behind the Service, and its port. Raises StatusError 503."""
    services = by_path("", "v1", "services")
    assert services is not None
    spec = registry.read(services, namespace, name).tree["spec"]
    wanted = _service_port(name, spec.get("ports", []), port)
    found = []
    for piece in registry.store.list("endpointslices.discovery.k8s.io", namespace):
        if piece.labels.get("kubernetes.io/service-name") != name:
            continue
        ports = [p["port"] for p in piece.tree.get("ports") or [] if (p.get("name") or "") == wanted]
        for endpoint in piece.tree.get("endpoints", []):
            pod = (endpoint.get("targetRef") or {}).get("name")
            if pod and ports and (endpoint.get("conditions") or {}).get("ready", True):
                found.append((pod, ports[0]))
    if not found:
        raise unavailable(f'no endpoints available for service "{name}"')
    return random.choice(found)


def _service_port(name: str, ports: list[Json], asked: str) -> str:
    """The name of the Service port that is meant by its number, its name, or by being the only one."""
    number = _number(asked)
    for port in ports:
        if asked == port.get("name", "") or number == port.get("port") or (not asked and len(ports) == 1):
            return str(port.get("name", ""))
    if number is not None:
        raise unavailable(f'no service port {number} found for service "{name}"')
    raise unavailable(f'no endpoints available for service "{name}:{asked}"')


async def _relay(connection: socket.socket, request: Request, path: str, prefix: str, host: str) -> Response:
    body = await bodies.read(request)
    query: bytes = request.scope["query_string"]
    target = path.encode() + (b"?" + query if query else b"")
    headers = [(k, v) for k, v in request.headers.raw if k not in NOT_PASSED_ON]
    headers += [(b"host", host.encode()), (b"connection", b"close"), (b"x-forwarded-uri", prefix.encode())]
    headers.append((b"content-length", str(len(body)).encode()))
    connection.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=connection)
    client = h11.Connection(h11.CLIENT)
    try:
        sent = client.send(h11.Request(method=request.method, target=target, headers=headers)) or b""
        writer.write(sent + ((client.send(h11.Data(data=body)) or b"") if body else b""))
        client.send(h11.EndOfMessage())
        async with asyncio.timeout(PATIENCE):
            await writer.drain()
            head = await _next(client, reader)
            while isinstance(head, h11.InformationalResponse):
                head = await _next(client, reader)
    except (OSError, TimeoutError, h11.ProtocolError) as error:
        writer.close()
        raise unavailable(f"error trying to reach service: {str(error) or 'timed out'}") from None
    assert isinstance(head, h11.Response)
    response = StreamingResponse(_body(client, reader, writer), head.status_code)
    kept = [(k, v) for k, v in head.headers.raw_items() if k.lower() not in HOP_BY_HOP]
    response.raw_headers = [(k.lower(), v) for k, v in kept]
    return response


async def _body(
    client: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[bytes]:
    try:
        while isinstance(event := await _next(client, reader), h11.Data):
            yield bytes(event.data)
    finally:
        writer.close()


async def _next(client: h11.Connection, reader: asyncio.StreamReader) -> Any:
    while (event := client.next_event()) is h11.NEED_DATA:
        client.receive_data(await reader.read(64 * 1024))
    return event
