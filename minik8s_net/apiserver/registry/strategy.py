"""What is special about a kind on its way into the store: state, admission and allocation (pure rules are in `api`).

In Kubernetes: a registry's strategy plus the admission plugins switched on by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...api.errors import FieldError

if TYPE_CHECKING:
    from .registry import Registry

Json = dict[str, Any]


class Strategy:
    """The common case. One instance per kind and registry; every hook may change the new tree in place."""

    returns_object = False  # a finished DELETE answers with the object instead of a Status
    status_keeps: tuple[str, ...] = ()  # metadata that a write of the status leaves alone

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def admit_create(self, new: Json) -> None:
        """Before defaulting and validation. Raises StatusError to refuse."""

    def prepare_create(self, new: Json) -> None:
        """After defaulting: what the system sets."""

    def prepare_update(self, new: Json, old: Json) -> None:
        """After defaulting: keep from `old` what a client may leave out."""

    def prepare_status(self, new: Json, old: Json) -> None:
        """A write of the status subresource: everything but status is `old`'s already."""

    def allocate(self, new: Json, old: Json | None) -> list[FieldError]:
        """After validation: take what is unique in the cluster."""
        return []

    def release(self, gone: Json, kept: Json | None = None) -> None:
        """Give back what was allocated to `gone`, but for what `kept`, the object as it stays stored, has."""

    def grace(self, obj: Json, asked: int | None) -> int:
        """Seconds between the request to delete and the end; 0 deletes at once."""
        return 0

    def admit_delete(self, obj: Json) -> None:
        """Raises StatusError to refuse a deletion."""

    def begin_delete(self, new: Json) -> None:
        """What else changes when a deletion begins."""
