"""Pages whose commands are run: the home they speak of, and the comparison of what is printed with what they show."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from scenario.world import Home, inside, write_loans

PAGES = Path(__file__).parents[2] / "docs"
DAY = r"\d{4}-\d\d-\d\d"
TIME = rf"{DAY}T\d\d:\d\d:\d\d(\.\d+)?Z"
_BLOCK = re.compile(r"(?<=```console\n)(.*?)(?=```)", re.DOTALL)


def released(folder: Path, models: Sequence[bytes]) -> Home:
    """A home of ada's with loans in it, and versions of a model that are released and approved; none is live."""
    home = Home(root=folder)
    home.do("init", "--owner", "ada")
    write_loans(folder / "train.csv", 300, 1)
    write_loans(folder / "test.csv", 400, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    for number, model in enumerate(models, 1):
        (folder / f"v{number}.onnx").write_bytes(model)
        home.do("model", "add", f"v{number}.onnx", "--name", "loans", "--trained-on", "loans")
        home.do("check", f"loans@{number}")
        home.do("release", "create", f"loans@{number}")
        home.do("approve", f"loans@{number}", "--as", "ada")
    return home


def shown(name: str, home: Home, typed: Callable[[str], str]) -> tuple[str, str]:
    """A page, and the page with what its commands print now, run in order as ``typed`` says: plain, to compare.

    With GATEWRIGHT_WRITE_DOCS=1 what they print is written into the page.
    """
    place = PAGES / name
    page = place.read_text("utf-8")

    def run(block: re.Match[str]) -> str:
        lines = (line for line in block[1].splitlines() if line.startswith("$ "))
        return "".join(_said(home, typed(line.removeprefix("$ "))) for line in lines)

    written = _BLOCK.sub(run, page)
    if os.environ.get("GATEWRIGHT_WRITE_DOCS"):
        place.write_text(written, "utf-8")
        page = written
    return _plain(page), _plain(written)


def _said(home: Home, line: str) -> str:
    ran = inside(home.root, *shlex.split(line)[1:], extra={"COLUMNS": "110", "NO_COLOR": "1"})
    said = re.sub(r"gw_[\w-]+", "gw_…", ran.out + ran.err)
    lines = [each.rstrip() for each in said.splitlines()]
    return "\n".join([f"$ {line}", *(each for each in lines if each)]) + "\n"


def _plain(text: str) -> str:
    """Without what is new in every home: digests, ids, days and times."""
    text = re.sub(rf"{TIME}|{DAY}( at \d\d:\d\d:\d\d UTC)?", "TIME", text)
    return re.sub(r"\b[0-9a-f]{8,}\b", "#", text)
