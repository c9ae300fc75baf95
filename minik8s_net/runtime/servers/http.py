"""HTTP/1.1 over plain sockets, a thread per connection: enough for servers that must start in a few milliseconds.

RFC 9112: keep-alive, request bodies by Content-Length, HEAD, `Expect: 100-continue`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

REASONS = {200: "OK", 301: "Moved Permanently", 400: "Bad Request", 403: "Forbidden", 404: "Not Found"}
REASONS |= {
    405: "Not Allowed",
    411: "Length Required",
    413: "Request Entity Too Large",
    500: "Internal Server Error",
}
REASONS |= {503: "Service Unavailable"}
MAX_BODY = 1 << 20
IDLE = 75.0  # seconds a kept-alive connection may stay silent, as in nginx


class Request:
    """What was asked. Header names are in lower case."""

    def __init__(self, method: str, target: str, version: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.target, self.version, self.headers, self.body = (
            method,
            target,
            version,
            headers,
            body,
        )
        self.client = self.server = ("", 0)
        parts = urlsplit(target if target.startswith("/") else "/" + target.partition("://")[2].partition("/")[2])
        self.path, self.query = unquote(parts.path), parse_qs(parts.query)

    @property
    def keep_alive(self) -> bool:
        wish = self.headers.get("connection", "").lower()
        return wish == "keep-alive" if self.version == "HTTP/1.0" else wish != "close"


class Response:
    def __init__(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8", **headers: str) -> None:
        self.status, self.body = status, body
        self.headers = {"Content-Type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}}


Handler = Callable[[Request], Response]


class BadRequest(Exception):
    """`status` to answer before the connection is closed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def read_request(stream: BinaryIO, connection: socket.socket) -> Request | None:
    """The next request, None at the end of the connection."""
    line = stream.readline(8192)
    while line in (b"\r\n", b"\n"):
        line = stream.readline(8192)
    if not line:
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest(400)
    headers: dict[str, str] = {}
    for _ in range(100):
        line = stream.readline(8192)
        if line in (b"\r\n", b"\n", b""):
            break
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise BadRequest(400)
        headers[name.strip().lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise BadRequest(411)
    length = headers.get("content-length", "0")
    if not length.isdigit():
        raise BadRequest(400)
    if int(length) > MAX_BODY:
        raise BadRequest(413)
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    return Request(parts[0], parts[1], parts[2], headers, stream.read(int(length)))


class HttpServer:
    """`software` is the Server header; `log` gets a line per request, if given."""

    def __init__(self, handler: Handler, software: str, log: bool = True) -> None:
        self._handler, self._software, self._log = handler, software, log

    def listen(self, port: int) -> socket.socket:
        """IPv4 and, where there is some, IPv6. Raises OSError: address in use."""
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", port), family=family, backlog=511, dualstack_ipv6=dual)

    def serve(self, listener: socket.socket) -> None:
        while True:
            connection, peer = listener.accept()
            threading.Thread(target=self._connection, args=(connection, peer), daemon=True).start()

    def _connection(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                connection.settimeout(IDLE)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while self._exchange(connection, stream, (peer[0].removeprefix("::ffff:"), peer[1])):
                    pass
        except OSError:
            pass  # the client has left, or was silent for too long

    def _exchange(self, connection: socket.socket, stream: BinaryIO, peer: tuple[str, int]) -> bool:
        try:
            request = read_request(stream, connection)
            if request is None:
                return False
        except BadRequest as bad:
            connection.sendall(self._render(Response(bad.status, b""), False, True))
            return False
        request.client, request.server = peer, connection.getsockname()[:2]
        try:
            response = self._handler(request)
        except Exception as error:
            print(f"{request.method} {request.target}: {error!r}", file=sys.stderr, flush=True)
            response = Response(500, b"")
        connection.sendall(self._render(response, request.keep_alive, request.method != "HEAD"))
        if self._log:
            self._write_log(request, response)
        return request.keep_alive

    def _render(self, response: Response, keep: bool, with_body: bool) -> bytes:
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        head = f"HTTP/1.1 {response.status} {REASONS.get(response.status, '')}\r\nServer: {self._software}\r\n"
        head += f"Date: {date}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in response.headers.items())
        head += f"Content-Length: {len(response.body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        return head.encode("latin-1") + (response.body if with_body else b"")

    def _write_log(self, request: Request, response: Response) -> None:
        """nginx's combined format."""
        when = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
        referer, agent = request.headers.get("referer", "-"), request.headers.get("user-agent", "-")
        length = 0 if request.method == "HEAD" else len(response.body)
        what = f'"{request.method} {request.target} {request.version}" {response.status} {length}'
        os.write(1, f'{request.client[0]} - - [{when}] {what} "{referer}" "{agent}" "-"\n'.encode())


def leave_on_signals(message: str = "") -> None:
    """TERM, INT and QUIT end the server at once, with exit code 0."""

    def leave(_number: int, _frame: object) -> None:
        if message:
            os.write(2, message.encode() + b"\n")
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, leave)
