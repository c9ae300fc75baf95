"""Connections that never say what they want are closed: half a request line costs its sender a minute, us nothing.

And WebSockets whose client has vanished are known as such, also while what it sent last is not yet read.
"""

from __future__ import annotations

import asyncio
import select
from contextlib import suppress
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.events import Pong
from wsproto.utilities import LocalProtocolError

PATIENCE = 60.0  # seconds from the first byte's chance to the end of a request's headers
GONE = "minik8s.gone"  # among a WebSocket's extensions: a function that tells whether its client has left


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


class Sockets(WSProtocol):
    """uvicorn's WebSockets. It stops reading while a message waits for us, and then does not see the client leave."""

    def handle_connect(self, event: Any) -> None:
        """A client asks for a WebSocket."""
        super().handle_connect(event)
        extensions: dict[str, Any] = cast(Any, self.scope["extensions"])
        extensions[GONE] = self._gone

    def keepalive_timeout(self) -> None:
        """No pong came. Where it is we who do not read, that says nothing: ask again."""
        if not self.read_paused or self._gone():
            return super().keepalive_timeout()
        self.pong_timer = self.pending_ping_payload = None
        return self.schedule_ping()

    def _gone(self) -> bool:
        """Its goodbye is behind all that it sent and we do not read. But whoever has gone answers a heartbeat, which
        a client passes over (RFC 6455, 5.5.3), by a reset: it is seen at the next look."""
        if self.transport.is_closing():
            return True
        with suppress(LocalProtocolError):  # it is closing
            self.transport.write(self.conn.send(Pong()))
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), select.POLLRDHUP)
        return bool(poll.poll(0))
