"""exec over WebSocket, as kubectl (v5.channel.k8s.io) and the Python client (v4.channel.k8s.io) speak it.

Every message begins with its channel: 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 the terminal's new size
(JSON), and in v5 255 says that a channel is closed.
https://kubernetes.io/blog/2024/08/20/websockets-transition/
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..api.errors import StatusError, bad_request
from ..runtime.cri import ExecStreams
from ..store.version import Version
from . import descriptors
from .kubelets import Kubelets
from .target import Query

Json = dict[str, Any]
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


async def run(socket: WebSocket, kubelets: Kubelets, pod: Version, container: str, query: Query) -> None:
    """Raises StatusError as long as nothing has been accepted."""
    protocol = next((p for p in PROTOCOLS if p in socket.scope.get("subprotocols", [])), None)
    command = query.all("command")
    if protocol is None:
        raise bad_request(f"unable to upgrade: this server speaks the WebSocket protocols {', '.join(PROTOCOLS)}")
    if not command:
        raise bad_request("you must specify at least one command for the container")
    tty, stdin = query.flag("tty"), query.flag("stdin")
    try:
        streams = await kubelets.exec(pod.namespace, pod.name, container, command, tty=tty, stdin=stdin)
    except StatusError as error:  # as a real server: accepted first, then told on the Status channel
        await socket.accept(subprotocol=protocol)
        await _finish(socket, error.to_status())
        return
    try:
        await socket.accept(subprotocol=protocol)
        await Session(socket, streams, tty).run()
    finally:
        for descriptor in {streams.stdin, streams.stdout, streams.stderr, streams.status}:
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)


class Session:
    """One running command and the client it belongs to. Owns no descriptor for good except stdin's early close."""

    def __init__(self, socket: WebSocket, streams: ExecStreams, tty: bool) -> None:
        self.socket, self.streams, self.tty = socket, streams, tty

    async def run(self) -> None:
        """Until the command has ended and all it wrote is sent, or the client is gone."""
        reader = asyncio.create_task(self._from_client())
        work = asyncio.create_task(self._to_client())
        try:
            await asyncio.wait([reader, work], return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and reader.exception() is None and not reader.result():
                return  # the client left
            await work
        except (WebSocketDisconnect, RuntimeError):
            return  # it left while we were sending
        finally:
            for task in (reader, work):
                task.cancel()
            await asyncio.gather(reader, work, return_exceptions=True)

    async def _to_client(self) -> None:
        await self.socket.send_bytes(bytes([STDOUT]))
        status = asyncio.create_task(descriptors.read_all(self.streams.status))
        outputs = [self._copy(self.streams.stdout, STDOUT, status)]
        if self.streams.stderr is not None:
            outputs.append(self._copy(self.streams.stderr, STDERR, status))
        try:
            await asyncio.gather(*outputs)
            code = (await status).decode().strip()
        finally:
            status.cancel()
        await _finish(self.socket, exit_status(int(code or 255)))

    async def _copy(self, descriptor: int, channel: int, ended: asyncio.Task[bytes]) -> None:
        """Until end of file; a child that inherited the descriptor does not keep the exec alive (docker's way)."""
        async for chunk in descriptors.chunks(descriptor, until=ended):
            await self.socket.send_bytes(bytes([channel]) + chunk)

    async def _from_client(self) -> bool:
        """True when nothing more can come but the client is still there."""
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return False
            data: bytes = message.get("bytes") or (message.get("text") or "").encode()
            if not data:
                continue
            channel, payload = data[0], data[1:]
            if channel == STDIN:
                await self._feed(payload)
            elif channel == RESIZE:
                self._resize(payload)
            elif channel == CLOSE and payload[:1] == bytes([STDIN]):
                self._close_stdin()

    async def _feed(self, payload: bytes) -> None:
        if self.streams.stdin is not None and payload:
            try:
                await descriptors.write_all(self.streams.stdin, payload)
            except OSError:  # the command no longer reads
                self._close_stdin()

    def _close_stdin(self) -> None:
        if self.streams.stdin is not None and not self.tty:
            os.close(self.streams.stdin)
            self.streams.stdin = None

    def _resize(self, payload: bytes) -> None:
        try:
            size = msgspec.json.decode(payload)
            packed = struct.pack("HHHH", size["Height"], size["Width"], 0, 0)
        except (msgspec.MsgspecError, KeyError, TypeError, struct.error):
            return
        if self.tty:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.streams.stdout, termios.TIOCSWINSZ, packed)


async def _finish(socket: WebSocket, status: Json) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_bytes(bytes([STATUS]) + msgspec.json.encode(status))
        await socket.close(1000)


def exit_status(code: int) -> Json:
    """How exec tells an exit code."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    details = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
    message = f"command terminated with non-zero exit code: exit status {code}"
    failed = {"metadata": {}, "status": "Failure", "message": message, "reason": "NonZeroExitCode"}
    return {**failed, "details": details}
