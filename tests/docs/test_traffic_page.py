"""The page on traffic: its commands run in order, and print what the page shows."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from docs.printed import released, shown
from scenario.world import BETTER, Home, classifier

KEY_ID = re.compile(r"\b[0-9a-f]{12}\b")
THIRD = (2.2, -1.7, 0.0)


def _typed(home: Home, line: str) -> str:
    """A command of the page, with the id of the key that was added last in the place of the page's."""
    if not KEY_ID.search(line):
        return line
    named = [key["id"] for key in home.do("key", "list", "loans") if key["name"] == "web-shop"]
    return KEY_ID.sub(named[0], line)


@pytest.mark.skipif(sys.platform != "linux", reason="files are read in a sandbox, which is Linux only")
def test_the_page_runs_and_prints_what_it_shows(tmp_path: Path) -> None:
    """Every command of the page, in order, prints the lines below it; GATEWRIGHT_WRITE_DOCS=1 writes them anew."""
    home = released(tmp_path, (classifier(), classifier(BETTER), classifier(THIRD)))
    home.do("deploy", "loans@1")
    page, written = shown("traffic.md", home, lambda line: _typed(home, line))
    assert page == written
    assert 10 <= page.count("```console")
    home.rebuilt()
