"""The README's tour works for a newcomer who types it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
TOUR = README.partition("## A tour")[2].partition("## Read on")[0]
STAYS = ("gatewright serve",)
NEEDS_TWO_RELEASES = "gatewright rollback loans"


def _loans(folder: Path) -> None:
    rng = np.random.default_rng(11)
    rows = rng.normal(size=(600, 4)).round(3)
    repaid = (rows @ np.array([1.4, -1.1, 0.7, 0.0]) + rng.normal(scale=0.7, size=600) > 0).astype(int)
    lines = ["income,debt,years,noise,repaid"]
    lines += [",".join([*map(str, row), str(answer)]) for row, answer in zip(rows, repaid, strict=True)]
    (folder / "loans.csv").write_text("\n".join(lines) + "\n", "utf-8")


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GATEWRIGHT_")}
    words = (
        [sys.executable, "-m", *command.split()]
        if command.startswith("gatewright")
        else [sys.executable, "-c", command]
    )
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="the tour reads files in a sandbox, which is Linux only")
def test_the_tour_runs_from_the_first_line_to_the_last(tmp_path: Path) -> None:
    """Every command and the training code of the tour run, in order, on a file like the one it describes."""
    _loans(tmp_path)
    ran = []
    first = re.search(r"type `(gatewright init [^`]+)`", TOUR)
    assert first is not None
    assert 0 == _run(first[1], tmp_path).returncode
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", TOUR, re.DOTALL):
        steps = (
            [block]
            if language == "python"
            else [line.partition("#")[0].strip() for line in block.splitlines()]
        )
        for step in filter(None, steps):
            if step in STAYS:
                continue
            done = _run(step, tmp_path)
            ran.append(step)
            wanted = 2 if step == NEEDS_TWO_RELEASES else 0
            assert wanted == done.returncode, f"{step}\n{done.stdout}\n{done.stderr}"
    assert len(ran) >= 6
