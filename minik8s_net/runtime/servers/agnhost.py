"""agnhost, Kubernetes' own test image: netexec, serve-hostname, porter, connect, pause.

https://github.com/kubernetes/kubernetes/blob/master/test/images/agnhost/README.md
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable

from .http import HttpServer, Request, Response, leave_on_signals

VERSION = "agnhost"
_NEEDED_LATER = shutil  # argparse imports it lazily, when our Python is out of reach


def main() -> int:
    """argv is `agnhost SUBCOMMAND flags…`, as in the image's ENTRYPOINT."""
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("pause", [])
    commands: dict[str, Callable[[list[str]], int]] = {
        "netexec": netexec,
        "serve-hostname": serve_hostname,
        "porter": porter,
        "connect": connect,
        "pause": pause,
    }
    if name not in commands:
        print(f'Error: unknown command "{name}" for "app"', file=sys.stderr)
        return 1
    return commands[name](arguments)


def pause(_arguments: list[str] | None = None) -> int:
    leave_on_signals()
    while True:
        signal.pause()


def _flags(command: str, **defaults: str | int | bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"agnhost {command}", allow_abbrev=False)
    for name, default in defaults.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(default, bool):
            yes: Callable[[str], bool] = lambda text: text.lower() not in ("false", "0")  # noqa: E731
            parser.add_argument(flag, nargs="?", const=True, default=default, type=yes)
        else:
            parser.add_argument(flag, type=type(default), default=default)
    return parser


def netexec(arguments: list[str]) -> int:
    """HTTP, UDP and (for /dial) a client. Default ports 8080 and 8081."""
    flags = _flags("netexec", http_port=8080, udp_port=8081, sctp_port=-1).parse_args(arguments)
    leave_on_signals()
    try:
        listener = (server := HttpServer(_netexec, VERSION, log=False)).listen(flags.http_port)
        if flags.udp_port > 0:
            udp = _udp_socket(flags.udp_port)
            threading.Thread(target=_serve_udp, args=(udp,), daemon=True).start()
    except OSError as error:
        print(f"listen: {error}", file=sys.stderr)
        return 1
    print(f"Started HTTP server on port {flags.http_port}", flush=True)
    server.serve(listener)
    return 0


def _udp_socket(port: int) -> socket.socket:
    """Answers leave from the address that was asked: one unconnected IPv4 socket, the kernel's route decides."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", port))
    return udp


def _serve_udp(udp: socket.socket) -> None:
    while True:
        data, peer = udp.recvfrom(2048)
        udp.sendto(_udp_answer(data.decode("utf-8", "replace").strip(), peer), peer)


def _udp_answer(text: str, peer: tuple[str, int]) -> bytes:
    command, _, rest = text.partition(" ")
    if command.lower() == "hostname":
        return socket.gethostname().encode()
    if command.lower() == "echo":
        return rest.encode()
    if command.lower() == "clientip":
        return f"{peer[0]}:{peer[1]}".encode()
    return b""


def _netexec(request: Request) -> Response:
    def value(name: str, default: str = "") -> str:
        return request.query.get(name, [default])[0]

    match request.path.lower():
        case "/hostname":
            return _text(socket.gethostname())
        case "/clientip":
            return _text(f"{request.client[0]}:{request.client[1]}")
        case "/echo":
            return _text(value("msg"), int(value("code", "200")))
        case "/header":
            return _text(request.headers.get(value("key").lower(), ""))
        case "/healthz" | "/readyz":
            return _text("ok")
        case "/exit":
            threading.Timer(0.05, os._exit, (int(value("code", "0")),)).start()
            return _text("")
        case "/shell":
            return _shell(value("cmd") or value("shellCommand"))
        case "/dial":
            return _dial(value)
        case "/":
            return _text("NOW: " + request.client[0])
    return _text("404 page not found\n", 404)


def _text(text: str, status: int = 200) -> Response:
    return Response(status, text.encode())


def _shell(command: str) -> Response:
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    answer = {"output": (done.stdout + done.stderr).decode("utf-8", "replace")}
    if done.returncode:
        answer["error"] = f"exit status {done.returncode}"
    return _text(json.dumps(answer))


def _dial(value: Callable[..., str]) -> Response:
    """Ask another agnhost `tries` times from here: {"responses": […], "errors": […]}."""
    host, port, protocol = value("host"), int(value("port", "8080")), value("protocol", "http")
    answers: dict[str, list[str]] = {"responses": []}
    for _ in range(int(value("tries", "1"))):
        try:
            ask = _ask_udp if protocol == "udp" else _ask_http
            answers["responses"].append(ask(host, port, value("request", "hostname")))
        except OSError as error:
            answers.setdefault("errors", []).append(str(error))
    return _text(json.dumps(answers))


def _ask_udp(host: str, port: int, what: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.connect((host, port))
        udp.send(urllib.parse.unquote(what).encode())
        return udp.recv(2048).decode()


def _ask_http(host: str, port: int, what: str) -> str:
    with socket.create_connection((host, port), timeout=5) as tcp:
        tcp.sendall(f"GET /{what.lstrip('/')} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        with tcp.makefile("rb") as stream:
            return stream.read().partition(b"\r\n\r\n")[2].decode()


def serve_hostname(arguments: list[str]) -> int:
    """The pod's name over HTTP, TCP and UDP on port 9376."""
    names = {"http": True, "tcp": False, "udp": False, "close": False}
    flags = _flags("serve-hostname", port=9376, **names).parse_args(arguments)
    leave_on_signals()
    name = socket.gethostname().encode()
    if flags.udp:
        udp = _udp_socket(flags.port)
        while True:
            _, peer = udp.recvfrom(2048)
            udp.sendto(name, peer)
    if not flags.tcp:
        server = HttpServer(lambda _request: Response(200, name), VERSION, log=False)
        server.serve(server.listen(flags.port))
    with socket.create_server(("", flags.port)) as listener:
        while True:
            with listener.accept()[0] as connection:
                connection.sendall(name)


def porter(_arguments: list[str]) -> int:
    """Answers on each port P of SERVE_PORT_P with the variable's value."""
    leave_on_signals()
    for name, text in os.environ.items():
        if name.startswith("SERVE_PORT_"):
            reply = Response(200, text.encode())
            server = HttpServer(lambda _request, reply=reply: reply, VERSION, log=False)  # type: ignore[misc]
            listener = server.listen(int(name.removeprefix("SERVE_PORT_")))
            threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
    return pause()


def connect(arguments: list[str]) -> int:
    """Can HOST:PORT be reached? Exit code 0, or 1 with TIMEOUT, REFUSED, DNS or OTHER on stderr."""
    parser = _flags("connect", timeout="0s", protocol="tcp", udp_data="")
    parser.add_argument("target")
    flags = parser.parse_args(arguments)
    host, _, port = flags.target.rpartition(":")
    units = {"ms": 0.001, "s": 1.0, "m": 60.0}
    unit = next(u for u in units if flags.timeout.endswith(u))
    wait = float(flags.timeout.removesuffix(unit)) * units[unit]
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=wait or None).close()
    except TimeoutError:
        word = "TIMEOUT"
    except ConnectionRefusedError:
        word = "REFUSED"
    except socket.gaierror as error:
        word = f"DNS: {error.strerror}"
    except OSError as error:
        word = f"OTHER: {error.strerror}"
    else:
        return 0
    print(word, file=sys.stderr)
    return 1
