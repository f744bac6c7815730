"""The notebook runs from top to bottom, on the sample logs, in a kernel of its own."""

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "first_look.ipynb"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def test_the_first_look_runs() -> None:
    """Every cell runs without a word on stderr, and the three plots are drawn."""
    notebook = read()
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "stream"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


def test_the_notebook_is_kept_without_outputs() -> None:
    """Noise is drawn anew in every run: stored outputs would change with every one of them."""
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in read().cells)
