"""A home for commands to work on: data registered, two versions checked, the first live."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenario.world import Home, classifier, write_loans


@pytest.fixture(scope="session")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One home for all tests of this folder that only read or fail."""
    home = Home(root=tmp_path_factory.mktemp("lived-in"))
    home.do("init", "--owner", "ada")
    write_loans(home.root / "train.csv", 300, 1)
    write_loans(home.root / "test.csv", 400, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    (home.root / "m.onnx").write_bytes(classifier())
    home.do("model", "add", "m.onnx", "--name", "loans", "--trained-on", "loans")
    home.api_key = home.do("ship", "loans")["api_key"]
    return home


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A folder without a home."""
    return tmp_path
