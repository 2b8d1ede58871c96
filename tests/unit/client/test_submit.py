"""One call takes a fitted model and its frames into a home, or says why not and leaves nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import gatewright as gw
from gatewright.assembly.homes import create_home, read_home
from gatewright.client.display import as_text
from gatewright.client.submit import Recipe
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Refused

LOANS: dict[str, Any] = {"name": "loans", "target": "repaid"}


def people(rows: int, seed: int) -> pd.DataFrame:
    """Loans that are repaid by chances that income and town decide."""
    rng = np.random.default_rng(seed)
    income, town = rng.normal(size=rows).round(3), rng.choice(["north", "south", ""], rows)
    chance = 1 / (1 + np.exp(-(2 * income + (town == "north"))))
    return pd.DataFrame(
        {"income": income, "town": town, "repaid": np.where(rng.random(rows) < chance, "yes", "no")}
    )


TRAIN, TEST = people(200, 1), people(300, 2)


def fitted(rows: pd.DataFrame = TRAIN) -> Any:
    """A pipeline that takes the columns by name."""
    columns = make_column_transformer(
        (StandardScaler(), ["income"]), (OneHotEncoder(handle_unknown="ignore"), ["town"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(rows.drop(columns="repaid"), rows["repaid"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for all tests that use names of their own."""
    place = tmp_path_factory.mktemp("home")
    create_home(place, "ada")
    return place


def kinds(root: Path) -> list[str]:
    """The kinds of all records that submitting makes."""
    with read_home(root) as home:
        return [record.draft.kind for record in home.archive.history(("dataset.added", "model.added", "model.refused"), None)]  # fmt: skip


def test_one_call_makes_a_version_with_its_lineage(root: Path) -> None:
    """The version is trained on the registered rows, has named inputs, and knows how it was compared."""
    model = gw.submit(fitted(), train=TRAIN, test=TEST, sensitive=["town"], home=root, **LOANS)
    version = model.version
    assert ("loans@1", "loans@1", model.data.train) == (model.ref, version.dataset, version.trained_on)
    assert (300.0, 0.0) == (version.parity["rows"], version.parity["labels_differ"])
    assert ("scikit-learn", ("no", "yes"), ("town",)) == (
        version.origin["library"],
        model.data.classes,
        model.data.sensitive,
    )
    assert model.parity is not None
    assert model.parity.holds
    shown = as_text(model.sheet())
    assert all(
        each in shown for each in ("loans@1", "300 of 300 rows", "200 rows to train on", "income, town")
    )
    again = gw.model("loans", home=root)
    assert (model.ref, model.data, None) == (again.ref, again.data, again.parity)
    assert "300 of 300 rows got the same answer" in as_text(again.sheet())


def test_a_notebook_that_runs_twice_records_once(root: Path) -> None:
    """The same model and rows are the same version; another seed or other rows are another one."""
    first = gw.submit(fitted(), train=TRAIN, test=TEST, home=root, **{**LOANS, "name": "twice"})
    before = kinds(root)
    again = gw.submit(fitted(), train=TRAIN, test=TEST, home=root, **{**LOANS, "name": "twice"})
    assert (before, first.version) == (kinds(root), again.version)
    third = gw.submit(fitted(), train=TRAIN, test=TEST, seed=1, home=root, **{**LOANS, "name": "twice"})
    assert ("twice@2", "twice@1") == (third.ref, third.data.ref)
    other = people(200, 9)
    fourth = gw.submit(fitted(other), train=other, test=TEST, home=root, **{**LOANS, "name": "twice"})
    assert ("twice@3", "twice@2") == (fourth.ref, fourth.data.ref)


def test_what_is_onnx_already_is_taken_as_it_is(root: Path, tmp_path: Path) -> None:
    """Bytes and a file of ONNX are the same version, without a comparison, and said so."""
    made = gw.convert(fitted(), TEST.drop(columns="repaid"))
    (tmp_path / "m.onnx").write_bytes(made.onnx)
    models = [
        gw.submit(source, train=TRAIN, test=TEST, home=root, **{**LOANS, "name": "ready"})
        for source in (made.onnx, tmp_path / "m.onnx", str(tmp_path / "m.onnx"))
    ]
    assert {"ready@1"} == {model.ref for model in models}
    assert (None, {}) == (models[0].parity, models[0].version.parity)
    assert "Parity was not measured" in as_text(models[0].sheet())


def test_a_recipe_is_recorded_as_it_was_read(root: Path, tmp_path: Path) -> None:
    """The version names the digest of the recipe's bytes and its seed."""
    place = tmp_path / "train.py"
    place.write_text("def train(rows, seed):\n    return None\n", "utf-8")
    recipe = gw.recipe(place)
    place.write_text("changed", "utf-8")
    model = gw.submit(
        fitted(), train=TRAIN, test=TEST, recipe=recipe, seed=7, home=root, **{**LOANS, "name": "cooked"}
    )
    assert isinstance(recipe, Recipe)
    assert (Digest.of(recipe.content), 7) == (model.version.recipe, model.version.seed)
    assert "Recipe" in as_text(model.sheet())
    with pytest.raises(Misuse, match="There is no file"):
        gw.recipe(tmp_path / "none.py")


def test_a_conversion_that_answers_otherwise_is_refused_with_its_rows(root: Path) -> None:
    """A model that says yes sooner than its ONNX form does is refused, the rows shown, and nothing is recorded."""
    model = fitted()
    model.predict = lambda rows: np.where(model.predict_proba(rows)[:, 1] > 0.2, "yes", "no")
    before = kinds(root)
    with pytest.raises(Refused, match=r"row [0-9]+: yes became no") as caught:
        gw.submit(model, train=TRAIN, test=TEST, home=root, **{**LOANS, "name": "sooner"})
    assert ("client.parity", before) == (caught.value.code, kinds(root))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "Loans!"}, "kernel.name"),
        ({"target": "repayed"}, "client.no-column"),
        ({"sensitive": "town"}, "client.one-name"),
        ({"task": "classify"}, "client.task"),
        ({"model": object()}, "client.unknown-library"),
        ({"model": LogisticRegression()}, "client.not-fitted"),
        ({"train": TRAIN.iloc[:0]}, "client.no-rows"),
        ({"test": TEST.iloc[:0]}, "client.no-rows"),
        ({"test": TEST.assign(income="much")}, "client.types-differ"),
        ({"drop": ["town"]}, "client.dropped-column"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_a_wrong_call_is_answered_and_leaves_no_model(root: Path, changes: dict[str, Any], code: str) -> None:
    """Each mistake has its own code, and no model version is made of it."""
    call = {"model": fitted(), "train": TRAIN, "test": TEST, **LOANS, "name": "wrong", **changes}
    with pytest.raises((BadInput, Misuse, Refused)) as caught:
        gw.submit(call.pop("model"), home=root, **call)
    assert code == caught.value.code
    with read_home(root) as home:
        assert home.archive.get("models-latest", "wrong") is None


def test_a_dropped_column_that_nothing_reads_may_have_been_there_in_fitting(root: Path) -> None:
    """A pipeline that saw an id and ignores it is taken, nothing of the id is kept, and no input asks for it."""
    train, test = (rows.assign(customer=[f"c{row}" for row in rows.index]) for rows in (TRAIN, TEST))
    estimator = fitted(train)
    assert "customer" in estimator.feature_names_in_
    call: dict[str, Any] = {"train": train, "test": test, "home": root, **LOANS, "name": "ignored"}
    model = gw.submit(estimator, drop=["customer"], **call)
    assert ["income", "town"] == [name for name, _ in model.data.features]
    with pytest.raises(BadInput, match=r"reads 'town'.*drop=") as caught:
        gw.submit(estimator, drop=["customer", "town"], **{**call, "name": "read"})
    assert "client.dropped-column" == caught.value.code


def test_a_call_cut_short_goes_on_from_what_is_recorded(root: Path) -> None:
    """Bytes that are no model leave their refusal and the rows on record, and the next call takes those rows."""
    call: dict[str, Any] = {"train": TRAIN, "test": TEST, "home": root, **LOANS, "name": "short"}
    before = kinds(root)
    with pytest.raises(Refused) as caught:
        gw.submit(b"no model", **call)
    assert "models.unknown-format" == caught.value.code
    assert [*before, "dataset.added", "model.refused"] == kinds(root)
    model = gw.submit(fitted(), **call)
    assert [*before, "dataset.added", "model.refused", "model.added"] == kinds(root)
    assert ("short@1", "short@1") == (model.ref, model.data.ref)


def test_without_a_home_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no home, the error says how to make one, and the folder stays empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWRIGHT_HOME", raising=False)
    with pytest.raises(Misuse, match=r"gw\.init\(\).*gatewright init") as caught:
        gw.submit(fitted(), train=TRAIN, test=TEST, **LOANS)
    assert ("client.no-home", []) == (caught.value.code, list(tmp_path.iterdir()))


def test_the_home_is_found_upwards_and_never_guessed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder below the home is enough, and two homes named at once are refused."""
    below = root / "notebooks"
    below.mkdir()
    monkeypatch.chdir(below)
    monkeypatch.delenv("GATEWRIGHT_HOME", raising=False)
    model = gw.submit(fitted(), train=TRAIN, test=TEST, **LOANS)
    assert root.resolve() == model.root
    made = gw.init(tmp_path / "other", owner="grace")
    assert all(each in repr(made) for each in ("A home for grace", str(tmp_path / "other"), made.made.trust))
    monkeypatch.setenv("GATEWRIGHT_HOME", str(tmp_path / "other"))
    with pytest.raises(Misuse, match="GATEWRIGHT_HOME names"):
        gw.model("loans", home=root)


def test_importing_the_package_fetches_nothing() -> None:
    """``import gatewright`` loads no other module of the product and no library; its names are listed."""
    code = (
        "import sys; before = set(sys.modules); import gatewright as gw; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "assert new == {'gatewright'}, new; assert set(gw.__all__) <= set(dir(gw)); "
        "assert not [n for n in sys.modules if n.startswith('gatewright.')]; "
        "assert gw.init.__module__ == 'gatewright.client.opening'; "
        "assert not hasattr(gw, 'nothing')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


def test_every_public_name_is_there() -> None:
    """Each name of the package can be fetched, and is the one that type checkers see."""
    assert gw.__all__ == [name for name in gw.__all__ if getattr(gw, name).__name__ == name]
