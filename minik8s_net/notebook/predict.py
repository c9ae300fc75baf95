"""Predictions: committed before the answer is seen, kept, and laid beside it afterwards.

They are the student's, not a cluster's: a file in minik8s's home folder, which `down` does not touch. The first
commitment counts; a later one is kept beside it, and whether it came after the answer was seen.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..state import home
from .display import card

Json = dict[str, Any]
_TOLERANCE = 0.1  # of a number: what counts as "about right"


@dataclass(frozen=True)
class Prediction:
    """What somebody believed of `name`, and what was seen (None: not yet)."""

    name: str
    believed: list[str]
    observed: str | None = None

    @property
    def right(self) -> bool | None:
        """Whether the first commitment agrees; None where that is for the reader to judge."""
        if self.observed is None or not self.believed:
            return None
        return agrees(self.believed[0], self.observed)

    def __str__(self) -> str:
        lines = [f"You predicted: {self.believed[0] if self.believed else '(nothing: predict first, then look)'}"]
        lines += [f"   and later:   {later}" for later in self.believed[1:]]
        if self.observed is None:
            return "\n".join([*lines, "Kept. Now find out."])
        return "\n".join([*lines, f"It is:         {self.observed}", _judgement(self.right)])

    def _repr_mimebundle_(self, **_: Any) -> Json:
        rows = [("you predicted", self.believed[0] if self.believed else "nothing: predict first, then look")]
        rows += [("and later", later) for later in self.believed[1:]]
        rows += [("it is", self.observed)] if self.observed is not None else []
        table = "".join(f"<tr><th>{k}</th><td><pre>{escape(v)}</pre></td></tr>" for k, v in rows)
        end = _judgement(self.right) if self.observed is not None else "Kept. Now find out."
        return {"text/plain": str(self), "text/html": card(f"prediction: {self.name}", f"<table>{table}</table>{end}")}


def predict(name: str, believed: str) -> Prediction:
    """Commit. `%%predict NAME` in a notebook."""
    kept = _read()
    entry = kept.setdefault(name, {"believed": []})
    text = believed.strip()
    if entry["believed"][-1:] != [text]:  # running the same cell twice is no second opinion
        mark = " (after the answer was seen)" if "observed" in entry else ""
        entry["believed"].append(text + mark)
        entry["at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    _write(kept)
    return Prediction(name, entry["believed"])


def reveal(name: str, observed: Any) -> Prediction:
    """Lay the observation beside what was predicted. `%reveal NAME EXPRESSION` in a notebook."""
    kept = _read()
    entry = kept.setdefault(name, {"believed": []})
    entry["observed"] = str(observed).strip()
    _write(kept)
    return Prediction(name, entry["believed"], entry["observed"])


def forget(name: str) -> None:
    """Begin anew with one."""
    kept = _read()
    kept.pop(name, None)
    _write(kept)


def agrees(believed: str, observed: str) -> bool | None:
    """Numbers within a tenth; words without regard to case and spaces; None where two texts just differ."""
    a, b = _number(believed), _number(observed)
    if a is not None and b is not None:
        return abs(a - b) <= _TOLERANCE * max(abs(a), abs(b))
    if " ".join(believed.lower().split()) == " ".join(observed.lower().split()):
        return True
    short = len(believed.split()) <= 2 and len(observed.split()) <= 2
    return False if short else None


def _number(text: str) -> float | None:
    """`1/3`, `33%`, `0.33`, `30`."""
    top, _, bottom = text.strip().rstrip("%").partition("/")
    try:
        value = float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        return None
    return value / 100 if text.strip().endswith("%") else value


def _judgement(right: bool | None) -> str:
    if right is None:
        return "Compare the two: where do they differ, and why?"
    return "✓ as you predicted" if right else "✗ not as you predicted: what did you believe that is not so?"


def _file() -> Path:
    return home() / "predictions.json"


def _read() -> Json:
    try:
        kept: Json = json.loads(_file().read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return kept


def _write(kept: Json) -> None:
    _file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = _file().with_suffix(".new")
    new.write_text(json.dumps(kept, indent=1))
    new.replace(_file())
