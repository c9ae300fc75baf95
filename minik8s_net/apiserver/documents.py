"""What the API says about itself: discovery, OpenAPI, version, health.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ..api import discovery
from . import answers
from .target import Query

HEALTH = ("/healthz", "/livez", "/readyz")
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"


def answer(request: Request, path: str, query: Query) -> Response | None:
    """None for a path nobody knows."""
    path = path.rstrip("/") or "/"
    if path in HEALTH or path.startswith(tuple(f"{p}/" for p in HEALTH)):
        return PlainTextResponse("[+]ping ok\n[+]store ok\n" if query.flag("verbose") else "ok")
    if path == "/version":
        return answers.json(discovery.version())
    if path in ("/api", "/apis") and (version := _aggregated(request.headers.get("accept", ""))):
        return _cached(request, _groups(path, version), AGGREGATED.format(version))
    if path.startswith("/openapi/"):
        return _openapi(request, path)
    found = _document(path)
    return answers.json(found) if found is not None else None


@cache
def _document(path: str) -> bytes | None:
    parts = path.strip("/").split("/")
    found: Any = None
    if path == "/api":
        found = discovery.api()
    elif path == "/apis":
        found = discovery.apis()
    elif parts[0] == "api" and len(parts) == 2:
        found = discovery.resources("", parts[1])
    elif parts[0] == "apis" and len(parts) == 3:
        found = discovery.resources(parts[1], parts[2])
    elif parts[0] == "apis" and len(parts) == 2:
        found = discovery.group(parts[1])
    return None if found is None else answers.encode(found)


@cache
def _groups(path: str, version: str) -> bytes:
    return answers.encode(discovery.aggregated(path, version))


def _aggregated(accept: str) -> str | None:
    """The version of the aggregated form that is asked for first, None where the plain form is."""
    for entry in accept.split(","):
        parameters = [part.strip() for part in entry.split(";")]
        if "as=APIGroupDiscoveryList" in parameters:
            for version in ("v2", "v2beta1"):
                if f"v={version}" in parameters:
                    return version
        elif parameters[0] in ("application/json", "*/*"):
            return None
    return None


def _openapi(request: Request, path: str) -> Response | None:
    from ..api import openapi, openapi_protobuf

    if path == "/openapi/v3":
        return answers.json(openapi.v3_index())
    accept = request.headers.get("accept", "")
    if path == "/openapi/v2" and (openapi_protobuf.ASKED in accept or openapi_protobuf.MEDIA in accept):
        return _cached(request, openapi_protobuf.v2(), openapi_protobuf.MEDIA)
    if path == "/openapi/v2":
        found: Any = openapi.v2()
    else:
        found = openapi.v3(path.removeprefix("/openapi/v3/"))
    if found is None:
        return None
    return _cached(request, found if isinstance(found, bytes) else answers.encode(found), "application/json")


def _cached(request: Request, body: bytes, media: str) -> Response:
    """With an ETag: clients that have this version get 304."""
    etag = f'"{hashlib.sha256(body).hexdigest().upper()}"'
    headers = {"etag": etag, "vary": "Accept", "cache-control": "public"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    response = Response(body, headers=headers)
    response.headers["content-type"] = media
    return response
