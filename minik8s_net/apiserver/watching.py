"""Watch: a stream of events, one JSON object a line.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
Each watcher has a queue of events whose bytes all watchers share; a client that reads too slowly is cut off (and
lists again), so that it costs nobody else anything. With a selector an object that begins to match is ADDED, one
that ceases to match is DELETED: its last state that did match, at the revision of the change.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from ..api.errors import StatusError
from ..api.kinds import Kind
from ..store.store import Expired, Store
from ..store.version import Event, Version
from . import answers
from .registry.registry import shown
from .selection import Selection
from .target import Query, Target

Json = dict[str, Any]
QUEUE_LIMIT = 20_000  # events a client may lag behind
QUEUE_BYTES = 64 << 20  # and bytes; more than a resource's whole history
SHARED = 64 << 10  # bytes; larger objects are not kept once they are sent
GOODBYE = 5.0  # seconds that a client gets to read what is left when its watch times out
BOOKMARK_SECONDS = 60.0
INITIAL_END = "k8s.io/initial-events-end"
CHUNK, CHUNK_BYTES = 256, 1 << 20  # events per write, and bytes (or one event)


class Watcher:
    """One watch request, as an ASGI answer."""

    def __init__(self, store: Store, target: Target, query: Query, form: answers.Form) -> None:
        """Subscribes at once: nothing between this and the first byte is missed. Raises StatusError."""
        self._store, self._kind, self._form = store, target.kind, form
        self._namespace, self._name = target.namespace, target.name
        query.check_list(watch=True)
        self._selection = Selection.of(target.kind, query)
        self._bookmarks = query.flag("allowWatchBookmarks")
        self._timeout = query.number("timeoutSeconds") or random.randint(1800, 3600)
        self._queue: deque[bytes] = deque()
        self._bytes, self._allowed = 0, QUEUE_BYTES  # in the queue
        self._pumping: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._ended = False
        self._columns_sent = False
        self._begin(query)
        self._allowed = self._bytes + QUEUE_BYTES  # what there was to begin with is no lag
        self._cancel: Callable[[], None] = store.subscribe(self._kind.home.qualified, self._told)

    def _begin(self, query: Query) -> None:
        text, initial = query.text("resourceVersion"), query.flag("sendInitialEvents")
        revision = parse_revision(text, self._store.revision)
        if initial or revision == 0:
            for stored in self._store.list(self._kind.home.qualified, self._namespace or None):
                if self._name in ("", stored.name) and (version := shown(self._kind, stored)) in self._selection:
                    self._push("ADDED", version)
            if initial and self._bookmarks:
                self._bookmark({INITIAL_END: "true"})
            return
        try:
            for event in self._store.since(self._kind.home.qualified, revision):
                self._told(event)
        except Expired as error:
            gone = StatusError(410, "Expired", str(error))
            self._put(line("ERROR", answers.encode(gone.to_status())))
            self._ended = True

    def _told(self, event: Event) -> None:
        if (self._namespace and event.new.namespace != self._namespace) or self._ended:
            return
        if self._name not in ("", event.new.name):
            return
        new = shown(self._kind, event.new)
        before = event.old is not None and shown(self._kind, event.old) in self._selection
        now = event.type != "DELETED" and new in self._selection
        if now:
            self._push("MODIFIED" if before else "ADDED", new)
        elif before:
            self._push("DELETED", shown(self._kind, _last_seen(event)))
        if len(self._queue) > QUEUE_LIMIT or self._bytes > self._allowed:
            self._cut_off()

    def _cut_off(self) -> None:
        """The client does not read: whatever it would still be told it does not wait for either."""
        self._ended = True
        self._queue.clear()
        self._bytes = 0
        if self._pumping:
            self._pumping.cancel()

    def _put(self, text: bytes) -> None:
        self._queue.append(text)
        self._bytes += len(text)
        self._wake.set()

    def _push(self, kind: str, version: Version) -> None:
        shared = not self._form.shape and self._kind.home is self._kind and len(version.body) <= SHARED
        self._put(_shared_line(kind, version) if shared else line(kind, self._shown(version)))

    def _shown(self, version: Version) -> bytes:
        if self._form.shape != "Table":
            return answers.one(self._kind, version, self._form)
        table = answers.table(self._kind, [version], self._form, {"resourceVersion": version.revision})
        if self._columns_sent:
            table["columnDefinitions"] = None
        self._columns_sent = True
        return answers.encode(table)

    def _bookmark(self, annotations: dict[str, str] | None = None) -> None:
        meta: Json = {"resourceVersion": str(self._store.revision), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        empty: Json = {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": meta}
        if self._form.shape == "Table":
            empty = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "rows": []}
        self._put(line("BOOKMARK", answers.encode(empty)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        gone = loop.create_task(self._disconnected(receive))
        deadline = loop.call_later(self._timeout, self._end)
        try:
            headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-cache, private")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            self._pumping = loop.create_task(self._pump(send, gone))
            await asyncio.wait([self._pumping])
            if not self._pumping.cancelled():  # else the answer ends in the middle, and with it the connection
                self._pumping.result()
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            deadline.cancel()
            gone.cancel()
            self._cancel()
            if self._pumping:
                self._pumping.cancel()

    async def _pump(self, send: Send, gone: asyncio.Task[None]) -> None:
        while not gone.done():
            if self._queue:
                message: Message = {"type": "http.response.body", "body": self._next(), "more_body": True}
                await send(message)
                continue
            if self._ended:
                return
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), BOOKMARK_SECONDS if self._bookmarks else None)
            except TimeoutError:
                self._bookmark()

    def _next(self) -> bytes:
        """What is sent at once, out of the queue."""
        taken: list[bytes] = []
        size = 0
        while self._queue and len(taken) < CHUNK and size < CHUNK_BYTES:
            taken.append(self._queue.popleft())
            size += len(taken[-1])
        self._bytes -= size
        return b"".join(taken)

    def _end(self) -> None:
        if self._bookmarks:
            self._bookmark()
        self._ended = True
        self._wake.set()
        if self._pumping:
            asyncio.get_running_loop().call_later(GOODBYE, self._pumping.cancel)

    async def _disconnected(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._wake.set()


def parse_revision(text: str, revision: int) -> int:
    """No revision and 0 mean "anything, beginning with what is there". Raises StatusError 500, 504 as a real server."""
    from .resources import from_the_future, not_a_number

    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise StatusError(500, "", f"resourceVersion: {not_a_number(text)}")
    if int(text) > revision:
        raise from_the_future(text, revision)
    return int(text)


@lru_cache(maxsize=1)  # its watchers are told one after the other
def _last_seen(event: Event) -> Version:
    """The object before a change, at the revision of that change: what those are shown for whom it is gone."""
    if event.type == "DELETED" or event.old is None:
        return event.new
    old = event.old
    tree = {**old.tree, "metadata": {**old.tree["metadata"], "resourceVersion": event.new.revision}}
    return Version(old.resource, old.namespace, old.name, tree, answers.encode(tree))


@lru_cache(maxsize=256)
def _shared_line(kind: str, version: Version) -> bytes:
    """The bytes that all watchers of one event send."""
    return line(kind, version.body)


def line(kind: str, body: bytes) -> bytes:
    """One event of the stream: `kind` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, `body` JSON."""
    return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"


def is_watch(request: Request, query: Query) -> bool:
    """Whether a request asks for a stream of changes."""
    return request.method == "GET" and query.flag("watch")


__all__ = ["Kind", "Watcher", "is_watch"]
