"""What is to stay broken: components paused by a person (kept over restarts), and what injected faults touch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from ..api.errors import bad_request
from .drift import COMPONENTS, Drift

ALL = "all"


class Pauses:
    """`touched` gives the patterns of the faults that are in now: `link fabric node-1`, with `*` as in fnmatch(3)."""

    def __init__(self, path: Path, *, heal: bool, touched: Callable[[], Iterable[str]] = tuple) -> None:
        """`heal` False (`up --no-heal`): a cluster that has never been asked starts with everything paused."""
        self._path, self.touched = path, touched
        try:
            self.paused: set[str] = set(json.loads(path.read_text()))
        except FileNotFoundError:
            self.paused = set() if heal else set(COMPONENTS)

    def pause(self, component: str) -> None:
        """`component` is one of COMPONENTS, or `all`. Raises StatusError."""
        self.set(self.paused | _named(component))

    def resume(self, component: str) -> None:
        """The opposite. What has been broken meanwhile is mended at once."""
        self.set(self.paused - _named(component))

    def set(self, paused: Iterable[str]) -> None:
        """Exactly these; written through."""
        self.paused = set(paused)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(sorted(self.paused)))
        new.replace(self._path)

    def spared(self, drift: Drift) -> bool:
        """Whether this is to stay as it is."""
        if drift.component in self.paused:
            return True
        return any(fnmatchcase(drift.key, pattern) for pattern in self.touched())


def _named(component: str) -> set[str]:
    if component == ALL:
        return set(COMPONENTS)
    if component not in COMPONENTS:
        raise bad_request(f"there is no component {component!r} to pause; there are: {', '.join(COMPONENTS)}, {ALL}")
    return {component}
