"""The API server as a part of the controller process: HTTPS on sockets that others opened, and on 127.0.0.1.

In Kubernetes: kube-apiserver's --secure-port. uvicorn serves; its signal handlers stay off: the process is not ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn

from .app import App
from .connections import Protocol, Sockets
from .kubelets import Kubelets
from .pki import Pki, write_private
from .registry import Registry
from .tokens import Tokens

BACKLOG = 1024
GOODBYE = 0.5  # seconds that open requests (watches, mostly) get when we stop


class ApiServer:
    """`start` returns once connections are accepted; `port` is then the port on 127.0.0.1."""

    def __init__(self, registry: Registry, kubelets: Kubelets, pki: Pki, tokens: Tokens) -> None:
        self.app = App(registry, kubelets, tokens)
        self._pki = pki
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self, sockets: Sequence[socket.socket] = ()) -> None:
        """Listen on `sockets` (bound already; ours from now on) and on 127.0.0.1. Raises OSError."""
        local = listen_locally(self._pki.port)
        self.port = local.getsockname()[1]
        config = uvicorn.Config(
            self.app,
            http=Protocol,
            ws=Sockets,
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=90,
            ssl_certfile=str(self._pki.certificate),
            ssl_keyfile=str(self._pki.key),
        )
        self._server = _Server(config)
        for listener in (local, *sockets):  # accepted sockets inherit it; without, each answer waits 40 ms
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._task = asyncio.create_task(self._server.serve(sockets=[local, *sockets]), name="apiserver")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise OSError("the API server ended before it listened")
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        """Close the sockets and end every open request."""
        if self._server and self._task:
            self._server.should_exit = True
            await asyncio.wait([self._task], timeout=GOODBYE)
            self._server.force_exit = True
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the process' signal handlers alone."""
        yield


def listen_locally(remembered: Path) -> socket.socket:
    """A socket on 127.0.0.1, on the port of last time if that is free (kubeconfigs name it), else on a new one."""
    try:
        before = int(remembered.read_text())
    except (FileNotFoundError, ValueError):
        before = 0
    ports = [before, 0] if before else [0]
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            continue
        if (port := listener.getsockname()[1]) != before:  # a full disk is no reason not to start again
            write_private(remembered, str(port).encode())
        return listener
    raise OSError("no free port on 127.0.0.1")
