"""Events: what `kubectl describe` and `kubectl events` tell of an object's life (core/v1 Event).

The same event said again raises `count` and `lastTimestamp` of the one stored, as client-go's correlator does.
https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

from lightkube.core.resource import Resource
from lightkube.resources.core_v1 import Event

from ..api.errors import StatusError, is_not_found
from .client import Client

log = logging.getLogger(__name__)
REMEMBERED = 4096  # events that can still be counted up, per recorder


def timestamp(moment: float | None = None) -> str:
    """metav1.Time: RFC 3339, UTC, to the second. `moment` is seconds since the epoch (default: now)."""
    return datetime.fromtimestamp(time.time() if moment is None else moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp() -> str:
    """metav1.MicroTime: six digits of a second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class EventRecorder:
    """Writes Events about objects on behalf of `component` (and, for a kubelet, `host`)."""

    def __init__(self, client: Client, component: str, host: str = "") -> None:
        self.client, self.component, self.host = client, component, host
        self._known: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()

    def normal(self, about: Resource, reason: str, message: str, field_path: str = "") -> None:
        """Something that should be so has happened to `about`."""
        self._record(about, "Normal", reason, message, field_path)

    def warning(self, about: Resource, reason: str, message: str, field_path: str = "") -> None:
        """Something is wrong with `about`."""
        self._record(about, "Warning", reason, message, field_path)

    def _record(self, about: Any, kind: str, reason: str, message: str, field_path: str) -> None:
        """An event that can't be written (its namespace is going) is no reason to fail what it tells of."""
        message = message[:1024]
        key = (about.metadata.uid or "", field_path, kind, reason, message)
        namespace = about.metadata.namespace or "default"
        name, count = self._known.pop(key, ("", 0))
        try:
            if not count or not self._count_up(name, namespace, count + 1):
                name, count = self._create(about, namespace, kind, reason, message, field_path), 0
        except StatusError as error:
            log.debug("event %s about %s: %s", reason, about.metadata.name, error)
            return
        self._known[key] = (name, count + 1)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _count_up(self, name: str, namespace: str, count: int) -> bool:
        try:
            self.client.patch(Event, name, {"count": count, "lastTimestamp": timestamp()}, namespace)
        except StatusError as error:
            if is_not_found(error):
                return False
            raise
        return True

    def _create(self, about: Any, namespace: str, kind: str, reason: str, message: str, field_path: str) -> str:
        meta, now = about.metadata, timestamp()
        info = type(about)._api_info.resource
        involved = {
            "apiVersion": info.api_version,
            "kind": info.kind,
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resourceVersion,
        }
        if meta.namespace:
            involved["namespace"] = meta.namespace
        if field_path:
            involved["fieldPath"] = field_path
        source = {"component": self.component, **({"host": self.host} if self.host else {})}
        name = f"{meta.name[:220]}.{time.time_ns():x}"
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {k: v for k, v in involved.items() if v},
            "reason": reason,
            "message": message,
            "source": source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": kind,
            "reportingComponent": self.component,
            "reportingInstance": self.host,
        }
        self.client.create(Event, event)
        return name
