"""Who is looking at a widget. A closed browser says no good-bye: who is silent for long is gone.

A view says every 5 s that it is there. While a cell runs, the kernel's loop hears nobody, so that time does not count:
silence is measured only in beats in which the loop has turned.
"""

from __future__ import annotations

import asyncio

BEAT = 5.0  # seconds
SILENT_BEATS = 4  # of a view that is then taken for gone


class Audience:
    """Views by their id. Made on the kernel's own thread, whose loop it listens to."""

    def __init__(self) -> None:
        self._silent: dict[str, int] = {}
        self._turned = True
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # no notebook: then nothing keeps us from hearing
            self._loop = None

    def __bool__(self) -> bool:
        return bool(self._silent)

    def __contains__(self, view: str) -> bool:
        return view in self._silent

    def here(self, view: str) -> None:
        """It came, or it is still there."""
        self._silent[view] = 0

    def bye(self, view: str) -> None:
        """It went."""
        self._silent.pop(view, None)

    def beat(self) -> bool:
        """To be called every BEAT seconds. Whether anybody is still looking."""
        if self._turned:
            self._silent = {view: n + 1 for view, n in self._silent.items() if n < SILENT_BEATS}
        if self._loop and not self._loop.is_closed():
            self._turned = False
            self._loop.call_soon_threadsafe(self._turn)
        return bool(self)

    def _turn(self) -> None:
        self._turned = True
