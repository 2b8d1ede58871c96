"""The page on traffic: its commands run in order, and print what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from scenario.world import BETTER, Home, classifier, inside, write_loans

PAGE = Path(__file__).parents[2] / "docs" / "traffic.md"
BLOCK = re.compile(r"(?<=```console\n)(.*?)(?=```)", re.DOTALL)
KEY_ID = re.compile(r"\b[0-9a-f]{12}\b")
THIRD = (2.2, -1.7, 0.0)


def _home(folder: Path) -> Home:
    """One version live, two more released and approved."""
    home = Home(root=folder)
    home.do("init", "--owner", "ada")
    write_loans(folder / "train.csv", 300, 1)
    write_loans(folder / "test.csv", 400, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    for number, model in enumerate((classifier(), classifier(BETTER), classifier(THIRD)), 1):
        (folder / f"v{number}.onnx").write_bytes(model)
        home.do("model", "add", f"v{number}.onnx", "--name", "loans", "--trained-on", "loans")
        home.do("check", f"loans@{number}")
        home.do("release", "create", f"loans@{number}")
        home.do("approve", f"loans@{number}", "--as", "ada")
    home.do("deploy", "loans@1")
    return home


def _typed(home: Home, line: str) -> str:
    """A command of the page, with the id of the key that was added last in the place of the page's."""
    if not KEY_ID.search(line):
        return line
    named = [key["id"] for key in home.do("key", "list", "loans") if key["name"] == "web-shop"]
    return KEY_ID.sub(named[0], line)


def _said(home: Home, line: str) -> str:
    typed = _typed(home, line)
    ran = inside(home.root, *shlex.split(typed)[1:], extra={"COLUMNS": "110", "NO_COLOR": "1"})
    said = re.sub(r"gw_[\w-]+", "gw_…", ran.out + ran.err)
    lines = [each.rstrip() for each in said.splitlines()]
    return "\n".join([f"$ {typed}", *(each for each in lines if each)]) + "\n"


def _plain(text: str) -> str:
    """Without what is new in every home: digests, ids and times."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    return re.sub(r"\b[0-9a-f]{8,}\b", "#", text)


@pytest.mark.skipif(sys.platform != "linux", reason="files are read in a sandbox, which is Linux only")
def test_the_page_runs_and_prints_what_it_shows(tmp_path: Path) -> None:
    """Every command of the page, in order, prints the lines below it; GATEWRIGHT_WRITE_DOCS=1 writes them anew."""
    home, page = _home(tmp_path), PAGE.read_text("utf-8")

    def run(block: re.Match[str]) -> str:
        lines = block[1].splitlines()
        return "".join(_said(home, line.removeprefix("$ ")) for line in lines if line.startswith("$ "))

    written = BLOCK.sub(run, page)
    if os.environ.get("GATEWRIGHT_WRITE_DOCS"):
        PAGE.write_text(written, "utf-8")
        page = written
    assert _plain(page) == _plain(written)
    assert 10 <= page.count("```console")
    home.rebuilt()
