"""The page on models: what it shows of tabular models runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
SECTION = PAGE.partition("## How to convert")[2].partition("\n## ")[0]
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


def _loans(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"income": rng.normal(50, 10, 1000), "debt": rng.normal(10, 3, 1000)})
    rows["region"] = rng.choice(["north", "south", "east"], 1000)
    rows["repaid"] = (rows["income"] + 5 * (rows["region"] == "north") > 52).astype(int)
    return rows


def test_the_snippets_run_and_prove_parity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typed one after the other, they convert a pipeline, histogram trees and a booster, and say so."""
    monkeypatch.chdir(tmp_path)
    train, test = _loans(1), _loans(2)
    matrix = train[["income", "debt"]].to_numpy()
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix, train["repaid"])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        train[["income", "debt"]], train["repaid"]
    )
    names: dict[str, Any] = {"model": model, "train": train, "test": test, "scaled": scaled, "matrix": matrix}
    for snippet in SNIPPETS:
        exec(compile(snippet, "docs/models.md", "exec"), names)  # noqa: S102 - our own page
    assert (tmp_path / "model.onnx").stat().st_size > 0
    assert 4 == len(SNIPPETS)
    assert 3 == capsys.readouterr().out.count("1,000 of 1,000 rows get the same answer")
