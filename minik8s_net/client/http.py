"""Requests to a Kubernetes API server, by the standard library: one keep-alive connection, JSON both ways."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from ..api.errors import StatusError
from . import kubeconfig

Json = dict[str, Any]


class Unreachable(Exception):
    """The API server does not answer: says where, and what to type next."""


@dataclass(frozen=True)
class Resource:
    """What discovery says of a kind: enough to build its paths."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """As in a manifest: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As kubectl prints it: `pod`, `deployment.apps`."""
        return f"{self.singular}.{self.group}" if self.group else self.singular

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of a collection, an object or a subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            root += f"/namespaces/{quote(namespace)}"
        return "/".join([root, self.plural, *(quote(part) for part in (name, subresource) if part)])


@dataclass
class Api:
    """A client bound to one kubeconfig context. Raises StatusError for a refusal, Unreachable for silence."""

    connection: kubeconfig.Connection
    warnings: list[str] = field(default_factory=list)
    _http: http.client.HTTPConnection | None = None
    _resources: list[Resource] | None = None

    @classmethod
    def load(cls, path: Path | None = None, context: str | None = None) -> Api:
        """From a kubeconfig (default: as kubectl finds it). Raises KubeconfigError."""
        return cls(kubeconfig.load(path, context))

    @property
    def namespace(self) -> str:
        """The context's namespace."""
        return self.connection.namespace

    # -- requests --------------------------------------------------------------------------------------------------
    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """One request; the JSON answer (or text, where the answer is none). API warnings collect in `warnings`."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = self._headers(accept)
        if data is not None:
            headers["Content-Type"] = content_type
        response = self._roundtrip(method, self._url(path, query), data, headers)
        raw = response.read()
        self.warnings += [w.split(" ", 2)[2].strip('"') for w in response.headers.get_all("Warning") or []]
        is_json = (response.headers.get_content_type() or "").endswith("json")
        answer = json.loads(raw) if raw and is_json else raw.decode(errors="replace")
        if response.status >= 400:
            raise _refusal(response.status, answer)
        return answer

    def verb(self, name: str, /, **asked: Any) -> Any:
        """What only a cluster of ours can do (boot/verbs.py). Raises StatusError; 404 on a real cluster."""
        return self.request("POST", f"/minik8s/v1/{name}", asked)

    def follow(self, name: str, /, **asked: Any) -> Iterator[Json]:
        """The same for verbs that go on: each JSON object as it comes, until it ends or is closed."""
        rest = b""
        for chunk in self.stream(f"/minik8s/v1/{name}", body=asked):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line) for line in lines if line.strip())

    def stream(
        self, path: str, query: dict[str, Any] | None = None, body: Json | None = None, accept: str = "*/*"
    ) -> Iterator[bytes]:
        """Chunks of a long answer (watch, logs -f) on a connection of its own, until it ends or is closed."""
        connection = self._connect(timeout=None)
        data = None if body is None else json.dumps(body).encode()
        try:
            method = "GET" if data is None else "POST"
            connection.request(method, self._url(path, query), data, headers=self._headers(accept))
            response = connection.getresponse()
            if response.status >= 400:
                raw = response.read()
                is_json = response.headers.get_content_type() == "application/json"
                raise _refusal(response.status, json.loads(raw) if is_json else raw.decode(errors="replace"))
            while chunk := response.read1(65536):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def watch(self, path: str, query: dict[str, Any] | None = None, accept: str = "*/*") -> Iterator[Json]:
        """Watch events, one JSON object each."""
        rest = b""
        for chunk in self.stream(path, {**(query or {}), "watch": "true"}, accept=accept):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line) for line in lines if line.strip())

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._http:
            self._http.close()
            self._http = None

    def __del__(self) -> None:
        self.close()

    # -- discovery ---------------------------------------------------------------------------------------------------
    def resources(self) -> list[Resource]:
        """Every kind the server has, from aggregated discovery (two requests, kept)."""
        if self._resources is None:
            accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            groups = [g for root in ("/api", "/apis") for g in self.request("GET", root, accept=accept)["items"]]
            self._resources = [_resource(g, v, r) for g in groups for v in g["versions"] for r in v["resources"]]
        return self._resources

    def resource(self, word: str) -> Resource:
        """`po`, `pods`, `Pod`, `deployments.apps` -> Resource. Raises StatusError in kubectl's words."""
        name, _, group = word.lower().partition(".")
        for resource in self.resources():
            names = (resource.plural, resource.singular, resource.kind.lower(), *resource.short_names)
            if name in names and (not group or resource.group == group):
                return resource
        raise StatusError(404, "NotFound", f'the server doesn\'t have a resource type "{word}"')

    def resource_of(self, api_version: str, kind: str) -> Resource:
        """A manifest's apiVersion and kind -> Resource."""
        for resource in self.resources():
            if resource.kind == kind and resource.api_version == api_version:
                return resource
        raise StatusError(
            404,
            "NotFound",
            f'no matches for kind "{kind}" in version "{api_version}"; what there is: minik8s get --kinds',
        )

    # -- inside ------------------------------------------------------------------------------------------------------
    def _headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": "minik8s"}
        if self.connection.token:
            headers["Authorization"] = f"Bearer {self.connection.token}"
        return headers

    def _url(self, path: str, query: dict[str, Any] | None) -> str:
        present = {k: v for k, v in (query or {}).items() if v is not None}
        return self.connection.prefix + path + ("?" + urlencode(present, doseq=True) if present else "")

    def _connect(self, timeout: float | None) -> http.client.HTTPConnection:
        to = self.connection
        if to.tls:
            return http.client.HTTPSConnection(to.host, to.port, context=to.tls, timeout=timeout)
        return http.client.HTTPConnection(to.host, to.port, timeout=timeout)

    def _roundtrip(
        self, method: str, url: str, data: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        for fresh in (False, True):
            if self._http is None:
                self._http = self._connect(timeout=60)
                fresh = True
            try:
                self._http.request(method, url, data, headers)
                return self._http.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                stale = isinstance(error, ConnectionResetError | BrokenPipeError | http.client.RemoteDisconnected)
                if fresh or not stale:  # an idle connection the server closed is opened anew, once
                    raise self._unreachable(error) from error
        raise AssertionError("unreachable")

    def _unreachable(self, error: Exception) -> Unreachable:
        where = f"{self.connection.host}:{self.connection.port}"
        reason = "timed out" if isinstance(error, socket.timeout) else str(error)
        return Unreachable(f"the API server at {where} does not answer ({reason}); see: minik8s status")


def _resource(group: Json, version: Json, resource: Json) -> Resource:
    return Resource(
        group=group.get("metadata", {}).get("name", ""),
        version=version["version"],
        kind=resource["responseKind"]["kind"],
        plural=resource["resource"],
        singular=resource.get("singularResource") or resource["responseKind"]["kind"].lower(),
        namespaced=resource["scope"] == "Namespaced",
        short_names=tuple(resource.get("shortNames", ())),
        categories=tuple(resource.get("categories", ())),
    )


def _refusal(code: int, answer: Any) -> StatusError:
    if isinstance(answer, dict) and answer.get("kind") == "Status":
        return StatusError(code, answer.get("reason", ""), answer.get("message", ""), answer.get("details"))
    return StatusError(code, "", str(answer).strip() or f"HTTP {code}")
