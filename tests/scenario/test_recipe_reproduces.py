"""A model is trained here from its recipe, checked on folds, and comes out the same when trained again."""

from __future__ import annotations

import sys

import pytest

from scenario.conftest import NewHome
from scenario.loans_recipe import FAILING, RECIPE, SEEDED
from scenario.world import Home, classifier, inside

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux only")


def _with(home: Home, recipe: str, *arguments: str) -> None:
    (home.root / "train.py").write_text(recipe, "utf-8")
    home.do(
        "model", "add", *arguments, "--recipe", "train.py", "--name", "made", "--trained-on", "loans", "--seed", "7"
    )  # fmt: skip


def test_a_recipe_makes_a_model_that_comes_out_the_same(new_home: NewHome) -> None:
    """One command trains and adds; check trains the folds; train says that the same file comes out."""
    home = new_home("registered")
    _with(home, RECIPE)
    shown = home.do("model", "show", "made")
    assert (7, "loans@1") == (shown["seed"], shown["dataset"])
    assert shown["recipe"]
    assert "passed" == home.do("check", "made")["outcomes"]["performance.cross-validation"]
    before = home.digest()
    again = home.do("train", "made")
    assert ("same", shown["model"]) == (again["result"], again["model"])
    assert before == home.digest()
    words = inside(home.root, "train", "made")
    assert "byte for byte" in words.out
    assert "no sockets" in words.out


def test_a_declared_recipe_that_gives_another_model_is_told(new_home: NewHome) -> None:
    """With a file the recipe is only declared; train ends with 1 where the answers differ."""
    home = new_home("registered")
    (home.root / "made.onnx").write_bytes(classifier((-1.0, 1.0, 3.0)))
    _with(home, SEEDED, "made.onnx")
    ran = home.run("train", "made")
    assert (1, "different") == (ran.code, ran.document["result"])
    assert ran.document["labels_differ"] > 0


def test_a_recipe_that_fails_changes_nothing(new_home: NewHome) -> None:
    """A recipe that raises is refused with its line, and a command without model and recipe with what to do."""
    home = new_home("registered")
    before = home.digest()
    (home.root / "train.py").write_text(FAILING, "utf-8")
    ran = home.run("model", "add", "--recipe", "train.py", "--name", "made", "--trained-on", "loans")
    assert (1, "recipes.raised", "recipe line 2") == (ran.code, ran.error["code"], ran.error["place"])
    (home.root / "train.py").unlink()
    assert before == home.digest()
    assert "cli.no-model" == home.run("model", "add", "--name", "made").error["code"]
