"""Our own line that makes a rule's text: the renderer runs once more, watched (sys.settrace, as debuggers do)."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from .model import Source

PACKAGE = Path(__file__).parents[2]


def line_of(render: Callable[[], object], rule: tuple[str, ...], within: tuple[ModuleType, ...]) -> Source | None:
    """The line of `within` where a value that holds one of `rule`'s forms shows up first; None if none ever does.

    A helper that only joins words (`to(…)` inside a generator) is passed over for its caller, which says what for.
    """
    watch = _Watch(rule, {inspect.getsourcefile(module) or "" for module in within})
    before = sys.gettrace()
    sys.settrace(watch.call)
    try:
        render()
    finally:
        sys.settrace(before)
    at = watch.found or watch.helper
    return _source(*at) if at else None


def written_at(module: ModuleType, text: str) -> Source | None:
    """Where a constant stands in a module: the first line that holds the most telling piece of `text`."""
    lines = inspect.getsource(module).splitlines()
    for number, line in enumerate(lines, 1):
        if text and text in line:
            return Source(_relative(module.__file__ or ""), number, line.strip(), "module")
    return None


class _Watch:
    def __init__(self, forms: tuple[str, ...], files: set[str]) -> None:
        self._forms, self._files = set(forms), files
        self._at: dict[FrameType, int] = {}
        self.found: tuple[CodeType, int] | None = None
        self.helper: tuple[CodeType, int] | None = None

    def call(self, frame: FrameType, event: str, value: Any) -> Any:
        """Follow only frames of the renderers."""
        if self.found or frame.f_code.co_filename not in self._files:
            return None
        self._at[frame] = frame.f_lineno
        return self._step

    def _step(self, frame: FrameType, event: str, value: Any) -> Any:
        if self.found:
            return None
        line = self._at.get(frame, frame.f_lineno)
        if any(self._holds(each) for name, each in frame.f_locals.items() if name not in _arguments(frame.f_code)):
            self.found = frame.f_code, line
        elif event == "return" and self._holds(value):
            plain = isinstance(value, str) and not frame.f_code.co_flags & inspect.CO_GENERATOR
            if plain:
                self.helper = self.helper or (frame.f_code, frame.f_lineno)
            else:
                self.found = frame.f_code, frame.f_lineno
        self._at[frame] = frame.f_lineno
        return self._step

    def _holds(self, value: Any) -> bool:
        if isinstance(value, str):
            return value in self._forms
        if isinstance(value, dict):
            return any(self._holds(each) for each in value.values())
        return isinstance(value, tuple | list) and any(self._holds(each) for each in value)


def _arguments(code: CodeType) -> tuple[str, ...]:
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _source(code: CodeType, line: int) -> Source:
    text = linecache.getline(code.co_filename, line).strip()
    return Source(_relative(code.co_filename), line, text, code.co_name)


def _relative(file: str) -> str:
    return str(Path(file).relative_to(PACKAGE.parent))
