"""A real API server on loopback, on an event loop of its own; a plain HTTP client; kubelets that run processes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import pty
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lightkube.resources.core_v1 import Namespace

from minik8s_net.api.errors import not_found
from minik8s_net.apiserver.kubeconfig import kubeconfig, write_kubeconfig
from minik8s_net.apiserver.kubelets import LogOptions
from minik8s_net.apiserver.pki import ensure_pki
from minik8s_net.apiserver.registry import Registry
from minik8s_net.apiserver.server import ApiServer
from minik8s_net.apiserver.tokens import Tokens
from minik8s_net.config import ClusterConfig
from minik8s_net.runtime.cri import ExecStreams
from minik8s_net.store.store import Store

Json = dict[str, Any]
T = TypeVar("T")
JSON = "application/json"


@dataclass
class LocalKubelets:
    """Every pod is this machine: exec runs a process, `ports` says where a pod's port is, `said` what it logged."""

    said: dict[str, list[bytes]] = field(default_factory=dict)
    ports: dict[int, int] = field(default_factory=dict)
    asked: list[LogOptions] = field(default_factory=list)
    following: int = 0  # logs that are being told
    pids: list[int] = field(default_factory=list)  # of the commands started by exec

    async def logs(self, namespace: str, pod: str, options: LogOptions) -> AsyncIterator[bytes]:
        self.asked.append(options)
        if pod not in self.said:
            raise not_found("pods", pod)
        sent, self.following = 0, self.following + 1
        try:
            for _ in range(1000):
                for line in self.said[pod][sent:]:
                    yield line
                    sent += 1
                if not options.follow:
                    return
                await asyncio.sleep(0.01)
        finally:
            self.following -= 1

    async def exec(
        self, namespace: str, pod: str, container: str | None, command: list[str], *, tty: bool, stdin: bool
    ) -> ExecStreams:
        ended, status = os.pipe()
        if tty:
            master, slave = pty.openpty()
            process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
            os.close(slave)
            streams = ExecStreams(process.pid, os.dup(master), master, None, ended)
        else:
            (read0, write0), (read1, write1), (read2, write2) = os.pipe(), os.pipe(), os.pipe()
            process = subprocess.Popen(command, stdin=read0, stdout=write1, stderr=write2)
            for descriptor in (read0, write1, write2):
                os.close(descriptor)
            if not stdin:
                os.close(write0)
            streams = ExecStreams(process.pid, write0 if stdin else None, read1, read2, ended)

        self.pids.append(process.pid)

        def reap() -> None:
            code = process.wait()
            with suppress(BrokenPipeError):  # nobody waits for it any more
                os.write(status, str(code if code >= 0 else 128 - code).encode())
            os.close(status)

        threading.Thread(target=reap, daemon=True).start()
        return streams

    async def dial(self, namespace: str, pod: str, port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[port]), timeout=5)


@dataclass(frozen=True)
class Answer:
    code: int
    body: bytes
    headers: http.client.HTTPMessage

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def revision(self) -> str:
        return str(self.json["metadata"]["resourceVersion"])

    @property
    def warnings(self) -> list[str]:
        return self.headers.get_all("warning") or []


class Api:
    """One connection, kept; bodies are trees (JSON), text, bytes or pieces."""

    def __init__(self, port: int, ca: Path, token: str) -> None:
        self.token = token
        context = ssl.create_default_context(cafile=str(ca))
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)

    def __call__(self, method: str, path: str, body: Any = None, media: str = JSON, **more: str) -> Answer:
        with self.open(method, path, body, media, **more) as response:
            return Answer(response.status, response.read(), response.headers)

    @contextmanager
    def open(
        self, method: str, path: str, body: Any = None, media: str = JSON, **more: str
    ) -> Iterator[http.client.HTTPResponse]:
        headers = {"authorization": f"Bearer {self.token}", **{k.replace("_", "-"): v for k, v in more.items()}}
        data = body if isinstance(body, bytes | str | Iterator | None) else json.dumps(body)
        if data is not None:
            headers["content-type"] = media
        self._connection.request(method, path, data, headers)
        with self._connection.getresponse() as response:
            yield response

    def get(self, path: str, **more: str) -> Any:
        answer = self("GET", path, **more)
        assert answer.code == 200, answer.body
        return answer.json

    def create(self, path: str, body: Json) -> Any:
        answer = self("POST", path, body)
        assert answer.code == 201, answer.body
        return answer.json

    def close(self) -> None:
        self._connection.close()


@dataclass
class Serving:
    """`call` runs a function on the server's own thread, where registry and store may be touched."""

    loop: asyncio.AbstractEventLoop
    registry: Registry
    server: ApiServer
    kubelets: LocalKubelets
    tokens: Tokens
    folder: Path

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def call(self, function: Callable[[], T]) -> T:
        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(20)

    @contextmanager
    def api(self, token: str | None = None) -> Iterator[Api]:
        token = self.tokens.admin if token is None else token
        api = Api(self.server.port, self.folder / "pki" / "ca.crt", token)
        try:
            yield api
        finally:
            api.close()


@contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    """A server over the store in `folder`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    config = ClusterConfig()
    pki = ensure_pki(folder / "pki", config)
    kubelets = LocalKubelets()

    async def start() -> Serving:
        registry = Registry(Store(folder / "store.db"), config)
        tokens = Tokens(pki, registry.peek)
        for name in ("default", "kube-system"):
            if registry.find(Namespace, name) is None:
                registry.create(Namespace, {"metadata": {"name": name}})
        server = ApiServer(registry, kubelets, pki, tokens)
        await server.start()
        return Serving(loop, registry, server, kubelets, tokens, folder)

    async def stop() -> None:
        await running.server.stop()
        running.registry.store.close()

    running = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    write_kubeconfig(running.kubeconfig, kubeconfig("test", running.server.port, pki))
    try:
        yield running
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
