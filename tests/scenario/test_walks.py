"""The walks in ``examples/`` go from a fitted model to an endpoint, as a script and as a notebook."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from architecture.source_tree import parse

EXAMPLES = Path(__file__).parents[2] / "examples"
WALKS = sorted(place.stem for place in EXAMPLES.glob("*.ipynb"))
WALK_LINES = 60
WALK_S = 600
ADULT = os.environ.get("GATEWRIGHT_ADULT", "")
needs_adult = pytest.mark.skipif(
    not ADULT, reason="GATEWRIGHT_ADULT does not name the folder of the Adult data"
)
_PRINTED = re.compile(r"^print\((.*)\)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Homes of walks are made in the test's folder, and no setting of the product reaches them."""
    for name in [name for name in os.environ if name.startswith("GATEWRIGHT_")]:
        monkeypatch.delenv(name)
    for name, value in {"TMPDIR": str(tmp_path), "COLUMNS": "120", "NO_COLOR": "1", "JUPYTER_PLATFORM_DIRS": "1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    if ADULT:
        monkeypatch.setenv("GATEWRIGHT_ADULT", str(Path(ADULT).resolve()))


def notebook(name: str) -> Any:
    """A walk as a notebook."""
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)


def ran(name: str, folder: Path) -> list[dict[str, str]]:
    """What the cells of a notebook showed: the texts and the HTML of each result, in order."""
    walked = NotebookClient(
        notebook(name), timeout=WALK_S, resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [
        output["data"]
        for cell in walked.cells
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
        if output["output_type"] in {"execute_result", "display_data"}
    ]


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_is_the_same_as_a_script_and_as_a_notebook(name: str) -> None:
    """The cells of the notebook are those of the script, which prints what a notebook shows by itself."""
    script = (EXAMPLES / f"{name}.py").read_text("utf-8")
    cells = [
        _PRINTED.sub(r"\1", cell.strip("\n")) for cell in re.split(r"^# %%\n", script, flags=re.MULTILINE)[1:]
    ]
    code = [cell for cell in notebook(name).cells if cell["cell_type"] == "code"]
    assert cells == [cell["source"] for cell in code]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len(parse(EXAMPLES / f"{name}.py", script).code_lines) <= WALK_LINES


@pytest.mark.parametrize("name", ["adult", "diabetes"])
def test_the_page_of_a_walk_shows_its_code(name: str) -> None:
    """Each cell stands in the page, in order, and the page shows no other code."""
    page = (EXAMPLES.parent / "docs" / f"walk-{name}.md").read_text("utf-8")
    shown = re.findall(r"```python\n(.*?)\n```", page, re.DOTALL)
    assert shown == [cell["source"] for cell in notebook(name).cells if cell["cell_type"] == "code"]


def test_the_diabetes_walk_as_a_script(tmp_path: Path) -> None:
    """A regression that knows nothing is denied, a better one is shipped and asked, and its receipt holds."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "diabetes.py")],
        cwd=tmp_path, capture_output=True, text=True, timeout=WALK_S, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    steps = (
        "A home for ada",
        "✗ denied",
        "bound of r2",
        "diabetes@2 is shipped",
        "answered 177 rows",
        "✓ verified",
    )
    places = [done.stdout.find(step) for step in steps]
    assert -1 not in places, done.stdout
    assert sorted(places) == places


def test_the_diabetes_walk_as_a_notebook(tmp_path: Path) -> None:
    """Every result of the notebook is a table in HTML, and plain text beside it."""
    shown = ran("diabetes", tmp_path)
    titles = [re.findall(r'aria-label="([^"]*)"', each["text/html"])[0] for each in shown]
    assert ["A home for ada", "diabetes@1 is checked", "diabetes@2 is shipped", "diabetes@2 answered 177 rows", "Receipts verified offline"] == titles  # fmt: skip
    assert all(each["text/plain"].startswith(title) for each, title in zip(shown, titles, strict=True))
    assert all("<script" not in each["text/html"] for each in shown)


@needs_adult
def test_the_adult_walk(tmp_path: Path) -> None:
    """Texts and numbers by name go to an endpoint: the unfair candidate is denied, the mended one answers."""
    home, first, check, shipped, answers, receipts = [each["text/plain"] for each in ran("adult", tmp_path)]
    assert home.startswith("A home for ada")
    assert "16,281 of 16,281 rows get the same answer" in first
    assert "✗ denied" in check
    assert re.search(r"fairness\.groups.*\n?.*violated", check)
    assert re.search(r"equalised-odds-difference +0\.2067", check)
    assert re.search(r"false-positive-rate +0\.2681", check)
    assert shipped.startswith("adult@2 is shipped")
    assert "adult@2 answered 1,000 rows" in answers
    assert "✓ verified" in receipts


@pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed: the extra torch brings it")
def test_the_digits_walk(tmp_path: Path) -> None:
    """A network of images goes to an endpoint: exported, proven, allowed, shipped, asked, and its receipt holds."""
    home, model, check, shipped, answers, receipts = [each["text/plain"] for each in ran("digits", tmp_path)]
    assert home.startswith("A home for ada")
    assert "899 of 899 rows get the same answer" in model
    assert "✓ allowed" in check
    assert shipped.startswith("digits@1 is shipped")
    assert "digits@1 answered 5 rows" in answers
    assert "✓ verified" in receipts
