"""The verbs on stored kinds: get, list, create, update, patch, delete, deletecollection.

https://kubernetes.io/docs/reference/using-api/api-concepts/#standard-api-terminology
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..api.errors import StatusError, bad_request, is_not_found, prohibited, required
from ..api.errors import invalid_named as invalid_options
from ..api.kinds import Kind
from ..store.version import Version
from . import answers, bodies, paging, patching
from .deleting import delete_options
from .registry import Registry, WriteOptions
from .selection import Selection
from .target import Query, Target, method_not_allowed, not_served

Json = dict[str, Any]
BATCH = 50  # objects of a deletecollection between two looks at other requests
SUBRESOURCES = ("", "status", "finalize", "ephemeralcontainers", "resize")


@dataclass(frozen=True, slots=True)
class Body:
    """What a writing request brings: bytes, their media type, and the name of the program that sent them."""

    data: bytes
    media: str
    agent: str


def manager_of(request: Request) -> str:
    """The field manager of a client that names none: its User-Agent up to the first slash."""
    name = request.headers.get("user-agent", "").partition("/")[0]
    return "".join(c for c in name if c.isprintable())[:128] or "unknown"


class Resources:
    """Answers requests about objects. Raises StatusError for the caller to put into words."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def answer(self, request: Request, target: Target, query: Query) -> Response:
        """The response to a request about stored objects. Raises StatusError."""
        stored = target.kind.storable or ("list" in target.kind.verbs and request.method == "GET")  # componentstatuses
        if not stored or target.subresource not in SUBRESOURCES:
            raise not_served() if stored else method_not_allowed()
        verbs: dict[tuple[str, bool], Callable[..., Response | Awaitable[Response]]] = {
            ("GET", True): self.get,
            ("GET", False): self.list,
            ("POST", False): self.create,
            ("PUT", True): self.update,
            ("PATCH", True): self.patch,
            ("DELETE", True): self.delete,
            ("DELETE", False): self.delete_all,
        }
        method = "GET" if request.method == "HEAD" else request.method
        verb = verbs.get((method, bool(target.name)))
        if verb is None or (target.subresource and method in ("POST", "DELETE")):
            raise method_not_allowed()
        if method == "POST" and target.kind.namespaced and not target.namespace:
            raise method_not_allowed()
        form = answers.wanted(request.headers.get("accept", ""), query.text("includeObject"))
        if method == "GET":
            return self.get(target, query, form) if target.name else self.list(target, query, form)
        body = Body(await bodies.read(request), bodies.media_type(request), manager_of(request))
        answer = verb(target, query, form, body)
        return answer if isinstance(answer, Response) else await answer

    # -- reading -----------------------------------------------------------------------------------------------
    def get(self, target: Target, query: Query, form: answers.Form) -> Response:
        """200 with one object."""
        version = self.registry.read(target.kind, target.namespace, target.name)
        return answers.json(answers.one(target.kind, version, form))

    def list(self, target: Target, query: Query, form: answers.Form) -> Response:
        """200 with a list or Table, whole or a page of it."""
        kind = target.kind
        query.check_list(watch=False)
        selection = Selection.of(kind, query)
        self._check_revision(kind, query)
        chosen = selection.filter(self.registry.select(kind, target.namespace))
        page, meta = paging.page(chosen, query, self.registry.store.revision)
        return answers.json(answers.many(kind, page, form, meta))

    def _check_revision(self, kind: Kind, query: Query) -> None:
        """A list at a revision that is still to come can't be answered; any older one is served from the present,
        unless exactly that one is wanted and the kind has changed since. Raises StatusError 400, 410, 504."""
        text, store = query.text("resourceVersion"), self.registry.store
        if not text:
            return
        if not text.isascii() or not text.isdigit():
            raise bad_request(f"resourceVersion: {not_a_number(text)}")
        if int(text) > store.revision:
            raise from_the_future(text, store.revision)
        if query.text("resourceVersionMatch") == "Exact" and store.changed_since(kind.home.qualified, int(text)):
            raise StatusError(410, "Expired", "The provided resource version is too old: only the present is kept.")

    # -- writing -----------------------------------------------------------------------------------------------
    def create(self, target: Target, query: Query, form: answers.Form, body: Body) -> Response:
        """201 with the object as stored."""
        options = query.write_options("CreateOptions", body.agent)
        tree = bodies.decode(target.kind, body.data, body.media, options)
        version = self.registry.create_tree(target.kind, target.namespace, tree, options)
        return self._written(target.kind, version, form, 201, options)

    def update(self, target: Target, query: Query, form: answers.Form, body: Body) -> Response:
        """200 with the object as stored."""
        options = query.write_options("UpdateOptions", body.agent)
        tree = bodies.decode(target.kind, body.data, body.media, options)
        version = self.registry.update_tree(
            target.kind, target.namespace, target.name, lambda _: tree, options, target.subresource or None
        )
        return self._written(target.kind, version, form, 200, options)

    def patch(self, target: Target, query: Query, form: answers.Form, body: Body) -> Response:
        """200 with the object as stored; 201 where an apply has created it."""
        options = query.write_options("PatchOptions")
        if body.media != patching.APPLY:
            if "force" in query.values:
                errors = [prohibited("force", "may not be specified for non-apply patch")]
                raise invalid_options("PatchOptions", "meta.k8s.io", "", errors)
            options.manager = options.manager or body.agent
        kind, where = target.kind, (target.kind, target.namespace, target.name)
        if body.media == patching.APPLY and not options.manager:
            errors = [required("fieldManager", "is required for apply patch")]
            raise invalid_options("PatchOptions", "meta.k8s.io", "", errors)
        change = patching.change(kind, body.data, body.media, options, target.subresource)
        if body.media == patching.APPLY and self.registry.store.get(kind.home.qualified, *where[1:]) is None:
            tree = change({"metadata": {"name": target.name, "namespace": target.namespace}})
            version = self.registry.create_tree(kind, target.namespace, tree, options)
            return self._written(kind, version, form, 201, options)
        version = self.registry.update_tree(*where, change, options, target.subresource or None)
        return self._written(kind, version, form, 200, options)

    def _written(self, kind: Kind, version: Version, form: answers.Form, code: int, options: WriteOptions) -> Response:
        return answers.json(answers.one(kind, version, form), code, options.warnings)

    # -- deleting ----------------------------------------------------------------------------------------------
    def delete(self, target: Target, query: Query, form: answers.Form, body: Body) -> Response:
        """200 with a Status, or with the object where its end is still to come."""
        kind, options = target.kind, delete_options(query, body.data, body.media)
        version, gone = self.registry.delete_tree(kind, target.namespace, target.name, options)
        if gone and not self.registry.strategy(kind).returns_object:
            return answers.json(answers.success(kind, version.name, version.tree["metadata"]["uid"]))
        return answers.json(answers.one(kind, version, form))

    async def delete_all(self, target: Target, query: Query, form: answers.Form, body: Body) -> Response:
        """200 with the list of what was chosen."""
        kind, options = target.kind, delete_options(query, body.data, body.media)
        if "deletecollection" not in kind.verbs or (kind.namespaced and not target.namespace):
            raise method_not_allowed()
        chosen = Selection.of(kind, query).filter(self.registry.select(kind, target.namespace))
        deleted = []
        for number, version in enumerate(tuple(chosen)):
            if number % BATCH == BATCH - 1:
                await asyncio.sleep(0)  # others want to be served too
            try:
                deleted.append(self.registry.delete_tree(kind, version.namespace, version.name, options)[0])
            except StatusError as error:
                if not is_not_found(error):  # somebody was faster
                    raise
        meta = {"resourceVersion": str(self.registry.store.revision)}
        return answers.json(answers.many(kind, deleted, form, meta))


def not_a_number(text: str) -> str:
    """A garbage resourceVersion in Go's words."""
    return f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'


def from_the_future(asked: str, revision: int) -> StatusError:
    """504, as while a real server's watch cache waits to catch up."""
    message = f"Too large resource version: {asked}, current: {revision}"
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return StatusError(504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1})
