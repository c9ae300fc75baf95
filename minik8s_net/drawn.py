"""What a notebook draws: classes whose results people look at inherit `Drawn`. Cheap to import: drawing comes later."""

from __future__ import annotations

from typing import Any


class Drawn:
    """Draws itself in Jupyter, and prints as its text elsewhere."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from .notebook.display import bundle

        return bundle(self)


class Objects(list[Any], Drawn):
    """A list of a cluster's objects, or of what was done to them: a table in a notebook, a list everywhere else."""

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(self._repr_mimebundle_()["text/plain"])
