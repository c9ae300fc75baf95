"""Into a pod: exec over WebSocket, logs, proxy. The kubelet behind them runs processes of this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import websocket

from .serving import Api, Json, Serving

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


@pytest.fixture
def pod(api: Api, namespace: str) -> str:
    """The path of a pod on a node."""
    spec = {"nodeName": "node-1", "containers": [{"name": "c", "image": "busybox"}]}
    api.create(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": "p"}, "spec": spec})
    return f"/api/v1/namespaces/{namespace}/pods/p"


def connect(cluster: Serving, pod: str, *command: str, protocol: str = V5, **flags: bool) -> websocket.WebSocket:
    query = urlencode([("command", word) for word in command] + [(name, "true") for name in flags])
    return websocket.create_connection(
        f"wss://127.0.0.1:{cluster.server.port}{pod}/exec?{query}",
        sslopt={"ca_certs": str(cluster.folder / "pki" / "ca.crt")},
        header=[f"Authorization: Bearer {cluster.tokens.admin}"],
        subprotocols=[protocol],
        timeout=10,
    )


def finish(socket: websocket.WebSocket) -> tuple[dict[int, bytes], Json]:
    """(output by channel, the final Status)."""
    output: dict[int, bytes] = {}
    with closing(socket):
        while data := socket.recv():
            assert isinstance(data, bytes)
            if data[0] == 3:
                return output, json.loads(data[1:])
            output[data[0]] = output.get(data[0], b"") + data[1:]
    raise AssertionError("no Status")


@pytest.mark.parametrize("protocol", [V5, V4])
def test_exec_tells_outputs_apart_and_the_exit_code(cluster: Serving, pod: str, protocol: str) -> None:
    script = "echo out; echo err >&2; exit 7"
    output, status = finish(connect(cluster, pod, "sh", "-c", script, protocol=protocol, stdout=True, stderr=True))
    assert (output[1], output[2]) == (b"out\n", b"err\n")
    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    assert finish(connect(cluster, pod, "true", protocol=protocol, stdout=True))[1]["status"] == "Success"


def test_exec_feeds_stdin_until_it_is_closed(cluster: Serving, pod: str) -> None:
    socket = connect(cluster, pod, "sha1sum", stdin=True, stdout=True)
    for _ in range(100):
        socket.send_binary(b"\x00" + b"x" * 10_000)
    socket.send_binary(b"\xff\x00")
    output, status = finish(socket)
    assert output[1].split()[0].decode() == hashlib.sha1(b"x" * 1_000_000).hexdigest()
    assert status["status"] == "Success"


def test_a_command_that_reads_late_gets_all_of_its_stdin(cluster: Serving, pod: str) -> None:
    socket = connect(cluster, pod, "sh", "-c", "echo up; sleep 0.7; sha1sum", stdin=True, stdout=True)
    for _ in range(400):
        socket.send_binary(b"\x00" + b"x" * 10_000)
    socket.send_binary(b"\xff\x00")
    assert finish(socket)[0][1].split()[1].decode() == hashlib.sha1(b"x" * 4_000_000).hexdigest()


def test_clients_that_vanish_while_the_command_does_not_read_leave_nothing_open(cluster: Serving, pod: str) -> None:
    descriptors = Path("/proc/self/fd")  # the server's too: it runs in this process
    before, started = len(list(descriptors.iterdir())), len(cluster.kubelets.pids)
    sockets = [connect(cluster, pod, "sleep", "60", stdin=True, stdout=True) for _ in range(6)]
    for socket in sockets:
        assert socket.recv() == b"\x01"  # with nothing unread its kernel says goodbye behind all that was sent
        socket.settimeout(0.3)
        with pytest.raises((TimeoutError, websocket.WebSocketTimeoutException)):
            while True:  # until nothing more goes into the pipes, buffers and queues in between
                socket.send_binary(b"\x00" + b"x" * 100_000)
    for socket in sockets:
        socket.shutdown()  # as the kernel does for a killed client: no closing handshake
    pids = cluster.kubelets.pids[started:]
    try:
        waited = time.monotonic() + 5
        while (left := len(list(descriptors.iterdir())) - before) > len(pids) and time.monotonic() < waited:
            time.sleep(0.05)
        assert left <= len(pids)  # of each command the stand-in for a kubelet has one end of the status pipe
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def test_exec_sends_all_of_a_large_output(cluster: Serving, pod: str) -> None:
    output, _ = finish(connect(cluster, pod, "head", "-c", "20000000", "/dev/zero", stdout=True))
    assert len(output[1]) == 20_000_000


def test_exec_with_a_terminal_is_resized(cluster: Serving, pod: str) -> None:
    socket = connect(cluster, pod, "sh", "-c", "read x; stty size; tty", stdin=True, stdout=True, tty=True)
    socket.send_binary(b"\x04" + json.dumps({"Width": 101, "Height": 33}).encode())
    socket.send_binary(b"\x00go\n")
    output, status = finish(socket)
    assert b"33 101\r\n/dev/pts/" in output[1] and status["status"] == "Success"


def test_a_background_child_does_not_hold_the_exec(cluster: Serving, pod: str) -> None:
    begin = time.monotonic()
    output, _ = finish(connect(cluster, pod, "sh", "-c", "sleep 3 & echo done", stdout=True))
    assert output[1] == b"done\n" and time.monotonic() - begin < 2


def test_a_silent_command_is_waited_for(cluster: Serving, pod: str) -> None:
    output, status = finish(connect(cluster, pod, "sh", "-c", "sleep 0.4; echo late", stdout=True))
    assert output[1] == b"late\n" and status["status"] == "Success"


def test_thirty_execs_at_once(cluster: Serving, pod: str) -> None:
    def one(number: int) -> bytes:
        return finish(connect(cluster, pod, "echo", str(number), stdout=True))[0][1]

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(one, range(30))) == [f"{number}\n".encode() for number in range(30)]


@pytest.mark.parametrize(
    ("change", "code"),
    [({"pod": "/nowhere"}, 404), ({"protocol": "v9.channel.k8s.io"}, 400), ({"command": ()}, 400)],
)
def test_exec_is_refused_before_it_begins(cluster: Serving, pod: str, change: Json, code: int) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        where = pod + change.pop("pod", "")
        connect(cluster, where, *change.pop("command", ("true",)), stdout=True, **change)
    assert refused.value.status_code == code


def test_exec_needs_a_token(cluster: Serving, pod: str) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        options: Any = {"sslopt": {"ca_certs": str(cluster.folder / "pki" / "ca.crt")}, "subprotocols": [V5]}
        websocket.create_connection(f"wss://127.0.0.1:{cluster.server.port}{pod}/exec?command=id", **options)
    assert refused.value.status_code == 401


def test_logs(cluster: Serving, api: Api, pod: str) -> None:
    cluster.kubelets.said["p"] = [b"one\n", b"two\n"]
    answer = api("GET", f"{pod}/log?tailLines=5&timestamps=true&sinceSeconds=60")
    assert (answer.body, answer.headers.get_content_type()) == (b"one\ntwo\n", "text/plain")
    asked = cluster.kubelets.asked[-1]
    assert (asked.container, asked.tail_lines, asked.timestamps, asked.since_seconds) == ("c", 5, True, 60)
    bad = [("container=x", 400), ("tailLines=-1", 422), ("limitBytes=0", 422), ("tailLines=x", 400)]
    for query, code in (*bad, ("sinceTime=never", 400), ("sinceTime=2026-01-01", 400)):
        assert api("GET", f"{pod}/log?{query}").code == code, query
    del cluster.kubelets.said["p"]
    assert api("GET", f"{pod}/log").code == 404


def test_logs_are_followed(cluster: Serving, api: Api, pod: str) -> None:
    cluster.kubelets.said["p"] = [b"one\n"]
    with api.open("GET", f"{pod}/log?follow=true") as response:
        assert response.readline() == b"one\n"
        cluster.kubelets.said["p"].append(b"two\n")
        assert response.readline() == b"two\n"
        api.close()


def test_a_silent_log_is_answered_and_its_reader_may_leave(cluster: Serving, api: Api, pod: str) -> None:
    cluster.kubelets.said["p"] = []
    with api.open("GET", f"{pod}/log?follow=true") as response:
        assert response.status == 200  # before a word was said
        following = cluster.kubelets.following
        api.close()
    deadline = time.monotonic() + 3
    while cluster.kubelets.following == following and time.monotonic() < deadline:
        time.sleep(0.01)
    assert cluster.kubelets.following == following - 1


class _Web(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["content-length"]))
        body = f"{self.path} {said.decode()} {self.headers.get('authorization')}".encode()
        self.send_response(202)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Pod", "p")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def web(cluster: Serving) -> Iterator[None]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Web) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        cluster.kubelets.ports[8080] = server.server_address[1]
        yield
        server.shutdown()
        thread.join()


def test_the_proxy_passes_the_path_on_as_it_was_sent(api: Api, pod: str, web: None) -> None:
    escaped = "/a%20b/c%3Fd%2Fe%25;v=1/%C3%BC%ff/?q=%3F"
    assert api("POST", f"{pod}:8080/proxy{escaped}", "x").body.decode() == f"{escaped} x None"
    assert api("POST", f"{pod}%3A8080/proxy{escaped}", "x").body.decode() == f"{escaped} x None"
    assert api("POST", f"{pod}:8080/proxy", "x").body.startswith(b"/ x")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("pods/p:99999", 503, "error trying to reach service: dial tcp: address 99999: invalid port"),
        ("pods/p:%C2%B2", 400, 'no port named "²" on pod p'),
        ("pods/ftp:p:80", 400, 'invalid pod request "ftp:p:80"'),
        ("pods/:80", 400, 'invalid pod request ":80"'),
        ("services/a:b:c:d", 400, 'invalid service request "a:b:c:d"'),
        ("services/s:99999", 503, 'no service port 99999 found for service "s"'),
        ("services/s:nope", 503, 'no endpoints available for service "s:nope"'),
    ],
)
def test_what_the_proxy_cannot_reach(api: Api, namespace: str, pod: str, name: str, code: int, said: str) -> None:
    base = f"/api/v1/namespaces/{namespace}"
    api.create(f"{base}/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80}]}})
    refused = api("GET", f"{base}/{name}/proxy/")
    assert (refused.code, refused.json["message"]) == (code, said)


def test_proxy_to_a_pod_and_to_a_service(api: Api, namespace: str, pod: str, web: None) -> None:
    answer = api("POST", f"{pod}:8080/proxy/some/path?x=1&y=%20", "hello")
    assert (answer.code, answer.headers["x-pod"]) == (202, "p")
    assert answer.body == b"/some/path?x=1&y=%20 hello None"  # the token is not the pod's to see
    port = {"name": "http", "port": 80, "targetPort": 8080}
    services = f"/api/v1/namespaces/{namespace}/services"
    api.create(services, {"metadata": {"name": "s"}, "spec": {"ports": [port]}})
    assert api("POST", f"{services}/s/proxy/", "x").code == 503  # nobody is behind it
    api.create(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
        {
            "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.244.1.2"], "targetRef": {"kind": "Pod", "name": "p"}}],
        },
    )
    for name in ("s", "s:http", "s:80", "http:s:http"):
        assert api("POST", f"{services}/{name}/proxy/", "x").body.startswith(b"/ x")
    assert api("POST", f"{services}/s:81/proxy/", "x").code == 503
