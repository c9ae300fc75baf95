"""Running a command in a container: Kubernetes' exec over WebSocket (subprotocol v5.channel.k8s.io).

Channels: 0 stdin, 1 stdout, 2 stderr, 3 the final Status (with the exit code), 4 resize, 255 close of a channel.
https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import ssl
import sys
import termios
import tty as ttymod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    RejectData,
    Request,
)

from ..api.errors import StatusError
from ..drawn import Drawn
from .http import Api, Unreachable, _refusal

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
LATER = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)
MOST_UNSENT = 1 << 20  # bytes; more is not read from our own stdin


@dataclass(frozen=True)
class ExecResult(Drawn):
    """What a command printed and how it ended. Prints as its output; true where it succeeded."""

    exit_code: int
    stdout: str
    stderr: str

    def __bool__(self) -> bool:
        return self.exit_code == 0

    def __str__(self) -> str:
        return self.stdout + self.stderr


class ExecSession:
    """One exec. Iterating yields (channel, bytes) until the command ended; then `exit_code` is known.

    What is written waits in `unsent` and goes out while we read: a command that answers before it has read all of its
    stdin, and we who write all of it before we read an answer, would wait for each other for ever.
    """

    def __init__(self, api: Api, namespace: str, pod: str, container: str | None, command: list[str], **flags: bool):
        query: dict[str, Any] = {"command": command, "container": container, "stdout": "true", **{
            name: "true" for name in ("stdin", "tty") if flags.get(name)}}  # fmt: skip
        if not flags.get("tty"):
            query["stderr"] = "true"
        present = {k: v for k, v in query.items() if v is not None}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec?" + urlencode(present, doseq=True)
        self.exit_code = 0
        self.message = ""
        self._ws = WSConnection(ConnectionType.CLIENT)
        self._rejection: tuple[int, bytes] | None = None
        self._open = False
        self._message = bytearray()  # as far as it has come
        self._early: list[tuple[int, bytes]] = []  # what came together with the server's consent
        self.unsent, self._flushing = bytearray(), False
        self.socket = _dial(api)
        self.socket.setblocking(False)
        headers = [(b"Authorization", f"Bearer {api.connection.token}".encode())] if api.connection.token else []
        to = api.connection
        self._send(
            Request(
                host=f"{to.host}:{to.port}",
                target=to.prefix + path,
                subprotocols=["v5.channel.k8s.io", "v4.channel.k8s.io"],
                extra_headers=headers,
            )
        )

    def write(self, data: bytes) -> None:
        """Send bytes to the command's stdin."""
        self._send(BytesMessage(bytes([STDIN]) + data))

    def close_stdin(self) -> None:
        """Say that nothing more will be written."""
        self._send(BytesMessage(bytes([CLOSE, STDIN])))

    def resize(self, columns: int, rows: int) -> None:
        """Tell the remote terminal its new size, in characters."""
        self._send(BytesMessage(bytes([RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode()))

    def wait_open(self) -> None:
        """Until the server accepted: stdin may be written from then on."""
        while not self._open:
            self._early += self.receive()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        try:
            while True:
                yield from self.receive()
        except EOFError:
            return
        finally:
            self.close()

    def flush(self) -> None:
        """Send of `unsent` what can be sent at once."""
        if self._flushing:  # a signal's handler (a new size) came in between: what it adds is sent by the loop below
            return
        self._flushing = True
        try:
            with contextlib.suppress(*LATER):
                while self.unsent:
                    del self.unsent[: self.socket.send(self.unsent[:65536])]
        finally:
            self._flushing = False

    def pending(self) -> bool:
        """Whether `receive` has something although the socket has not."""
        return bool(self._early or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()))

    def _read(self) -> bytes:
        while True:
            self.flush()
            try:
                return self.socket.recv(65536)
            except LATER:
                select.select([self.socket], [self.socket] if self.unsent else [], [])

    def receive(self) -> Iterator[tuple[int, bytes]]:
        """What one read of the socket brought. Raises EOFError at the end, StatusError if exec was refused."""
        if self._early:
            yield from self._early
            self._early.clear()
            return
        data = self._read()
        self._ws.receive_data(data or None)
        for event in self._ws.events():
            if isinstance(event, AcceptConnection):
                self._open = True
            elif isinstance(event, BytesMessage):
                self._message += event.data
                if event.message_finished and self._message:
                    channel, payload = self._message[0], bytes(self._message[1:])
                    self._message.clear()
                    if channel == STATUS:
                        self._ended(json.loads(payload))
                    elif payload:
                        yield channel, payload
            elif isinstance(event, Ping):
                self._send(event.response())
            elif isinstance(event, RejectConnection):
                self._rejection = (event.status_code, b"")
                if not event.has_body:
                    raise _refusal(event.status_code, "")
            elif isinstance(event, RejectData) and self._rejection:
                self._rejection = (self._rejection[0], self._rejection[1] + event.data)
                if event.body_finished:
                    self._refused()
            elif isinstance(event, CloseConnection):
                raise EOFError
        if not data:
            raise EOFError

    def close(self) -> None:
        """End the session; what was not read is lost."""
        self.socket.close()

    def _send(self, event: Any) -> None:
        self.unsent += self._ws.send(event)
        self.flush()

    def _ended(self, status: dict[str, Any]) -> None:
        if status.get("status") == "Success":
            return
        self.message = status.get("message", "")
        causes = (status.get("details") or {}).get("causes") or []
        self.exit_code = next((int(c["message"]) for c in causes if c.get("reason") == "ExitCode"), 1)

    def _refused(self) -> None:
        assert self._rejection
        code, body = self._rejection
        try:
            answer = json.loads(body)
        except ValueError:
            answer = body.decode(errors="replace")
        raise _refusal(code, answer)


def run(
    api: Api, namespace: str, pod: str, command: list[str], container: str | None = None, stdin: bytes | None = None
) -> ExecResult:
    """Run to the end and collect. A command that could not start is an ExecResult with its message in stderr."""
    session = ExecSession(api, namespace, pod, container, command, stdin=stdin is not None)
    if stdin is not None:
        session.wait_open()
        for start in range(0, len(stdin), 32768):
            session.write(stdin[start : start + 32768])
        session.close_stdin()
    out: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
    for channel, data in session:
        out.setdefault(channel, []).append(data)
    stdout, stderr = (b"".join(out[c]).decode(errors="replace") for c in (STDOUT, STDERR))
    if session.exit_code and not (stdout or stderr):
        stderr = session.message
    return ExecResult(session.exit_code, stdout, stderr)


def interact(
    api: Api, namespace: str, pod: str, command: list[str], container: str | None, *, stdin: bool, tty: bool
) -> int:
    """Join our own terminal to the command, as `kubectl exec -it` does. Returns the exit code."""
    session = ExecSession(api, namespace, pod, container, command, stdin=stdin, tty=tty)
    session.wait_open()
    outputs: dict[int, Callable[[bytes], Any]] = {
        STDOUT: lambda data: os.write(1, data),
        STDERR: lambda data: os.write(2, data),
    }
    with _raw_terminal(session) if tty and sys.stdin.isatty() else contextlib.nullcontext():
        try:
            while True:
                pending = session.pending()
                watched: list[Any] = [session.socket, *([0] if stdin and len(session.unsent) < MOST_UNSENT else [])]
                sending = [session.socket] if session.unsent else []
                ready, writable, _ = select.select(watched, sending, [], 0 if pending else None)
                if writable:
                    session.flush()
                if 0 in ready:
                    if data := os.read(0, 32768):
                        session.write(data)
                    else:
                        session.close_stdin()
                        stdin = False
                if pending or session.socket in ready:
                    for channel, payload in session.receive():
                        outputs[channel](payload)
        except EOFError:
            pass
        finally:
            session.close()
    if session.exit_code and session.message and "exit code" not in session.message:
        print(f"error: {session.message}", file=sys.stderr)
    return session.exit_code


@contextlib.contextmanager
def _raw_terminal(session: ExecSession) -> Iterator[None]:
    saved = termios.tcgetattr(0)

    def resized(*_: Any) -> None:
        size = shutil.get_terminal_size()
        session.resize(size.columns, size.lines)

    previous = signal.signal(signal.SIGWINCH, resized)
    try:
        ttymod.setraw(0)
        resized()
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)
        signal.signal(signal.SIGWINCH, previous)


def _dial(api: Api) -> socket.socket:
    to = api.connection
    try:
        plain = socket.create_connection((to.host, to.port), timeout=10)
        plain.settimeout(None)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return to.tls.wrap_socket(plain, server_hostname=to.host) if to.tls else plain
    except OSError as error:
        raise Unreachable(f"the API server at {to.host}:{to.port} does not answer ({error})") from error


__all__ = ["ExecResult", "ExecSession", "StatusError", "interact", "run"]
