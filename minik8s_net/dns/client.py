"""List and watch the Kubernetes API with the standard library alone: what client-go's reflector is to CoreDNS.

One connection per kind. Each is listed, then watched from the list's resourceVersion; a watch that ends is taken up
where it stopped; 410 (the version is too old) means listing again. While the API is away nothing is forgotten.
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]
log = logging.getLogger(__name__)
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
FIRST_RETRY, LAST_RETRY = 0.05, 5.0  # seconds
TIMEOUT = 10.0  # of a connection or an answer's head, seconds
MAX_LINE = 64 * 1024 * 1024  # of one object in a watch


class ApiError(Exception):
    """The API answered, but not with what was asked for. `code` is the HTTP (or watch Status) code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


@dataclass
class Api:
    """Where the API server is, and who we are: what every pod is told by its environment and service account."""

    host: str
    port: int
    folder: Path = SERVICE_ACCOUNT
    _tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def in_cluster(cls) -> Api:
        """Raises KeyError outside a pod."""
        return cls(os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))

    def tls(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        return self._tls

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Raises OSError (ssl.SSLError among them), TimeoutError."""
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls(), limit=MAX_LINE)
        keep_alive(writer.get_extra_info("socket"))
        try:
            yield Connection(self, reader, writer)
        finally:
            writer.transport.abort()


def keep_alive(connection: socket.socket) -> None:
    """A watch may be silent for long: only probes tell a quiet server from one that is gone (tcp(7))."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


@dataclass
class Connection:
    """HTTP/1.1, one request after the other."""

    api: Api
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def get(self, path: str) -> Json:
        """One JSON object. Raises ApiError, OSError, EOFError."""
        code, pieces = await self._request(path)
        body = b"".join([piece async for piece in pieces])
        answer: Json = json.loads(body) if body else {}
        if code != 200:
            raise ApiError(code, answer.get("message", ""))
        return answer

    async def stream(self, path: str) -> AsyncIterator[Json]:
        """The events of a watch, until the server ends it."""
        code, pieces = await self._request(path)
        rest = b""
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            if code == 200:
                for line in filter(None, lines):
                    yield json.loads(line)
        if code != 200:
            raise ApiError(code, rest.decode(errors="replace")[:200])

    async def _request(self, path: str) -> tuple[int, AsyncIterator[bytes]]:
        token = (self.api.folder / "token").read_text().strip()  # read anew each time: tokens are rotated
        host = f"[{self.api.host}]" if ":" in self.api.host else self.api.host
        head = f"GET {path} HTTP/1.1\r\nHost: {host}:{self.api.port}\r\nAccept: application/json\r\n"
        self.writer.write(f"{head}User-Agent: coredns/minik8s\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        async with asyncio.timeout(TIMEOUT):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        try:
            code = int(lines[0].split()[1])
        except (IndexError, ValueError):
            raise ApiError(0, f"not HTTP: {lines[0][:80]!r}") from None
        return code, self._body(headers)

    async def _body(self, headers: dict[str, str]) -> AsyncIterator[bytes]:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            yield await self.reader.readexactly(int(headers.get("content-length", "0")))
            return
        while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readuntil(b"\r\n")


class Reflector:
    """Keeps a local picture of one kind equal to the API's, and tells `changed(obj, deleted)` of each difference."""

    def __init__(self, api: Api, path: str, changed: Callable[[Json, bool], None], *, query: str = "") -> None:
        """`path`: e.g. /api/v1/services; `query`: e.g. fieldSelector=metadata.name%3Dcoredns"""
        self.api, self.path, self.changed = api, path, changed
        self.query = f"{query}&" if query else ""
        self.synced = asyncio.Event()
        self._known: dict[tuple[str, str], Json] = {}
        self._version = ""

    def objects(self) -> Iterable[Json]:
        return self._known.values()

    async def run(self) -> None:
        """List and watch until cancelled."""
        delay = 0.0
        while True:
            try:
                async with self.api.connect() as connection:
                    if not self._version:
                        await self._list(connection)
                    delay = 0.0
                    await self._watch(connection)
            except (OSError, EOFError, ApiError, ValueError, asyncio.LimitOverrunError) as error:
                if isinstance(error, ApiError) and error.code == 410:
                    self._version = ""
                    continue
                log.log(logging.ERROR if delay == 0 else logging.DEBUG, "%s: %s", self.path, error or type(error))
                delay = min(max(delay * 2, FIRST_RETRY), LAST_RETRY)
            await asyncio.sleep(delay)

    async def _list(self, connection: Connection) -> None:
        answer = await connection.get(f"{self.path}?{self.query}resourceVersion=0")
        before, self._known = self._known, {}
        for obj in answer.get("items") or ():
            key = _key(obj)
            self._known[key] = obj
            old = before.pop(key, None)
            if old is None or _version(old) != _version(obj):
                self.changed(obj, False)
        for gone in before.values():
            self.changed(gone, True)
        self._version = answer["metadata"]["resourceVersion"]
        self.synced.set()

    async def _watch(self, connection: Connection) -> None:
        path = f"{self.path}?{self.query}watch=true&allowWatchBookmarks=true&resourceVersion={self._version}"
        async for event in connection.stream(path):
            obj = event["object"]
            if event["type"] == "ERROR":
                raise ApiError(obj.get("code", 0), obj.get("message", ""))
            self._version = _version(obj)
            if event["type"] == "BOOKMARK":
                continue
            deleted = event["type"] == "DELETED"
            if deleted:
                self._known.pop(_key(obj), None)
            else:
                self._known[_key(obj)] = obj
            self.changed(obj, deleted)


def _key(obj: Json) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _version(obj: Json) -> str:
    return str(obj["metadata"]["resourceVersion"])
