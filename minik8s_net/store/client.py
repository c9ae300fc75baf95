"""The small client interface through which every component of the controller process talks to the cluster's objects.

Kinds are lightkube resource classes (`from lightkube.resources.core_v1 import Pod`), so reads are typed. What is
returned is shared and must not be changed: write a new object or a patch instead. Calls are synchronous and atomic
towards the event loop (memory, plus one SQLite write of about 0.3 ms): no `await`, no race. Writes pass defaulting,
validation, allocation and optimistic concurrency exactly as requests over HTTPS do. Call from the event loop's thread.

All raise `api.errors.StatusError`, with Kubernetes' code and reason (NotFound, Conflict, AlreadyExists, Invalid).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from lightkube.core.resource import Resource

Json = dict[str, Any]
R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, slots=True)
class Change(Generic[R]):
    """One committed change. `old` is the object before (None for ADDED); for DELETED `new` is its last state."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    new: R
    old: R | None = None


class Client(Protocol):
    """Reads are typed (`Pod`), writes are JSON trees as in a manifest (a typed object's `.to_dict()` will do)."""

    def get(self, kind: type[R], name: str, namespace: str | None = None) -> R:
        """The object. Raises StatusError NotFound."""

    def find(self, kind: type[R], name: str, namespace: str | None = None) -> R | None:
        """As `get`, but None where there is none."""

    def list(self, kind: type[R], namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[R]:
        """All (or one namespace's) objects, with all of `labels`, ordered by namespace and name."""

    def create(self, kind: type[R], obj: Json) -> R:
        """The object as stored. Raises StatusError."""

    def replace(self, kind: type[R], obj: Json, *, subresource: str | None = None) -> R:
        """Conflict if obj's metadata.resourceVersion is given and stale."""

    def patch(
        self, kind: type[R], name: str, patch: Json, namespace: str | None = None, *, subresource: str | None = None
    ) -> R:
        """JSON merge patch (RFC 7386); `subresource="status"` for status. One that changes nothing writes nothing."""

    def delete(
        self,
        kind: type[R],
        name: str,
        namespace: str | None = None,
        *,
        grace_seconds: int | None = None,
        uid: str | None = None,
    ) -> None:
        """Kubernetes' deletion: finalizers and pods' grace first set deletionTimestamp (0 = remove a pod at once)."""

    def watch(self, kind: type[R], handler: Callable[[Change[R]], None]) -> Callable[[], None]:
        """Call `handler` at once with ADDED for all that exists, then with every change in order of commit.

        The handler runs synchronously inside the commit: it only marks keys (`Reconciler.mark`) or updates an index.
        Returns the function that ends the watch.
        """
