"""The comparison with other servers can be repeated: what is installed is pinned, and the page names it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "bench" / "peers"
PAGE = (ROOT / "docs" / "performance.md").read_text("utf-8")
PACKAGES = {
    "bentoml": "BentoML",
    "litserve": "LitServe",
    "mlflow": "MLflow",
    "mlserver": "MLServer",
    "nvidia-pytriton": "PyTriton",
    "ray": "Ray Serve",
}
LISTS = {path.stem: path.read_text("utf-8") for path in sorted(PEERS.glob("*.txt"))}


def test_the_page_names_every_peer_with_the_version_of_its_list() -> None:
    """The table of how each server runs has one row for each list, with that list's version."""
    table = PAGE.partition("| server | how it runs |")[2].partition("\n\n")[0]
    named = dict(re.findall(r"^\| ([A-Za-z ]+) ([0-9.]+) \|", table, re.MULTILINE))
    pinned = {
        PACKAGES[package]: version
        for text in LISTS.values()
        for package, version in re.findall(r"^([a-z-]+)==(\S+)", text, re.MULTILINE)
        if package in PACKAGES
    }
    assert pinned == named
    assert len(LISTS) == len(named)


@pytest.mark.parametrize("name", LISTS)
def test_a_peers_list_pins_everything_by_hash(name: str) -> None:
    """Every entry has an exact version and a SHA-256 hash, and none is an address or an option."""
    entries = re.split(r"\n(?=\S)", LISTS[name])
    assert [] == [
        entry.splitlines()[0]
        for entry in entries
        if not re.match(r"[a-z0-9._-]+(\[[a-z,-]+\])?==\S+ ", entry)
        or not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)
    ]


def test_the_script_says_how_it_is_used_where_nothing_is_named() -> None:
    """Without --small and without a folder the script measures nothing and names both."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "peers.py")], capture_output=True, text=True, check=False
    )
    assert 2 == done.returncode
    assert "name --small, or the folder with Adult's train.csv and test.csv, or both" in done.stderr
