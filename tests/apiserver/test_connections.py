"""HTTP as clients really speak it: pipelined, HEAD, OPTIONS, byte by byte, and not reading what they asked for."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from minik8s_net.apiserver import bodies, connections

from .serving import Api, Serving


@contextmanager
def raw(cluster: Serving) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(cluster.folder / "pki" / "ca.crt"))
    plain = socket.create_connection(("127.0.0.1", cluster.server.port), timeout=10)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
        yield secure


def head(cluster: Serving, line: str, *more: str) -> bytes:
    lines = [line, "Host: x", f"Authorization: Bearer {cluster.tokens.admin}", *more, "", ""]
    return "\r\n".join(lines).encode()


def latency(api: Api, path: str = "/api/v1/namespaces/default", count: int = 50) -> float:
    """Median seconds of a request."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        assert api("GET", path).code == 200
        times.append(time.perf_counter() - begin)
    return sorted(times)[count // 2]


def test_pipelined_requests_are_answered_in_order(cluster: Serving) -> None:
    with raw(cluster) as connection:
        asked = ("/api/v1/namespaces/default", "/version", "/api/v1/namespaces/nowhere")
        connection.sendall(b"".join(head(cluster, f"GET {path} HTTP/1.1") for path in asked))
        seen = b""
        while seen.count(b"HTTP/1.1 ") < 3 or b'"nowhere' not in seen:
            seen += connection.recv(65536)
    assert re.findall(rb"HTTP/1.1 (\d+)", seen) == [b"200", b"200", b"404"]


def test_head_and_options(api: Api) -> None:
    whole, bare = api("GET", "/api/v1/namespaces/default"), api("HEAD", "/api/v1/namespaces/default")
    assert bare.code == 200 and not bare.body and bare.headers["content-length"] == str(len(whole.body))
    assert api("HEAD", "/api/v1/namespaces/nowhere").code == 404
    for path in ("/api/v1/pods", "/version", "/openapi/v3"):
        refused = api("OPTIONS", path)
        assert (refused.code, refused.json["reason"]) == (405, "MethodNotAllowed")
    assert api("POST", "/version").code == 405


def test_headers_that_never_end_are_cut_off(cluster: Serving, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.5)
    with ExitStack() as stack:
        slow = [stack.enter_context(raw(cluster)) for _ in range(30)]
        for connection in slow:
            connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert latency(api) < 0.1
        for connection in slow:
            assert connection.recv(100) == b""  # closed
        with raw(cluster) as patient:  # one that has spoken keeps its connection
            for pause in (0.7, 0):
                patient.sendall(head(cluster, "GET /healthz HTTP/1.1"))
                seen = b""
                while not seen.endswith(b"ok"):
                    seen += patient.recv(65536) or pytest.fail("closed")
                time.sleep(pause)


def test_a_body_that_never_ends_is_a_408(cluster: Serving, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.5)
    with raw(cluster) as slow:
        slow.sendall(head(cluster, "POST /api/v1/namespaces HTTP/1.1", "Content-Length: 100") + b'{"meta')
        assert latency(api) < 0.1
        assert b"408" in slow.recv(65536)


def test_watchers_that_do_not_read_do_not_slow_others(cluster: Serving, api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    with ExitStack() as stack:
        for _ in range(20):
            deaf = stack.enter_context(raw(cluster))
            deaf.sendall(head(cluster, f"GET {path}?watch=1 HTTP/1.1"))
        api.create(path, {"metadata": {"name": "big"}})
        for number in range(20):
            data = {"metadata": {"name": "big"}, "data": {"n": str(number), "x": "y" * 200_000}}
            assert api("PUT", f"{path}/big", data).code == 200
        assert latency(api) < 0.2
    assert api.get(f"{path}/big")["data"]["n"] == "19"


def test_an_expired_list_and_odd_list_options(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = api.create(path, {"metadata": {"name": "a"}})["metadata"]["resourceVersion"]
    assert api("GET", f"{path}?resourceVersion={made}&resourceVersionMatch=Exact").code == 200
    api.create(path, {"metadata": {"name": "b"}})
    gone = api("GET", f"{path}?resourceVersion={made}&resourceVersionMatch=Exact")
    assert (gone.code, gone.json["reason"]) == (410, "Expired")
    assert len(api.get(f"{path}?resourceVersion={made}&resourceVersionMatch=NotOlderThan")["items"]) == 2
    for query, said in {
        "resourceVersionMatch=Exact": "resourceVersionMatch is forbidden unless resourceVersion is provided",
        "resourceVersion=0&resourceVersionMatch=Exact": '"exact" is forbidden for resourceVersion "0"',
        "resourceVersion=1&resourceVersionMatch=Same": 'Unsupported value: "Same"',
        "sendInitialEvents=true": "sendInitialEvents is forbidden for list",
        "watch=1&sendInitialEvents=true": "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        "watch=1&resourceVersionMatch=NotOlderThan": "forbidden for watch unless sendInitialEvents is provided",
    }.items():
        refused = api("GET", f"{path}?{query}")
        assert refused.code == 422 and said in refused.json["message"], json.dumps(refused.json)
