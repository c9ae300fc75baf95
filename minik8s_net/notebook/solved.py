"""A notebook in its solved form: what CI runs. The student's form has gaps, the solutions stand with the lab.

A cell with the tag `exercise:NAME` is the student's to fill in; its solution is the text of the file
labs/NN-…/solution/cells/NAME, and NN is the notebook's own number.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from ..lab.labs import find

_TAG = "exercise:"


def solved(notebook: Any, name: str) -> Any:
    """A copy with every exercise solved. `name` is the file's, "06-clusterip.ipynb". Raises LookupError for a gap."""
    done = copy.deepcopy(notebook)
    for cell in done.cells:
        for tag in cell.metadata.get("tags", ()):
            if tag.startswith(_TAG):
                cell.source = _solution(name, tag.removeprefix(_TAG))
    return done


def _solution(name: str, exercise: str) -> str:
    path: Path = find(name.split("-")[0]).folder / "solution" / "cells" / exercise
    if not path.exists():
        raise LookupError(f"{name}: the exercise {exercise!r} has no solution; write it to {path}")
    return path.read_text().rstrip("\n")
