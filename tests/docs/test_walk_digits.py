"""The page on the digits walk shows the walk that is run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_shows_the_cells_of_the_walk() -> None:
    """The Python blocks of the page are the cells of the script, all of them and in their order."""
    page = (ROOT / "docs" / "walk-digits.md").read_text("utf-8")
    script = (ROOT / "examples" / "digits.py").read_text("utf-8")
    cells = re.split(r"^# %%\n", script, flags=re.MULTILINE)[1:]
    shown = [re.sub(r"^print\((.*)\)$", r"\1", cell.strip("\n"), flags=re.MULTILINE) for cell in cells]
    assert shown == re.findall(r"```python\n(.*?)\n```", page, re.DOTALL)
