"""Connections that never say what they want are closed: half a request line costs its sender a minute, us nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PATIENCE = 60.0  # seconds from the first byte's chance to the end of a request's headers


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a deadline for the headers of the first request (later ones: its keep-alive timeout)."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The deadline begins."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(PATIENCE, transport.close)

    def on_headers_complete(self) -> None:
        """The first request has said what it wants."""
        self._settled()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        self._settled()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """Another protocol takes the connection over."""
        self._settled()
        super().handle_websocket_upgrade()

    def _settled(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
