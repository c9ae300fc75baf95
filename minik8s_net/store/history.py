"""The newest events of one resource, from which a watch resumes. In Kubernetes: the watch cache's event window."""

from __future__ import annotations

from collections import deque

from .version import Event


class History:
    """Bounded in events and in bytes; the newest event is always there. What fell out is expired: HTTP 410."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.dropped = 0  # the newest revision that fell out
        self._bytes = 0

    def append(self, event: Event, most: int, most_bytes: int) -> None:
        """Add an event; the oldest go, until there are no more than `most`, of no more than `most_bytes`."""
        self.events.append(event)
        self._bytes += len(event.new.body)
        while len(self.events) > 1 and (len(self.events) > most or self._bytes > most_bytes):
            oldest = self.events.popleft()
            self._bytes -= len(oldest.new.body)
            self.dropped = oldest.revision
