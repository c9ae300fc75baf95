"""Every notebook runs from top to bottom in a real kernel in its solved form, and is committed without outputs."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from minik8s_net.notebook.solved import solved
from tests.conftest import Home

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_no_outputs_are_committed(path: Path) -> None:
    for cell in nbformat.read(str(path), as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_the_text_form_beside_it_says_the_same(path: Path) -> None:
    """Differences are read in the .py; `jupytext --sync notebooks/*.ipynb` brings the two together."""
    ours, text = nbformat.read(str(path), as_version=4), jupytext.read(path.with_suffix(".py"))
    assert [(c.cell_type, c.source) for c in ours.cells] == [(c.cell_type, c.source) for c in text.cells]
    assert [c.metadata.get("tags") for c in ours.cells] == [c.metadata.get("tags") for c in text.cells]


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")  # the Jupyter client's own, not ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_runs_from_top_to_bottom(path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in home.env.items():
        monkeypatch.setenv(name, value)
    notebook = solved(nbformat.read(str(path), as_version=4), path.name)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    drawn = [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    assert any("4 of 4 checks passed" in html or "6 of 6 checks passed" in html for html in drawn)
    assert not [o for o in outputs if o["output_type"] == "error"]
