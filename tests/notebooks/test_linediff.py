"""What goes over the wire when a picture changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minik8s_net.notebook.linediff import Hunk, hunks

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "<g/>", ""]), max_size=14)


def patched(old: list[str], changes: list[Hunk]) -> list[str]:
    """As widget.js does it: one splice after the other."""
    lines = list(old)
    for start, dropped, put in changes:
        lines[start : start + dropped] = put
    return lines


@given(TEXTS, TEXTS)
def test_patching_gives_the_new_text(old: list[str], new: list[str]) -> None:
    assert patched(old, hunks(old, new)) == new


@given(TEXTS)
def test_nothing_changed_is_nothing_to_say(text: list[str]) -> None:
    assert hunks(text, list(text)) == []


def test_one_line_of_many_is_one_line() -> None:
    old = [f"pod {i}" for i in range(700)]
    new = [*old[:350], "pod 350 ready", *old[351:]]
    assert hunks(old, new) == [(350, 1, ["pod 350 ready"])]
