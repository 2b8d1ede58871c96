"""Mislabelled rows are found and named; rows that are only hard to tell apart are not called mislabelled."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from gatewright.checks.case import Case, Fold, Predictions
from gatewright.checks.data.labels import MOST_ROWS, Parameters, run
from gatewright.checks.finding import Finding, Outcome
from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.table import Table
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task
from gatewright.testing.cases import TARGET, case, number_column, signature, text_column, with_column

PLAIN = Parameters()
# Read once, here: other tests take the product's settings out of the environment while they run.
ADULT = os.environ.get("GATEWRIGHT_ADULT", "")
needs_adult = pytest.mark.skipif(not ADULT, reason="GATEWRIGHT_ADULT names no folder with the Adult data set")


def labelled(
    features: np.ndarray, truth: np.ndarray, flip: float = 0.0, seed: int = 0
) -> tuple[Case, set[int]]:
    """A case whose train split holds the rows, a share of them with another label, and no answers."""
    rng, kinds = np.random.default_rng(seed), int(truth.max()) + 1
    flipped = rng.choice(len(truth), int(flip * len(truth)), replace=False)
    given = truth.copy()
    given[flipped] = (truth[flipped] + rng.integers(1, kinds, len(flipped))) % kinds
    names = [f"x{i}" for i in range(features.shape[1])]
    columns = tuple(number_column(name, features[:, i]) for i, name in enumerate(names))
    table = Table(columns=(*columns, text_column(TARGET, [str(kind) for kind in given])))
    task = Task.BINARY if kinds == 2 else Task.MULTICLASS
    known = replace(signature(task, names), classes=tuple(str(kind) for kind in range(kinds)))
    made = Case(
        signature=known, target=TARGET, train=table, test=table.take(np.arange(5)), trained_on=None,
        predictions=None, timing=None,
    )  # fmt: skip
    return made, set((flipped + 1).tolist())


def value(found: Finding, name: str) -> float:
    """The value of a metric."""
    return next(metric.value for metric in found.metrics if metric.name == name)


def generated(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two classes that a curved border of several columns keeps apart but for a little overlap."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 6))
    drive = 3 * features[:, 0] + 2 * features[:, 1] ** 2 - 2 * features[:, 2] + rng.normal(size=rows) * 0.7
    return features, (drive > 1).astype(np.intp)


def test_a_mislabelled_tenth_is_found_and_named() -> None:
    """A tenth of flipped labels fails, is estimated at about a tenth, and the rows named are flipped ones."""
    made, flipped = labelled(*generated(6_000, 1), flip=0.1)
    found = run(made, PLAIN)
    assert Outcome.FAILED is found.outcome
    assert pytest.approx(0.1, abs=0.025) == value(found, "contradicted-surest-train")
    named = [entry["row"] for entry in found.evidence["train"]["rows"]]  # type: ignore[index,call-overload]
    assert sum(row in flipped for row in named) >= 18


@pytest.mark.parametrize(
    ("load", "flip"), [(load_breast_cancer, 0.0), (load_digits, 0.0), (load_digits, 0.1)]
)
def test_public_data_pass_as_they_are_and_fail_with_a_mislabelled_tenth(load, flip: float) -> None:  # type: ignore[no-untyped-def]
    """The labels of breast cancer and digits pass; digits with a tenth of them flipped fail."""
    made, _ = labelled(*load(return_X_y=True), flip=flip, seed=2)
    assert (Outcome.FAILED if flip else Outcome.PASSED) is run(made, PLAIN).outcome


@pytest.mark.parametrize("flip", [0.0, 0.1])
@needs_adult
def test_adult_passes_as_it_is_and_fails_with_a_mislabelled_tenth(flip: float) -> None:
    """Overlapping classes are not called mislabelled: confident learning doubts 7 %, the surest rows hardly any."""
    table = read_csv((Path(ADULT) / "train.csv").read_bytes(), name="train.csv")
    rng = np.random.default_rng(4)
    other = {"<=50K": ">50K", ">50K": "<=50K"}
    texts = [
        other[text] if turned else text
        for text, turned in zip(table.column("income").values, rng.random(table.rows) < flip, strict=True)
    ]
    names = [name for name in table.names if name != "income"]
    known = replace(signature(Task.BINARY, names), classes=("<=50K", ">50K"))
    made = Case(
        signature=known, target="income", train=with_column(table, text_column("income", texts)),
        test=table.take(np.arange(5)), trained_on=None, predictions=None, timing=None,
    )  # fmt: skip
    found = run(made, PLAIN)
    if flip:
        assert value(found, "contradicted-surest-train") > 0.09
    else:
        assert Outcome.PASSED is found.outcome
        assert pytest.approx(0.072, abs=0.01) == value(found, "doubtful-share-train")
        assert f"{MOST_ROWS:,} of the 32,561 train rows" in found.evidence["train"]["judged_by"]  # type: ignore[index,call-overload,operator]


@pytest.mark.parametrize("steep", [0.3, 0.7, 1.0, 1.5, 2.5])
def test_questions_that_are_hard_to_answer_are_not_called_mislabelled(steep: float) -> None:
    """Classes drawn with a logistic chance, from hardly to well predictable, pass in 8 of 8 draws."""
    outcomes = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(2_000, 3))
        truth = (rng.random(2_000) < 1 / (1 + np.exp(-steep * features[:, 0] + 0.5))).astype(np.intp)
        outcomes.add(run(labelled(features, truth)[0], PLAIN).outcome)
    assert {Outcome.PASSED} == outcomes


def test_labels_of_test_rows_are_judged_by_the_models_own_answers() -> None:
    """Flipped test labels fail though the train rows are too few to judge, and are named by test row."""
    rng = np.random.default_rng(0)
    sound = case(3, train_rows=60, test_rows=2_400)
    truth = rng.integers(0, 2, 2_400)
    stated = np.full((2_400, 2), 0.03) + 0.94 * np.eye(2)[truth]
    given = truth.copy()
    given[:300] = 1 - truth[:300]
    names = np.array(["no", "yes"], dtype=object)
    made = replace(
        sound,
        test=with_column(sound.test, text_column(TARGET, names[given].tolist())),
        predictions=Predictions(labels=names[truth], scores=stated),
    )
    found = run(made, PLAIN)
    assert Outcome.FAILED is found.outcome
    assert {row["row"] for row in found.evidence["test"]["rows"]} <= set(range(1, 301))  # type: ignore[index,call-overload,union-attr]
    assert ["The train split has 60 labelled rows of 8 columns: too little to judge."] == found.evidence[
        "notes"
    ]


def test_a_recipes_folds_are_used_where_there_are_any() -> None:
    """The probabilities of models trained by the recipe judge the train rows, and the finding says so."""
    made, _ = labelled(*generated(600, 2))
    given = np.array([int(text) for text in made.train.column(TARGET).values])
    halves = [np.flatnonzero(np.arange(600) % 2 == part) for part in (0, 1)]
    folds = tuple(
        Fold(
            rows=rows,
            predictions=Predictions(
                labels=given[rows].astype(str).astype(object), scores=0.05 + 0.9 * np.eye(2)[given[rows]]
            ),
        )
        for rows in halves
    )
    found = run(replace(made, folds=folds), PLAIN)
    assert "models that the recipe trained without them" == found.evidence["train"]["judged_by"]  # type: ignore[index,call-overload]
    assert value(found, "doubtful-rows-train") == 0


def test_a_class_too_rare_to_judge_is_left_out() -> None:
    """Three rows of a third class are not judged, and the others are."""
    features, truth = generated(400, 5)
    truth[:3] = 2
    found = run(labelled(features, truth)[0], PLAIN)
    assert 397 == found.evidence["train"]["rows_judged"]  # type: ignore[index,call-overload]


def test_amounts_are_skipped_and_too_few_rows_are_unknown() -> None:
    """Regression is skipped; sixty rows and no answers cannot be judged."""
    assert Outcome.SKIPPED is run(case(1, Task.REGRESSION), PLAIN).outcome
    few = replace(case(1, train_rows=60, test_rows=30), predictions=None)
    assert Outcome.UNKNOWN is run(few, PLAIN).outcome


def test_the_limit_is_a_share() -> None:
    """A limit beyond 1 is refused; one above what is found lets the mislabelled tenth pass."""
    with pytest.raises(Misuse):
        Parameters(largest_share=1.5)
    made, _ = labelled(*generated(6_000, 1), flip=0.1)
    assert Outcome.PASSED is run(made, Parameters(largest_share=0.2)).outcome
