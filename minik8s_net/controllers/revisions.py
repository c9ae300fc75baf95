"""ControllerRevisions: the templates a StatefulSet or DaemonSet has had, for `kubectl rollout history` and `undo`.

A revision's `data` is a strategic merge patch that brings its template back. The same template come back is the same
object, numbered anew, so that the highest number is always the present template.
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/controller-revision-v1/
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from lightkube.resources.apps_v1 import ControllerRevision

from ..api.errors import StatusError, is_not_found
from ..store.client import Client, Json
from .children import Key
from .claims import Claims, take
from .common import controller_of, ref
from .rollout import template_hash

NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", "deprecated.daemonset.template.generation"}


class Revisions:
    """The revisions of all owners of one kind. `hash_label` carries a revision's hash."""

    def __init__(self, client: Client, owners: type[Any], hash_label: str, mark: Callable[[Key], None]) -> None:
        self.client, self.hash_label, self.owners = client, hash_label, owners
        # the label tells a DaemonSet's revisions from those of a StatefulSet with the same selector
        ours: Callable[[Any, Any], bool] = lambda owner, revision: hash_label in (revision.metadata.labels or {})  # noqa: E731
        self._children = Claims(client, ControllerRevision, owners, mark, ours)

    def watch(self) -> Callable[[], None]:
        """Follow the revisions; a change marks their owner."""
        return self._children.watch()

    def of(self, owner: Any) -> list[Any]:
        """Oldest first."""
        return sorted(self._children.of(owner), key=lambda r: r.revision)

    def named(self, owner: Any, name: str) -> Any:
        """The revision of that name, None if there is none."""
        return next((r for r in self.of(owner) if r.metadata.name == name), None)

    def present(self, owner: Any) -> Any:
        """The revision of the owner's template, made or numbered anew where that is needed; orphans are adopted."""
        self._children.claim(owner)
        known, data = self.of(owner), patch_of(owner)
        newest = known[-1].revision if known else 0
        same = next((r for r in reversed(known) if r.data == data), None)
        if same is None:
            return self._create(owner, data, newest + 1)
        if same.revision < newest:
            name, namespace = same.metadata.name, same.metadata.namespace
            return self.client.patch(ControllerRevision, name, {"revision": newest + 1}, namespace)
        return same

    def forget(self, owner: Any, used: Collection[str]) -> None:
        """Drop what is beyond the history limit: never a revision of those named `used`."""
        limit = 10 if owner.spec.revisionHistoryLimit is None else int(owner.spec.revisionHistoryLimit)
        idle = [r for r in self.of(owner) if r.metadata.name not in used]
        for old in idle[: max(0, len(idle) - limit)]:
            try:
                self.client.delete(ControllerRevision, old.metadata.name, old.metadata.namespace)
            except StatusError as error:
                if not is_not_found(error):
                    raise

    def _create(self, owner: Any, data: Json, number: int) -> Any:
        """A revision under a name made of its template's hash.

        Where that name is taken: by the same template, left behind by an owner of our name, it becomes ours; by
        another one, the collision is counted in the owner's status, and the count makes another hash.
        """
        collisions = (owner.status and owner.status.collisionCount) or 0
        while True:
            tree = self._tree(owner, data, number, collisions)
            try:
                return self.client.create(ControllerRevision, tree)
            except StatusError as error:
                there: Any = self.client.find(ControllerRevision, tree["metadata"]["name"], owner.metadata.namespace)
                if error.reason != "AlreadyExists" or there is None:
                    raise
            if there.data == data and self._is_left_to(owner, there):
                take(self.client, ControllerRevision, owner, there)
                return self.present(owner)
            collisions += 1
            patch = {"status": {"collisionCount": collisions}}
            self.client.patch(self.owners, owner.metadata.name, patch, owner.metadata.namespace, subresource="status")

    def _tree(self, owner: Any, data: Json, number: int, collisions: int) -> Json:
        template = owner.spec.template.to_dict()
        digest = template_hash({"template": template, **({"collisions": collisions} if collisions else {})})
        labels = {**((template.get("metadata") or {}).get("labels") or {}), self.hash_label: digest}
        notes = {k: v for k, v in (owner.metadata.annotations or {}).items() if k not in NOT_COPIED}
        meta: Json = {"name": f"{owner.metadata.name}-{digest}", "namespace": owner.metadata.namespace}
        meta |= {"labels": labels, "ownerReferences": [ref(owner)], **({"annotations": notes} if notes else {})}
        tree = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": meta}
        return {**tree, "data": data, "revision": number}

    def _is_left_to(self, owner: Any, revision: Any) -> bool:
        """An orphan's, or of one that had our name (it is gone: two cannot have the same)."""
        before = controller_of(revision)
        return before is None or (before.kind == self.owners.__name__ and before.name == owner.metadata.name)


def patch_of(owner: Any) -> Json:
    """What brings the owner's present template back."""
    return {"spec": {"template": {**owner.spec.template.to_dict(), "$patch": "replace"}}}


def template_of(revision: Any) -> Json:
    """The pod template kept in a ControllerRevision."""
    template: Json = revision.data["spec"]["template"]
    return {key: value for key, value in template.items() if key != "$patch"}
