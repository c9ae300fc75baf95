"""The text that the project implements, and the manifests in it, unchanged."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


@cache
def text() -> str:
    """seed.md, whole."""
    return (Path(__file__).parent / "seed.md").read_text()


@cache
def manifests() -> dict[str, str]:
    """metadata.name -> the YAML block of the text that declares it, character for character."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", text(), re.MULTILINE | re.DOTALL)
    return {re.search(r"^  name: (\S+)", block, re.MULTILINE)[1]: block for block in blocks}  # type: ignore[index]


def says(sentence: str) -> bool:
    """Whether the text says this sentence, marks of emphasis and quotes aside."""
    return _plain(sentence) in _plain(text())


def _plain(markdown: str) -> str:
    return " ".join(re.sub(r"[*`]", "", markdown).replace("’", "'").split())
