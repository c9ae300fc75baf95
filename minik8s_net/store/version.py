"""One version of one object: its JSON tree, its bytes, and (decoded once, when asked for) its typed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from lightkube.core.resource import Resource

Json = dict[str, Any]
R = TypeVar("R", bound=Resource)


class Version:
    """Immutable by agreement: everybody shares `tree`, `body` and the typed object."""

    __slots__ = ("_typed", "body", "name", "namespace", "resource", "tree")

    def __init__(self, resource: str, namespace: str, name: str, tree: Json, body: bytes) -> None:
        self.resource, self.namespace, self.name = resource, namespace, name
        self.tree, self.body = tree, body
        self._typed: Resource | None = None

    @property
    def revision(self) -> str:
        """metadata.resourceVersion; "" for what a dry run would have created."""
        return cast(str, self.tree["metadata"].get("resourceVersion", ""))

    @property
    def labels(self) -> dict[str, str]:
        """metadata.labels; shared, read only."""
        return cast(dict[str, str], self.tree["metadata"].get("labels") or {})

    def typed(self, kind: type[R]) -> R:
        """The object as a lightkube resource (14 µs, once per version)."""
        if type(self._typed) is not kind:
            self._typed = kind.from_dict(self.tree)  # type: ignore[attr-defined]
        return cast(R, self._typed)

    def __repr__(self) -> str:
        return f"<{self.resource} {self.namespace}/{self.name} @{self.revision}>"


@dataclass(frozen=True, slots=True)
class Event:
    """One commit. `old` is None for ADDED; for DELETED `new` is the last state, at its deletion."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    revision: int
    new: Version
    old: Version | None
