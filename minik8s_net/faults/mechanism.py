"""What every way to break something has to be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from .catalogue import Json
from .record import Injected

if TYPE_CHECKING:
    from ..boot.live import Live


class Mechanism(ABC):
    """Breaks one kind of thing. Where undoing is "as our components wrote it", healing what it touches does it."""

    def touches(self, live: Live, parameters: Json) -> list[str]:
        """Patterns of the drift it makes (`healing.drift.Drift.key`)."""
        return []

    @abstractmethod
    async def make(self, live: Live, fault: Injected) -> None:
        """Break it; does nothing where it is broken already. May note in `fault.saved` what `undo` must know.

        Called again and again while the fault is in, also after a restart. Raises StatusError where it cannot be.
        """

    async def undo(self, live: Live, fault: Injected) -> None:  # noqa: B027 (most leave it to healing)
        """Put back what healing would not."""
