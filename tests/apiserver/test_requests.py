"""Who may ask, and what happens to requests that make no sense: a Status, never a traceback, never a hang."""

from __future__ import annotations

import random
import socket
import ssl
import time

import pytest

from minik8s_net.apiserver import bodies

from .serving import Api, Serving


def test_only_a_known_token_gets_in(cluster: Serving, namespace: str) -> None:
    for token in ("", "wrong", "a.b.c", cluster.tokens.admin[:-1]):
        with cluster.api(token) as api:
            refused = api("GET", "/api/v1/pods")
            assert (refused.code, refused.json["reason"]) == (401, "Unauthorized")
            assert api("GET", "/apis").code == 401
            assert api("GET", "/healthz").body == b"ok"
            assert api("GET", "/version").json["minor"] == "33"


MALFORMED = ['{"kind":', "[]", "3", '"x"', "null", "", "{}x", "[" * 100_000, b"\xff\xfe", b"k8s\x00\x0a"]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:8]))
def test_malformed_bodies(api: Api, namespace: str, body: str | bytes) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for media in ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf"):
        assert api("POST", path, body, media).code in (400, 422), media
    for media in ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"):
        answer = api("PATCH", f"{path}/a?fieldManager=x", body, f"application/{media}")
        assert answer.code in (400, 404, 422), media
        assert answer.json["kind"] == "Status"
    assert api("DELETE", f"{path}/a", body).code in (400, 404)
    assert api("POST", path, body, "text/html").code == 415


def test_bodies_over_the_limit(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for large in ("x" * (bodies.LIMIT + 1), b" " * (bodies.LIMIT + 1)):
        answer = api("POST", path, large)
        assert (answer.code, answer.json["reason"]) == (413, "RequestEntityTooLarge")
        api.close()
    chunked = (b" " * 100_000 for _ in range(40))  # no length to go by
    assert api("POST", path, chunked).code == 413


def test_aliases_of_aliases_do_not_fill_the_memory(api: Api, namespace: str) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    for text in (bomb, "a: &a [*a]", "data: &d {x: y}\nagain: *d"):
        answer = api("POST", f"/api/v1/namespaces/{namespace}/configmaps", text, "application/yaml")
        assert answer.code in (400, 422)
    assert "excessive aliasing" in api("POST", "/api/v1/namespaces", bomb, "application/yaml").json["message"]


def test_a_thousand_odd_requests(api: Api, namespace: str) -> None:
    """Paths, queries and headers made from the real ones' pieces: never a 5xx but those a real server answers."""
    dice = random.Random(7)
    parts = ["api", "apis", "v1", "apps", "namespaces", "pods", "services", "deployments", "x", "status", "log", "exec"]
    parts += [namespace, "scale", "proxy", "token", "eviction", "openapi", "v3", "%00", "%ff", "..", "a:b"]
    queries = ["limit=-1", "limit=9999999999999999999", "continue=AAAA", "dryRun=All", "resourceVersion=-1"]
    queries += ["resourceVersion=%C2%B2", "labelSelector=a%20in%20(", "fieldSelector=metadata.name", "container=%00"]
    queries += ["tailLines=x", "sinceTime=never", "pretty=true", "includeObject=Nope", "fieldValidation=x"]
    accepts = ["*/*", "application/json;as=Table", "application/json;as=", ";", "text/html", "application/*"]
    for _ in range(1000):
        path = "/" + "/".join(dice.choices(parts, k=dice.randint(1, 8)))
        query = "&".join(dice.choices(queries, k=dice.randint(0, 3)))
        method = dice.choice(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
        body = dice.choice([None, "{}", '{"metadata":{"name":"x"}}', '{"spec":{}}', '{"metadata":3}'])
        answer = api(method, f"{path}?{query}", body, accept=dice.choice(accepts))
        assert answer.code < 500 or answer.code in (503, 504), (method, path, query, body, answer.body)


def test_slow_and_silent_clients_disturb_nobody(cluster: Serving, api: Api) -> None:
    context = ssl.create_default_context(cafile=str(cluster.folder / "pki" / "ca.crt"))
    sockets: list[socket.socket] = []
    try:
        for number in range(100):
            plain = socket.create_connection(("127.0.0.1", cluster.server.port), timeout=10)
            if number % 2:
                sockets.append(plain)  # not even a handshake
                continue
            secure = context.wrap_socket(plain, server_hostname="127.0.0.1")
            secure.sendall(
                b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nAuthorization: Bearer "
            )
            sockets.append(secure)
        begin = time.monotonic()
        for _ in range(20):
            assert api("GET", "/api/v1/namespaces").code == 200
        assert time.monotonic() - begin < 2
    finally:
        for each in sockets:
            each.close()


def test_the_port_is_kept_over_restarts_and_data_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    from .serving import serving

    folder = tmp_path_factory.mktemp("restarted")
    with serving(folder) as first, first.api() as api:
        port = first.server.port
        uid = api.create("/api/v1/namespaces", {"metadata": {"name": "kept"}})["metadata"]["uid"]
    with serving(folder) as second, second.api() as api:
        assert second.server.port == port
        assert api.get("/api/v1/namespaces/kept")["metadata"]["uid"] == uid
