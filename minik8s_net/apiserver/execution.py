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
from collections import deque
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..api.errors import StatusError, bad_request
from ..runtime.cri import ExecStreams
from ..store.version import Version
from . import connections, descriptors
from .kubelets import Kubelets
from .target import Query

Json = dict[str, Any]
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PENDING = 1 << 20  # bytes that may wait for a command to read its stdin
LOOK = 0.5  # seconds between looks whether a client that is not listened to is still there


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
    """One running command and the client it belongs to. Owns no descriptor for good except stdin's early close.

    A command that does not read its stdin holds up nobody but that stdin: it has a task of its own, and while too much
    waits for it the client is not listened to, but looked at whether it is still there. Once it is not, the descriptors
    are closed, which is how the command learns of it: end of file, a broken pipe, or its terminal's hang-up.
    """

    def __init__(self, socket: WebSocket, streams: ExecStreams, tty: bool) -> None:
        self.socket, self.streams, self.tty = socket, streams, tty
        self._gone = socket.scope["extensions"][connections.GONE]
        self._input: deque[bytes | None] = deque()  # for stdin; None closes it
        self._waiting = 0  # bytes in `_input`
        self._fed, self._room = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Until the command has ended and all it wrote is sent, or the client is gone."""
        reader = asyncio.create_task(self._from_client())
        work = asyncio.create_task(self._to_client())
        feeder = asyncio.create_task(self._to_stdin())
        try:
            await asyncio.wait([reader, work], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        except (WebSocketDisconnect, RuntimeError):
            return  # it left while we were sending
        finally:
            for task in (reader, work, feeder):
                task.cancel()
            await asyncio.gather(reader, work, feeder, return_exceptions=True)

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

    async def _from_client(self) -> None:
        """Until the client is gone."""
        while await self._heed():
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data: bytes = message.get("bytes") or (message.get("text") or "").encode()
            if not data:
                continue
            channel, payload = data[0], data[1:]
            if channel == STDIN:
                self._feed(payload)
            elif channel == RESIZE:
                self._resize(payload)
            elif channel == CLOSE and payload[:1] == bytes([STDIN]):
                self._feed(None)

    async def _heed(self) -> bool:
        """Wait until there is room for what the client says next. False: it is gone."""
        while self._waiting > PENDING:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), LOOK)
            if self._gone():
                return False
        return True

    def _feed(self, payload: bytes | None) -> None:
        if self.streams.stdin is not None and payload != b"":
            self._input.append(payload)
            self._waiting += len(payload or b"")
            self._fed.set()

    async def _to_stdin(self) -> None:
        while (descriptor := self.streams.stdin) is not None:
            while not self._input:
                self._fed.clear()
                await self._fed.wait()
            payload = self._input.popleft()
            over = payload is None
            try:
                await descriptors.write_all(descriptor, payload or b"")
            except OSError:  # the command no longer reads
                over = True
            self._waiting -= len(payload or b"")
            self._room.set()
            if over and not self.tty:
                self.streams.stdin = None
                os.close(descriptor)
        self._input.clear()
        self._waiting = 0

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
