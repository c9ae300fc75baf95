"""What changed between two texts, as few lines as it takes: [from line, lines to drop, lines to put there]. Pure.

A picture's SVG is a line per shape: when one pod of 150 turns ready, one line goes over the wire.
"""

from __future__ import annotations

from difflib import SequenceMatcher

Hunk = tuple[int, int, list[str]]


def hunks(old: list[str], new: list[str]) -> list[Hunk]:
    """From the last to the first, so that each one's line numbers still hold when it is applied."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    middle = SequenceMatcher(None, old[start : len(old) - end], new[start : len(new) - end], autojunk=False)
    found = [
        (start + i1, i2 - i1, new[start + j1 : start + j2])
        for tag, i1, i2, j1, j2 in middle.get_opcodes()
        if tag != "equal"
    ]
    return found[::-1]


def patched(old: list[str], changes: list[Hunk]) -> list[str]:
    """The new text, as the browser makes it."""
    lines = list(old)
    for start, dropped, put in changes:
        lines[start : start + dropped] = put
    return lines
