"""The pods of an owner: found by uid, created and deleted with the events that tell of it.

https://kubernetes.io/docs/concepts/workloads/controllers/
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from lightkube.resources.core_v1 import Pod

from ..api.errors import StatusError, is_not_found
from ..store.client import Change, Client, Json
from ..store.events import EventRecorder
from .common import Object, controller_of, random_suffix, ref

log = logging.getLogger(__name__)
Key = tuple[str, str]  # namespace, name


class Children:
    """An index of the objects of `kind` by their controller's uid; `mark(key)` is called for each owner concerned."""

    def __init__(self, client: Client, kind: type[Any], owner_kind: str, mark: Callable[[Key], None]) -> None:
        self.client, self.kind, self.owner_kind, self._mark = client, kind, owner_kind, mark
        self._by_owner: dict[str, dict[str, Any]] = {}

    def watch(self) -> Callable[[], None]:
        """Follow the children; a change marks their owner."""
        return self.client.watch(self.kind, self._on_change)

    def of(self, owner: Object) -> list[Any]:
        """The children of `owner`, oldest first."""
        found = self._by_owner.get(owner.metadata.uid or "", {}).values()
        return sorted(found, key=lambda o: (o.metadata.creationTimestamp, o.metadata.name))

    def _on_change(self, change: Change[Any]) -> None:
        for obj, here in ((change.old, False), (change.new, change.type != "DELETED")):
            owner = controller_of(obj) if obj is not None else None
            if obj is None or owner is None or owner.kind != self.owner_kind:
                continue
            mine = self._by_owner.setdefault(owner.uid, {})
            if here:
                mine[obj.metadata.uid] = obj
            else:
                mine.pop(obj.metadata.uid, None)
                if not mine:
                    del self._by_owner[owner.uid]
            self._mark((obj.metadata.namespace or "", owner.name))


def pod_from(template: Json | None, owner: Object, name: str = "", **metadata: Any) -> Json:
    """A pod as the template says, owned by `owner`."""
    template = template or {}
    meta = template.get("metadata") or {}
    labels = {**(meta.get("labels") or {}), **metadata.get("labels", {})}
    tree: Json = {
        "name": name or f"{owner.metadata.name[:57]}-{random_suffix()}",
        "namespace": owner.metadata.namespace,
        "labels": labels,
        "annotations": {**(meta.get("annotations") or {}), **metadata.get("annotations", {})},
        "ownerReferences": [ref(owner)],
    }
    if not name:
        tree["generateName"] = f"{owner.metadata.name[:57]}-"
    if meta.get("finalizers"):
        tree["finalizers"] = meta["finalizers"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": tree, "spec": template.get("spec") or {}}


CREATED, DELETED = "Created pod: {0}", "Deleted pod: {0}"


def create_pod(client: Client, events: EventRecorder, owner: Object, tree: Json, words: str = CREATED) -> Pod | None:
    """None where it was refused (the namespace is going, a policy says no): an event tells why."""
    try:
        pod = client.create(Pod, tree)
    except StatusError as error:
        events.warning(owner, "FailedCreate", f"Error creating: {error.message}")
        if error.code in (403, 409):
            log.debug("%s: %s", owner.metadata.name, error)
            return None
        raise
    events.normal(owner, "SuccessfulCreate", words.format(tree["metadata"]["name"]))
    return pod


def delete_pod(client: Client, events: EventRecorder, owner: Object, pod: Pod, words: str = DELETED) -> None:
    """Delete a pod and say so in an Event of its owner."""
    assert pod.metadata and pod.metadata.name
    try:
        client.delete(Pod, pod.metadata.name, pod.metadata.namespace, uid=pod.metadata.uid)
    except StatusError as error:
        if is_not_found(error) or error.code == 409:
            return
        raise
    events.normal(owner, "SuccessfulDelete", words.format(pod.metadata.name))
