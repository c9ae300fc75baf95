"""The ASGI application: who asks, for what, and who answers. Whatever goes wrong becomes a Status.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, cast

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from ..api.errors import StatusError
from . import answers, documents, reviews, watching
from .connect import Connect
from .kubelets import Kubelets
from .registry import Registry
from .resources import Resources
from .subresources import Subresources
from .target import Query, Target, method_not_allowed, not_served, parse
from .tokens import Tokens, User

OPEN = frozenset({"/healthz", "/livez", "/readyz", "/version"})  # anybody may ask these
VERBS = "/minik8s/"  # what only a cluster of ours can do
log = logging.getLogger(__name__)


class Verbs(Protocol):
    """Whoever answers below VERBS."""

    async def answer(self, request: Request, user: User) -> Response:
        """The response to `POST /minik8s/v1/VERB`. Raises StatusError."""


class App:
    """Every request of every client goes through here."""

    def __init__(self, registry: Registry, kubelets: Kubelets, tokens: Tokens) -> None:
        self.registry, self.tokens = registry, tokens
        self.resources = Resources(registry)
        self.subresources = Subresources(registry, tokens)
        self.connect = Connect(registry, kubelets)
        self.requests: Counter[tuple[str, int]] = Counter()
        self.verbs: Verbs | None = None
        self.data_plane: Callable[[], Awaitable[str]] | None = None  # metrics of what stands behind the API
        self.more_metrics: list[Callable[[], Iterable[str]]] = []  # lines that others add to /metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(WebSocket(scope, receive, send))
        elif scope["type"] == "http":
            request = Request(scope, receive)
            response = await self._recover(request)
            if isinstance(response, Response):
                if response.media_type == "application/json" and answers.wants_yaml(request.headers.get("accept", "")):
                    response = answers.as_yaml(response)
                self.requests[request.method, response.status_code] += 1
            await response(scope, receive, send)

    async def _recover(self, request: Request) -> ASGIApp:
        """The answer; a StatusError in its own words, and nothing a client can send ever ends in a traceback."""
        try:
            return await self._answer(request)
        except StatusError as error:
            return answers.status(error)
        except RecursionError:
            return answers.status(StatusError(400, "BadRequest", "the request is nested too deeply"))
        except Exception as error:
            log.exception("%s %s", request.method, request.url.path)
            message = f"Internal error occurred: {type(error).__name__}: {error}"
            return answers.status(StatusError(500, "InternalError", message))

    def user(self, authorization: str) -> User | None:
        """Who sends this Authorization header; None for a token nobody issued."""
        scheme, _, token = authorization.partition(" ")
        return self.tokens.authenticate(token.strip()) if scheme.lower() == "bearer" else None

    async def _answer(self, request: Request) -> ASGIApp:
        path: str = request.scope["path"]
        user = self.user(request.headers.get("authorization", ""))
        if user is None and path.partition("?")[0].rstrip("/") not in OPEN:
            raise unauthorized()
        if self.verbs and user and path.startswith(VERBS):
            return await self.verbs.answer(request, user)
        if path == "/metrics":
            more = await self.data_plane() if self.data_plane else ""
            return PlainTextResponse(self._metrics() + more, media_type="text/plain; version=0.0.4")
        query = Query(request.scope["query_string"])
        target = parse(path)
        if target is None:
            return self._document(request, path, query)
        if target.kind.storable and not target.subresource and watching.is_watch(request, query):
            form = answers.wanted(request.headers.get("accept", ""), query.text("includeObject"))
            return watching.Watcher(self.registry.store, target, query, form)
        return await self._resource(request, target, query, cast(User, user))

    async def _resource(self, request: Request, target: Target, query: Query, user: User) -> ASGIApp:
        if target.kind.plural in reviews.ANSWERS and not target.name:
            return await reviews.answer(request, target, query, user, self.tokens)
        if self.connect.handles(target):
            return await self.connect.answer(request, target, query)
        if self.subresources.handles(target):
            return await self.subresources.answer(request, target, query)
        return await self.resources.answer(request, target, query)

    def _document(self, request: Request, path: str, query: Query) -> Response:
        if (found := documents.answer(request, path, query)) is None:
            raise not_served()
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        return found

    def _metrics(self) -> str:
        """The Prometheus text format, with the names a real API server uses."""
        lines = ["# TYPE apiserver_request_total counter"]
        for (verb, code), count in sorted(self.requests.items()):
            lines.append(f'apiserver_request_total{{code="{code}",verb="{verb}"}} {count}')
        lines.append("# TYPE apiserver_storage_objects gauge")
        for resource in sorted(self.registry.store.resources()):
            count = len(self.registry.store.list(resource))
            lines.append(f'apiserver_storage_objects{{resource="{resource}"}} {count}')
        for more in self.more_metrics:
            lines += more()
        return "\n".join(lines) + "\n"

    async def _websocket(self, socket: WebSocket) -> None:
        try:
            if self.user(socket.headers.get("authorization", "")) is None:
                raise unauthorized()
            target = parse(socket.scope["path"])
            if target is None:
                raise not_served()
            await self.connect.websocket(socket, target, Query(socket.scope["query_string"]))
        except StatusError as error:
            await socket.send_denial_response(answers.status(error))


def unauthorized() -> StatusError:
    """401, as a real server words it."""
    return StatusError(401, "Unauthorized", "Unauthorized")
