"""A trace as a moving packet: forwards, back, step by step, with each rule's text."""

from __future__ import annotations

from ...observe.trace.model import Trace
from .base import Face


class Replay(Face):
    """`Replay(cluster.trace("client", "http://web"))`. All of it is in the browser: it works without a cluster too."""

    VIEW = "replay"

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        super().__init__(trace=trace.to_dict())

    def text(self) -> str:
        """As `minik8s trace` prints it."""
        return str(self._trace)
