"""The notebook runs from its first cell to its last in a real kernel, and shows the head in the page."""

import os
import shutil

import nbformat
import pytest
from nbclient import NotebookClient

from tests.fixtures.paths import QUICK_PROGRAMS, ROOT
from tests.fixtures.photos import ASTRONAUT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_valid_and_holds_no_results(notebook):
    nbformat.validate(notebook)
    assert all(
        not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code"
    )


@pytest.mark.slow
def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    shutil.copy(ASTRONAUT, tmp_path / "astronaut.png")
    places = [str(QUICK_PROGRAMS), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    number = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    notebook.cells.insert(number + 1, nbformat.v4.new_code_cell("views = 4"))
    for cell in notebook.cells:
        cell.source = cell.source.replace(", 384", ", 64")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {kind for cell in notebook.cells for out in cell.get("outputs", ()) for kind in out.get("data", ())}
    assert "image/png" in shown
    (page,) = [out.data["text/html"] for cell in notebook.cells for out in cell.get("outputs", ())
               if "text/html" in out.get("data", {})]  # fmt: skip
    assert page.startswith("<iframe") and "sandbox=" in page and len(page) > 100_000
    assert (tmp_path / "head.glb").read_bytes()[:4] == b"glTF"
