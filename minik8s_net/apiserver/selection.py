"""Which objects a list or watch is about: label and field selectors of one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..api import selectors
from ..api.kinds import Kind
from ..store.version import Version
from .target import Query

Json = dict[str, Any]


@dataclass(frozen=True)
class Selection:
    """None stands for everything."""

    labels: selectors.LabelSelection | None
    fields: Callable[[Json], bool] | None

    @classmethod
    def of(cls, kind: Kind, query: Query) -> Selection:
        """Raises StatusError 400 for a selector that cannot be read."""
        labels, fields = query.text("labelSelector"), query.text("fieldSelector")
        return cls(
            selectors.parse_labels(labels) if labels else None,
            selectors.parse_fields(kind, fields) if fields else None,
        )

    def __contains__(self, version: Version) -> bool:
        if self.labels is not None and not self.labels.matches(version.labels):
            return False
        return self.fields is None or self.fields(version.tree)

    def filter(self, versions: Sequence[Version]) -> Sequence[Version]:
        """Those of `versions` that are meant, in their order."""
        if self.labels is None and self.fields is None:
            return versions
        return [version for version in versions if version in self]
