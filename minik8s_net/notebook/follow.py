"""A picture of some kinds, kept equal to the API's by list and watch, on the background thread.

Changes are told together, at most RATE times a second, however many there are: a drawing has nothing from more.
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import h11

from ..api.errors import StatusError
from ..client.kubeconfig import Connection
from .background import background

Json = dict[str, Any]
RATE = 10.0  # tellings a second, at most
PATIENCE = 10.0  # seconds for an answer to begin
RETRY = 1.0  # seconds between attempts while the cluster does not answer


class Follower:
    """Follows `paths` until closed. `changed(objects)` gets {path: [object, …]}, `silent(why)` a cluster that is gone.

    Both are called on the background thread and must be quick.
    """

    def __init__(
        self,
        connection: Connection,
        paths: tuple[str, ...],
        changed: Callable[[dict[str, list[Json]]], None],
        silent: Callable[[str], None],
    ) -> None:
        self._connection, self._changed, self._silent = connection, changed, silent
        self._known: dict[str, dict[tuple[str, str], Json]] = {path: {} for path in paths}
        self._synced: set[str] = set()
        self._job = background.start(self._run)

    def close(self) -> None:
        """End the watches. May be called twice, from any thread."""
        self._job.cancel()

    async def _run(self) -> None:
        self._dirty = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for path in self._known:
                group.create_task(self._follow(path))
            while True:
                await self._dirty.wait()
                await asyncio.sleep(0.005)  # what belongs together comes together
                self._dirty.clear()
                if len(self._synced) == len(self._known):
                    self._changed({path: list(objects.values()) for path, objects in self._known.items()})
                await asyncio.sleep(1 / RATE)

    async def _follow(self, path: str) -> None:
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list(path)
                version = await self._watch(path, version)
            except StatusError as error:
                if error.code == 410:  # our version is forgotten: look anew
                    version = ""
                    continue
                version = await self._pause(str(error))
            except (OSError, EOFError, ValueError, h11.ProtocolError) as error:
                version = await self._pause(str(error) or type(error).__name__)

    async def _pause(self, why: str) -> str:
        self._silent(why)
        await asyncio.sleep(RETRY)
        return ""

    async def _list(self, path: str) -> str:
        body = b"".join([piece async for piece in self._get(path)])
        answer = json.loads(body)
        self._known[path] = {_key(obj): _lean(obj) for obj in answer.get("items") or ()}
        self._synced.add(path)
        self._dirty.set()
        return str(answer["metadata"]["resourceVersion"])

    async def _watch(self, path: str, version: str) -> str:
        rest = b""
        async for piece in self._get(f"{path}?watch=true&allowWatchBookmarks=true&resourceVersion={version}"):
            *lines, rest = (rest + piece).split(b"\n")
            for line in filter(None, lines):
                event = json.loads(line)
                obj = event["object"]
                if event["type"] == "ERROR":
                    raise StatusError(obj.get("code", 0), obj.get("reason", ""), obj.get("message", ""))
                version = obj["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._keep(self._known[path], obj, event["type"] == "DELETED")
        return version

    def _keep(self, known: dict[tuple[str, str], Json], obj: Json, deleted: bool) -> None:
        if deleted:
            known.pop(_key(obj), None)
        else:
            known[_key(obj)] = _lean(obj)
        self._dirty.set()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection. If cancelled meanwhile it is opened all the same, then ended: asyncio (3.11) would lose it."""
        to = self._connection
        opening = asyncio.create_task(asyncio.open_connection(to.host, to.port, ssl=to.tls))
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(opening)
        except BaseException:
            opening.add_done_callback(_end)
            raise

    async def _get(self, path: str) -> AsyncIterator[bytes]:
        """The pieces of an answer's body, as they come. Raises StatusError for a refusal."""
        to = self._connection
        reader, writer = await self._open()
        try:
            http = h11.Connection(h11.CLIENT)
            headers = [("Host", to.host), ("Accept", "application/json"), ("User-Agent", "minik8s-notebook")]
            if to.token:
                headers.append(("Authorization", f"Bearer {to.token}"))
            request = h11.Request(method="GET", target=to.prefix + path, headers=headers)
            writer.write((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(await reader.read(65536))
                elif isinstance(event, h11.Response) and event.status_code != 200:
                    raise StatusError(event.status_code, "", f"the API server answers {event.status_code} to {path}")
                elif isinstance(event, h11.Data):
                    yield bytes(event.data)
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    return
        finally:
            writer.transport.abort()


def _end(opened: asyncio.Task[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    if not opened.exception():
        opened.result()[1].transport.abort()


def _key(obj: Json) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _lean(obj: Json) -> Json:
    """Without what no picture shows."""
    obj["metadata"].pop("managedFields", None)
    return obj
