"""A home per test folder, made once and copied; operations are called in this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gatewright.assembly.homes import create_home, open_home
from gatewright.datasets.datasheet import Datasheet
from gatewright.operations import data, models
from gatewright.operations.approve import approve
from gatewright.operations.check import check
from gatewright.operations.data import Description
from gatewright.operations.deploy import deploy_release
from gatewright.operations.home import Home
from gatewright.operations.models import Declared
from gatewright.operations.release import create
from scenario.world import BETTER, classifier, write_loans

Opened = Callable[[], Home]


@pytest.fixture(autouse=True, scope="session")
def _plain_environment() -> None:
    """No setting of the product reaches these tests; where the Adult data lie is none."""
    for name in [
        name for name in os.environ if name.startswith("GATEWRIGHT_") and name != "GATEWRIGHT_ADULT"
    ]:
        del os.environ[name]


@pytest.fixture(scope="session")
def fresh_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with its first records only."""
    root = tmp_path_factory.mktemp("fresh")
    create_home(root, "ada")
    return root


@pytest.fixture(scope="session")
def live_template(fresh_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one dataset and two released versions of a model, the first one live."""
    root = tmp_path_factory.mktemp("templates") / "live"
    shutil.copytree(fresh_template, root)
    train, test = write_loans(root / "train.csv", 200, 1), write_loans(root / "test.csv", 300, 2)
    about = Description(target="repaid", slices=("age",), datasheet=Datasheet(title="Loans"))
    with open_home(root) as home:
        data.add(home, "loans", train=train, test=test, about=about)
        for number, model in enumerate((classifier(), classifier(BETTER)), 1):
            path = root / f"v{number}.onnx"
            path.write_bytes(model)
            models.add(home, path, "loans", Declared(trained_on="loans"))
            check(home, f"loans@{number}")
            approve(home, create(home, f"loans@{number}").root.hex, name="ada")
        deploy_release(home, "loans@1")
    return root


def _copied(template: Path, folder: Path, stack: ExitStack) -> Home:
    shutil.copytree(template, folder)
    return stack.enter_context(open_home(folder))


@pytest.fixture
def fresh(fresh_template: Path, tmp_path: Path) -> Iterator[Home]:
    """An opened home with nothing in it."""
    with ExitStack() as stack:
        yield _copied(fresh_template, tmp_path / "fresh", stack)


@pytest.fixture
def live(live_template: Path, tmp_path: Path) -> Iterator[Home]:
    """An opened home with a live model."""
    with ExitStack() as stack:
        yield _copied(live_template, tmp_path / "live", stack)
