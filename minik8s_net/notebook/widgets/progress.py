"""A progress bar with the steps that were done. It moves while its cell runs."""

from __future__ import annotations

from .base import Face


class Progress(Face):
    """`Progress("checks", total=4)`, then `step("what was done")`."""

    VIEW = "progress"

    def __init__(self, title: str, total: int) -> None:
        super().__init__(title=title, total=total, done=0, steps=[])

    def text(self) -> str:
        """What was done so far."""
        return "\n".join([self.state["title"], *self.state["steps"]])

    def step(self, text: str) -> None:
        """One more is done."""
        old = self.state
        self.state = {**old, "done": min(old["done"] + 1, old["total"]), "steps": [*old["steps"], text]}

    def end(self) -> None:
        """Everything is done, however many steps it took."""
        self.state = {**self.state, "done": self.state["total"]}
