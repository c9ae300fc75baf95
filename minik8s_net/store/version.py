"""One version of one object: its JSON tree, its bytes, and (decoded once, when asked for) its typed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import msgspec
from lightkube.core.resource import Resource

Json = dict[str, Any]
R = TypeVar("R", bound=Resource)


class Version:
    """Immutable by agreement: everybody shares `tree`, `body` and the typed object.

    A version that has been replaced keeps its bytes only (`rest`). Watches resume from thousands of those; as trees
    they would be millions of objects, and one look of Python's garbage collector at them takes a third of a second.
    """

    __slots__ = ("_tree", "_typed", "body", "name", "namespace", "resource")

    def __init__(self, resource: str, namespace: str, name: str, tree: Json, body: bytes) -> None:
        self.resource, self.namespace, self.name = resource, namespace, name
        self.body = body
        self._tree: Json | None = tree
        self._typed: Resource | None = None

    @property
    def tree(self) -> Json:
        """The object as JSON values; shared, read only."""
        return cast(Json, msgspec.json.decode(self.body)) if self._tree is None else self._tree

    def rest(self) -> None:
        """Let go of all but the bytes; whoever asks for more has it decoded anew."""
        self._tree = self._typed = None

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
        if type(self._typed) is kind:
            return self._typed
        typed: R = kind.from_dict(self.tree)  # type: ignore[attr-defined]
        if self._tree is not None:
            self._typed = typed
        return typed

    def __repr__(self) -> str:
        return f"<{self.resource} {self.namespace}/{self.name} @{self.revision}>"


@dataclass(frozen=True, slots=True)
class Event:
    """One commit. `old` is None for ADDED; for DELETED `new` is the last state, at its deletion."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    revision: int
    new: Version
    old: Version | None
