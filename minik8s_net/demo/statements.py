"""What a statement of the text is here: the sentence, what is done about it, what was observed, does it hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stage import Stage


@dataclass(frozen=True)
class Finding:
    """One observation. `done` and `observed` are for people; `ok` for the exit status."""

    done: str
    observed: str
    ok: bool


@dataclass(frozen=True)
class Statement:
    """A sentence of seed.md and the function that puts it to the test."""

    id: str
    section: str
    sentence: str
    prove: Callable[[Stage], list[Finding]]


@dataclass(frozen=True)
class Section:
    """Collects the statements of one section: `@section.statement("1.1", "sentence")` above each proof."""

    title: str
    statements: list[Statement]

    def statement(
        self, id: str, sentence: str
    ) -> Callable[[Callable[[Stage], list[Finding]]], Callable[[Stage], list[Finding]]]:
        def keep(prove: Callable[[Stage], list[Finding]]) -> Callable[[Stage], list[Finding]]:
            self.statements.append(Statement(id, self.title, sentence, prove))
            return prove

        return keep
