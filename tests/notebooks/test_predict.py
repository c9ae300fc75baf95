"""What a student believed is kept, and laid beside what is."""

from __future__ import annotations

from pathlib import Path

import pytest

from minik8s_net.notebook.predict import agrees, forget, predict, reveal


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIK8S_HOME", str(tmp_path))


def test_the_first_commitment_counts() -> None:
    predict("share", "1/2")
    predict("share", "1/2")  # the cell was run twice
    predict("share", "1/3")
    seen = reveal("share", "1/3")
    assert seen.believed == ["1/2", "1/3"]
    assert seen.right is False
    assert "after the answer" in predict("share", "0.3333").believed[-1]


def test_it_outlives_the_kernel_and_can_be_forgotten() -> None:
    predict("x", "refused")
    assert reveal("x", "Refused").right is True
    forget("x")
    assert reveal("x", "refused").believed == []
    assert "predict first" in str(reveal("x", "refused"))


@pytest.mark.parametrize(
    ("believed", "observed", "right"),
    [
        ("1/3", "0.34", True),
        ("33%", "30/90", True),
        ("1/2", "1/3", False),
        ("4", "4", True),
        ("stay", "change", False),
        (" Lo  Down ", "lo down", True),
        ("it times out because nobody answers", "refused at once", None),
        ("1/0", "1", False),
    ],
)
def test_agreement(believed: str, observed: str, right: bool | None) -> None:
    assert agrees(believed, observed) is right


def test_it_draws_itself_without_trusting_the_text() -> None:
    drawn = predict("x", "<script>alert(1)</script>")._repr_mimebundle_()
    assert "<script>" not in drawn["text/html"]
    assert "You predicted" in drawn["text/plain"]
