"""Events are forgotten an hour after they were last said, as the API server's --event-ttl has it.

In Kubernetes: a lease in etcd. https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any

from lightkube.resources.core_v1 import Event

from ..api.errors import StatusError, is_not_found
from ..store.client import Change, Client
from .common import epoch

TTL, PERIOD = 3600.0, 30.0  # seconds
Key = tuple[str, str]  # namespace, name


class EventExpiry:
    """`run` until cancelled. Work is proportional to what expires: events are kept in the order of their last word."""

    def __init__(self, client: Client, *, ttl: float = TTL, period: float = PERIOD) -> None:
        self.client, self.ttl, self.period = client, ttl, period
        self._said: OrderedDict[Key, float] = OrderedDict()

    async def run(self) -> None:
        """Until cancelled."""
        found = self.client.list(Event)
        for event in sorted(found, key=_last_said):
            self._said[_key(event)] = _last_said(event)
        end = self.client.watch(Event, self._on_event)
        try:
            while True:
                self.sweep(time.time())
                await asyncio.sleep(self.period)
        finally:
            end()

    def sweep(self, now: float) -> None:
        """Delete what was last said longer than the time to live ago."""
        while self._said:
            key, said = next(iter(self._said.items()))
            if now - said < self.ttl:
                return
            del self._said[key]
            try:
                self.client.delete(Event, key[1], key[0])
            except StatusError as error:
                if not is_not_found(error):
                    raise

    def _on_event(self, change: Change[Event]) -> None:
        key = _key(change.new)
        if change.type == "DELETED":
            self._said.pop(key, None)
        elif change.type == "MODIFIED" or key not in self._said:
            self._said[key] = time.time()
            self._said.move_to_end(key)


def _key(event: Any) -> Key:
    return event.metadata.namespace or "", event.metadata.name or ""


def _last_said(event: Any) -> float:
    return epoch(event.lastTimestamp) or epoch(event.metadata.creationTimestamp)
