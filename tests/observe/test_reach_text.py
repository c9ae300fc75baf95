"""The matrix of `reach` in 80 columns: everybody can be told apart, however many and however alike their names are."""

from __future__ import annotations

import re

import pytest

from minik8s_net.observe.reach import Cell, Reach


def matrix(names: list[str]) -> Reach:
    return Reach(80, "TCP", tuple(Cell(a, b, "refused" if a == b else "open", True) for a in names for b in names), 0.1)


@pytest.mark.parametrize("many", [4, 9, 14, 31, 120])
def test_rows_can_be_told_apart_within_80_columns(many: int) -> None:
    names = [f"default/spread-7f9c5d8b6c-{'bcdfghjklm'[i % 10]}{i:04}" for i in range(many)]
    text = str(matrix(names))
    assert all(len(line) <= 80 for line in text.splitlines()), text
    rows = [line for line in text.splitlines() if re.search(r"[✓o]$", line)]
    labels = [re.split(r"\s+[✓o]", line)[0] for line in rows]
    blocks, rest = divmod(len(rows), many)
    assert not rest and len(set(labels)) == many, text
    assert all(label.endswith(name[-5:]) for label, name in zip(labels, names * blocks, strict=True))
    assert all(f"{i} {name}" in text.replace("\n", " ") for i, name in enumerate(names, 1))
    assert sum(line.count("o") - label.count("o") for line, label in zip(rows, labels, strict=True)) == many
    assert sum(line.count("✓") for line in rows) == many * (many - 1), "each pair has its mark"


def test_few_stand_side_by_side() -> None:
    text = str(matrix(["default/a", "default/b"]))
    assert text.splitlines()[0].split() == ["TCP/80", "default/a", "default/b"]
    assert Reach.from_dict(matrix(["a"]).to_dict()) == matrix(["a"])
