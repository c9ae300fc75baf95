"""The one background thread of a kernel: an asyncio loop for all watches. Starts with the first, ends with the last.

Jupyter's own loop is busy while a cell runs; a picture must go on following the cluster meanwhile. Nothing here prints.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

NAME = "minik8s-notebook"


class Closable(Protocol):
    """What has a watch or a thread."""

    def close(self) -> None:
        """End it; may be called twice."""


class Background:
    """Runs coroutines on the thread. `start` and `Job.cancel` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: set[Job] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Job:
        """Run `work()` until it ends or is cancelled."""
        job = Job(self, work)
        with self._lock:
            self._jobs.add(job)
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(self._loop,), name=NAME, daemon=True).start()
            self._loop.call_soon_threadsafe(job.begin, self._loop)
        return job

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Call a quick function on the thread, if there is one."""
        with self._lock:
            if self._loop:
                self._loop.call_soon_threadsafe(function, *args)

    def ended(self, job: Job) -> None:
        """Called on the thread. The last job takes the thread with it."""
        with self._lock:
            self._jobs.discard(job)
            if not self._jobs and self._loop:
                self._loop.stop()
                self._loop = None


class Job:
    """One coroutine on the background thread."""

    def __init__(self, home: Background, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._home, self._work = home, work
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the thread."""
        if self._cancelled:
            self._home.ended(self)
            return
        self._task = loop.create_task(self._work())
        self._task.add_done_callback(lambda _: self._home.ended(self))

    def cancel(self) -> None:
        """End it, soon."""

        def on_thread() -> None:
            self._cancelled = True
            if self._task:
                self._task.cancel()

        self._home.post(on_thread)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(_wind_up())
    finally:
        loop.close()


async def _wind_up() -> None:
    """Connections that were being opened come to their end, and transports that are closing get their last turns."""
    if left := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(left, timeout=1)
    for _ in range(3):
        await asyncio.sleep(0)


background = Background()
_open: weakref.WeakSet[Any] = weakref.WeakSet()


def remember(thing: Closable) -> None:
    """So that `close_all` finds it. Holds it weakly."""
    _open.add(thing)


@atexit.register
def close_all() -> None:
    """End every watch of this process."""
    for thing in list(_open):
        thing.close()
