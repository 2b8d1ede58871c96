"""The page on history: its commands run in order, and print what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import sys
from datetime import date, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest

from gatewright.operations.history import WALKED
from scenario.world import BETTER, Home, ask, classifier, inside, serving, write_loans

PAGE = Path(__file__).parents[2] / "docs" / "history.md"
BLOCK = re.compile(r"(?<=```console\n)(.*?)(?=```)", re.DOTALL)
DAY = r"\d{4}-\d\d-\d\d"
TIME = rf"{DAY}T\d\d:\d\d:\d\d(\.\d+)?Z"


def _home(folder: Path) -> Home:
    """One version that answered once; then a canary, which was rolled back."""
    home = Home(root=folder)
    home.do("init", "--owner", "ada")
    write_loans(folder / "train.csv", 300, 1)
    write_loans(folder / "test.csv", 400, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    for number, model in enumerate((classifier(), classifier(BETTER)), 1):
        (folder / f"v{number}.onnx").write_bytes(model)
        home.do("model", "add", f"v{number}.onnx", "--name", "loans", "--trained-on", "loans")
        home.do("check", f"loans@{number}")
        home.do("release", "create", f"loans@{number}")
        home.do("approve", f"loans@{number}", "--as", "ada")
    home.api_key = home.do("deploy", "loans@1")["api_key"]
    with serving(home) as server, httpx.Client() as client:
        answer = ask(client, server, "loans", home.api_key, np.array([[1.0, 0.5, 0.0]]))
        (folder / "answer.json").write_bytes(answer.content)
    assert 1 == home.do("status")["predictions"]
    home.do("deploy", "loans@2", "--canary", "10%")
    home.do("rollback", "loans")
    return home


def _typed(home: Home, line: str) -> str:
    """A command of the page at the times of this home: that of the canary, and the days around it."""
    (joined,) = [each["time"] for each in home.do("history") if each["kind"] == "endpoint.joined"]
    today = date.fromisoformat(joined[:10])
    days = iter((str(today), str(today + timedelta(days=1))))
    if re.search(TIME, line):
        return re.sub(TIME, joined, line)
    return re.sub(DAY, lambda _: next(days), line)


def _said(home: Home, line: str) -> str:
    typed = _typed(home, line)
    ran = inside(home.root, *shlex.split(typed)[1:], extra={"COLUMNS": "110", "NO_COLOR": "1"})
    lines = [each.rstrip() for each in (ran.out + ran.err).splitlines()]
    return "\n".join([f"$ {typed}", *(each for each in lines if each)]) + "\n"


def _plain(text: str) -> str:
    """Without what is new in every home: digests, ids, days and times."""
    text = re.sub(rf"{TIME}|{DAY}( at \d\d:\d\d:\d\d UTC)?", "TIME", text)
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
    assert 4 == page.count("```console")
    assert f"up to {WALKED} of them" in page
