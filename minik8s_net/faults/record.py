"""What is broken on purpose now: one JSON file in the cluster's folder, so that it stays so over a restart.

A file, and no object of the API: in a debugging clinic `kubectl get` must not give the answer away.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@dataclass
class Injected:
    """One fault that is in. `saved` is what its mechanism must know to put things back."""

    number: int
    name: str
    """In the catalogue."""
    parameters: Json
    touches: list[str] = field(default_factory=list)
    """Patterns of drift that it makes: these are not healed."""
    saved: Json = field(default_factory=dict)
    hidden: bool = False
    """Of a clinic: listed without its name until it is cleared."""
    seed: int | None = None
    at: str = ""
    """When it was injected (RFC 3339)."""

    def to_dict(self) -> Json:
        """Plain JSON, as faults.json keeps it."""
        return asdict(self)

    def public(self) -> Json:
        """Without what a clinic keeps to itself."""
        shown = {"number": self.number, "name": self.name, "parameters": self.parameters, "at": self.at}
        if self.hidden:
            shown |= {"name": "(hidden)", "parameters": {}}
        return {**shown, "hidden": self.hidden, "seed": self.seed}

    def __str__(self) -> str:
        told = " ".join(f"{key}={value}" for key, value in self.parameters.items())
        return "(hidden)" if self.hidden else f"{self.name} {told}".strip()


class Record:
    """All of them, by number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.injected: dict[int, Injected] = {}
        if path.exists():
            self.injected = {each["number"]: Injected(**each) for each in json.loads(path.read_text())}

    def add(self, fault: Injected) -> None:
        """Keep a fault."""
        self.injected[fault.number] = fault
        self.write()

    def remove(self, number: int) -> None:
        """Forget a fault."""
        self.injected.pop(number, None)
        self.write()

    def next_number(self) -> int:
        """One more than the highest that is in."""
        return max(self.injected, default=0) + 1

    def write(self) -> None:
        """To the disk, whole or not at all."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps([fault.to_dict() for fault in self.injected.values()], indent=1))
        new.replace(self._path)
