"""How the command line prints: tables that fit, progress that goes away, colour only on a terminal."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from types import TracebackType

WIDTH = 80


def coloured() -> bool:
    """Colour only on a terminal, and not where NO_COLOR asks for none (no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def paint(text: str, colour: str) -> str:
    """`text` in green, red, yellow, bold or dim, or as it is."""
    codes = {"green": 32, "red": 31, "yellow": 33, "bold": 1, "dim": 2}
    return f"\x1b[{codes[colour]}m{text}\x1b[0m" if coloured() else text


def table(header: list[str], rows: list[list[str]], *, prose: bool = False) -> None:
    """Columns three blanks apart, as kubectl prints them. `prose`: the last one is text, broken to fit 80 columns."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    before = sum(widths[:-1]) + 3 * (len(widths) - 1)
    for row in [header, *rows]:
        *cells, last = row
        first, *more = textwrap.wrap(last, max(WIDTH - before, 20)) or [""] if prose else [last]
        line = "   ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), first])
        print(line.rstrip())
        for rest in more:
            print(" " * before + rest)


class Progress:
    """One line per finished step, with its time: on stderr, so that piped output stays clean."""

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._began = self._last = time.monotonic()

    def step(self, text: str) -> None:
        """A step has finished."""
        if self._enabled:
            now = time.monotonic()
            print(f" ✓ {text:<58} {1000 * (now - self._last):5.0f} ms", file=sys.stderr)
            self._last = now

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind and self._enabled:
            print(f" ✗ failed after {time.monotonic() - self._began:.1f} s", file=sys.stderr)
