"""Who reaches whom, as a clickable heat map: what policies say (before) and what was measured (after)."""

from __future__ import annotations

from typing import Any

from ...cluster import Cluster
from ..reaching import World, as_text, measure
from .base import Face, Json, twin


class Matrix(Face):
    """`Matrix(cluster, port=8080)` measures at once; `measure=False` shows what policies say. A click tells why."""

    VIEW = "matrix"

    def __init__(
        self, cluster: Cluster, port: int = 8080, protocol: str = "TCP", namespace: str | None = None,
        *, measure: bool = True,
    ) -> None:  # fmt: skip
        self._cluster, self._namespace, self._protocol = cluster, namespace, protocol
        self._world = World.of(twin(cluster), namespace)
        super().__init__(**self._view(port, measure))

    def measure(self, port: int | None = None) -> None:
        """Look again, and measure."""
        self.on_measure({"port": port or self.state["port"]})

    @property
    def cells(self) -> dict[str, Json]:
        """ "source|target" -> expected (by policy), measured, reached."""
        return dict(self.state["cells"])

    def text(self) -> str:
        """A table of ✓ and ·."""
        return as_text(self.state)

    def on_measure(self, asked: Json) -> Json:
        """The button."""
        self._world = World.of(twin(self._cluster), self._namespace)
        self.state = self._view(int(asked["port"]), True)
        return {}

    def on_why(self, asked: Json) -> Json:
        """A cell."""
        source, target = str(asked["source"]), str(asked["target"])
        cell = self.state["cells"].get(f"{source}|{target}", {})
        measured = f"measured: {cell['measured']}\n" if cell.get("measured") else ""
        return {"text": measured + self._world.why(source, target, self.state["port"], self._protocol)}

    def _view(self, port: int, measured: bool) -> Json:
        cells = self._world.predicted(port, self._protocol)
        summary = f"{len(cells)} pairs as the policies say; nothing measured yet"
        if measured:
            summary = measure(twin(self._cluster), self._world, cells, port, self._protocol)
        common: dict[str, Any] = {"pods": self._world.names, "port": port, "protocol": self._protocol}
        return {**common, "cells": cells, "summary": summary}
