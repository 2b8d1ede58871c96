"""The page on history: its commands run in order, and print what the page shows."""

from __future__ import annotations

import re
import sys
from datetime import date, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest

from docs.printed import DAY, TIME, released, shown
from gatewright.operations.history import WALKED
from scenario.world import BETTER, Home, ask, classifier, serving


def _home(folder: Path) -> Home:
    """One version that answered once; then a canary, which was rolled back."""
    home = released(folder, (classifier(), classifier(BETTER)))
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


@pytest.mark.skipif(sys.platform != "linux", reason="files are read in a sandbox, which is Linux only")
def test_the_page_runs_and_prints_what_it_shows(tmp_path: Path) -> None:
    """Every command of the page, in order, prints the lines below it; GATEWRIGHT_WRITE_DOCS=1 writes them anew."""
    home = _home(tmp_path)
    page, written = shown("history.md", home, lambda line: _typed(home, line))
    assert page == written
    assert 4 == page.count("```console")
    assert f"up to {WALKED} of them" in page
