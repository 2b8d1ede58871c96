"""Homes at each stage of a model's life, made once and copied; and what must hold after every story."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scenario.world import BETTER, Home, classifier, write_loans

NewHome = Callable[[str], Home]
STAGES = ("opened", "registered", "added", "checked", "live")


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Home]:
    """One home per stage: opened, data registered, two versions added, both checked, the first live."""
    root = tmp_path_factory.mktemp("stages")
    made: dict[str, Home] = {}

    def stage(name: str, before: str = "") -> Home:
        place = root / name
        if before:
            shutil.copytree(root / before, place)
        made[name] = Home(root=place)
        return made[name]

    home = stage("opened")
    home.root.mkdir()
    home.do("init", "--owner", "ada")
    home = stage("registered", "opened")
    write_loans(home.root / "train.csv", 300, 1)
    write_loans(home.root / "test.csv", 400, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    home = stage("added", "registered")
    for number, model in enumerate((classifier(), classifier(BETTER)), 1):
        (home.root / f"v{number}.onnx").write_bytes(model)
        home.do("model", "add", f"v{number}.onnx", "--name", "loans", "--trained-on", "loans")
    home = stage("checked", "added")
    for ref in ("loans@1", "loans@2"):
        assert "deny" != home.do("check", ref)["decision"]
    home = stage("live", "checked")
    home.do("release", "create", "loans@1")
    home.do("approve", "loans@1", "--as", "ada")
    home.api_key = home.do("deploy", "loans@1")["api_key"]
    return made


@pytest.fixture
def new_home(stages: dict[str, Home], tmp_path: Path) -> Iterator[NewHome]:
    """Copies of homes by stage; afterwards each is rebuilt from its records and verified whole."""
    made: list[Home] = []

    def copy(stage: str) -> Home:
        place = tmp_path / f"home-{len(made)}"
        if stage == "nothing":
            place.mkdir()
        else:
            shutil.copytree(stages[stage].root, place)
        made.append(Home(root=place, api_key=stages[stage].api_key if stage in stages else ""))
        return made[-1]

    yield copy
    for home in made:
        if not home.broken and not home.untouched and home.folder.is_dir():
            home.rebuilt()
