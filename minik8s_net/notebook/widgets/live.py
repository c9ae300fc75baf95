"""The topology that follows the cluster. Pods appear, turn ready, vanish; a click looks into a pod or node.

Python draws (observe.topology), the browser shows: each tick sends the lines of the SVG that changed, with a number in
sequence; a browser that missed one asks for the whole. Nobody looking means no watch: see audience.py.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from ...cluster import Cluster
from ...observe.topology import PATHS, assemble, topology
from .. import audience, look
from ..background import Job, background
from ..follow import Follower
from ..linediff import hunks
from .base import Face, Json, twin


class Live(Face):
    """`Live(cluster)`: put it last in a cell. `close()` ends it for good; so does the end of the kernel."""

    VIEW = "live"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.RLock()
        self._follower: Follower | None = None
        self._attending: Job | None = None
        self._audience = audience.Audience()
        self._number = 0
        self._lines: list[str] = []
        self._text = ""
        self.sent = 0
        """Messages sent, for measurement."""
        self.sent_bytes = 0
        picture = topology(twin(cluster).api, cluster.name)
        self._lines, self._text = picture.svg().split("\n"), str(picture)
        super().__init__(lines=self._lines, number=0, tabs=look.TABS, cluster=picture.cluster)

    @property
    def following(self) -> bool:
        """Whether a watch is open."""
        return self._follower is not None

    def close(self) -> None:
        """No view, no watch, no thread."""
        self._stop()
        super().close()

    def text(self) -> str:
        """The picture as text, as it is now."""
        return self._text

    # -- what the browser asks ---------------------------------------------------------------------------------------
    def on_hello(self, asked: Json) -> Json:
        """A view opened, or lost count."""
        with self._lock:
            self._audience.here(str(asked.get("id")))
            if not self._follower:
                self._follower = Follower(self._cluster.api.connection, PATHS, self._changed, self._silent)
                self._attending = background.start(self._attend)
            return {"lines": self._lines, "number": self._number}

    def on_here(self, asked: Json) -> None:
        """A view is still open."""
        if str(asked.get("id")) not in self._audience:
            self.tell(answer="hello", **self.on_hello(asked))
        self._audience.here(str(asked.get("id")))

    def on_bye(self, asked: Json) -> None:
        """A view closed."""
        self._audience.bye(str(asked.get("id")))
        if not self._audience:
            self._stop()

    def on_look(self, asked: Json) -> Json:
        """One tab of a pod, node or Service."""
        where, tab = str(asked["at"]), str(asked["tab"])
        return {"at": where, "tab": tab, "text": look.look(twin(self._cluster), where, tab)}

    # -- what the cluster tells, on the background thread --------------------------------------------------
    def _changed(self, objects: dict[str, list[Json]]) -> None:
        picture = assemble(self._cluster.name or self._cluster.api.connection.host, *(objects[p] for p in PATHS))
        lines = picture.svg().split("\n")
        with self._lock:
            changes = hunks(self._lines, lines)
            if changes:
                self._lines, self._text = lines, str(picture)
                self._number += 1
                self._announce(number=self._number, hunks=changes)

    async def _attend(self) -> None:
        while True:
            await asyncio.sleep(audience.BEAT)
            with self._lock:
                if not self._audience.beat():
                    self._stop()

    def _silent(self, why: str) -> None:
        self._announce(down=f"the cluster does not answer ({why}); trying again")

    def _announce(self, **message: Any) -> None:
        self.sent += 1
        self.sent_bytes += sum(len(line) for _, _, put in message.get("hunks", ()) for line in put)
        self.tell(**message)

    def _stop(self) -> None:
        with self._lock:
            follower, self._follower = self._follower, None
            attending, self._attending = self._attending, None
        if follower:
            follower.close()
        if attending:
            attending.cancel()
