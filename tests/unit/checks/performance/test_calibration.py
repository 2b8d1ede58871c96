"""Right probabilities pass, wrong ones are measured, named by direction and fail; the estimates are oracles'."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from gatewright.checks.case import Case, Predictions
from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.intervals import Interval
from gatewright.checks.performance import metrics
from gatewright.checks.performance.calibration import (
    UNSHOWN,
    Parameters,
    _err,
    recalibration,
    run,
    spiegelhalter,
)
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task
from gatewright.testing.cases import TARGET, case, text_column, with_column

PLAIN = Parameters()


def stating(slope: float, intercept: float = 0.0, rows: int = 3_000, seed: int = 0) -> Case:
    """A case whose true log-odds are ``intercept + slope`` times those stated."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=rows) * 2
    happened = rng.random(rows) < expit(intercept + slope * odds)
    stated = expit(odds)
    sound = case(1, test_rows=rows)
    names = np.array(["no", "yes"], dtype=object)
    return replace(
        sound,
        test=with_column(sound.test, text_column(TARGET, names[happened.astype(int)].tolist())),
        predictions=Predictions(
            labels=names[(stated > 0.5).astype(int)], scores=np.stack([1 - stated, stated], axis=1)
        ),
    )


def value(found: Finding, name: str) -> float:
    """The value of a metric over all rows."""
    return next(metric.value for metric in found.metrics if metric.name == name and not metric.slice)


def test_right_probabilities_pass_and_err_in_no_direction() -> None:
    """Probabilities that come true pass, with a slope about 1 and no direction shown."""
    found = run(stating(1.0), PLAIN)
    assert Outcome.PASSED is found.outcome
    assert pytest.approx(1.0, abs=0.12) == value(found, "calibration-slope")
    assert "not shown to err in one direction" == found.evidence["direction"]


@pytest.mark.parametrize(
    ("slope", "intercept", "word"),
    [(0.3, 0.0, "overconfident"), (3.0, 0.0, "underconfident"), (1.0, 1.2, "too low on average"), (1.0, -1.2, "too high on average")],
)  # fmt: skip
def test_the_direction_is_named(slope: float, intercept: float, word: str) -> None:
    """The way the probabilities err is said in words."""
    found = run(stating(slope, intercept), PLAIN)
    assert str(found.evidence["direction"]).startswith(word)
    assert pytest.approx(slope, rel=0.15) == value(found, "calibration-slope")


def test_badly_stated_probabilities_fail_with_advice() -> None:
    """Probabilities off by more than 0.10 for sure fail, and the advice names a way to mend them."""
    found = run(stating(0.1), PLAIN)
    assert Outcome.FAILED is found.outcome
    assert "CalibratedClassifierCV" in found.next
    assert Outcome.PASSED is run(stating(0.1), Parameters(largest_error=0.9)).outcome


def test_the_error_is_the_one_of_the_metrics() -> None:
    """The calibration error and its interval are those of performance.metrics, for each task of classes."""
    for task in (Task.BINARY, Task.MULTICLASS):
        made = case(4, task, test_rows=600)
        ours = next(m for m in run(made, PLAIN).metrics if m.name == "calibration-error" and not m.slice)
        theirs = next(
            m for m in metrics.run(made, metrics.Parameters()).metrics if m.name == "calibration-error"
        )
        assert (theirs.value, theirs.low, theirs.high) == (ours.value, ours.low, ours.high)


def test_coxs_line_is_scikit_learns_logistic_regression() -> None:
    """Slope and intercept are those of an unpenalised logistic regression on the log-odds."""
    rng = np.random.default_rng(1)
    stated = expit(rng.normal(size=800))
    happened = rng.random(800) < stated**1.5
    found = recalibration(stated, happened)
    assert found is not None
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1_000).fit(logit(stated)[:, None], happened)
    assert pytest.approx(oracle.coef_[0, 0], abs=1e-4) == found.slope
    assert pytest.approx(oracle.intercept_[0], abs=1e-4) == found.intercept


def test_no_line_fits_answers_that_are_all_right() -> None:
    """Where the log-odds part the events exactly, no slope is best and none is given."""
    assert (
        recalibration(np.array([0.1, 0.2, 0.8, 0.9] * 10), np.array([False, False, True, True] * 10)) is None
    )


def test_spiegelhalters_z_is_standard_normal_where_probabilities_are_right() -> None:
    """Over 2,000 draws with right probabilities z has mean 0 and spread 1, and p is below 0.05 in 5 %."""
    rng = np.random.default_rng(2)
    stated = rng.random((2_000, 200))
    found = [spiegelhalter(row, rng.random(200) < row) for row in stated]
    z = np.array([pair[0] for pair in found if pair is not None])
    p = np.array([pair[1] for pair in found if pair is not None])
    assert pytest.approx(0.0, abs=0.08) == z.mean()
    assert pytest.approx(1.0, abs=0.06) == z.std()
    assert pytest.approx(0.05, abs=0.015) == (p < 0.05).mean()


def test_the_slopes_interval_holds_the_truth() -> None:
    """In 400 draws of 400 rows the 95 % interval of the slope holds the true one in 92 to 98 %."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        odds = rng.normal(size=400) * 1.5
        found = recalibration(expit(odds), rng.random(400) < expit(0.7 * odds))
        held += found is not None and found.slope_interval.low <= 0.7 <= found.slope_interval.high
    assert 368 <= held <= 392


def test_each_class_of_several_has_its_own_numbers() -> None:
    """Three classes are reported each by name beside the likeliest class."""
    found = run(case(4, Task.MULTICLASS, test_rows=600), PLAIN)
    assert {"", "blue", "green", "red"} == {m.slice for m in found.metrics if m.name == "calibration-error"}


def test_the_table_holds_every_row_once() -> None:
    """The bins of the table add up to the test rows, each with an interval around what was observed."""
    found = run(stating(1.0, rows=500), PLAIN)
    rows = [row for row in found.evidence["table"] if isinstance(row, dict)]  # type: ignore[union-attr]
    assert 500 == sum(row["rows"] for row in rows)  # type: ignore[misc]
    assert all(row["low"] <= row["observed"] <= row["high"] for row in rows)  # type: ignore[operator]


def test_what_has_no_probabilities_is_skipped_or_unknown() -> None:
    """Amounts and bare labels are skipped; scores that are no probabilities and few rows are unknown."""
    sound = case(1)
    assert sound.predictions is not None
    assert sound.predictions.scores is not None
    bare = replace(sound, predictions=Predictions(labels=sound.predictions.labels))
    margins = replace(
        sound, predictions=Predictions(labels=sound.predictions.labels, scores=sound.predictions.scores * 7)
    )
    assert [Outcome.SKIPPED, Outcome.SKIPPED, Outcome.UNKNOWN, Outcome.UNKNOWN] == [
        run(made, PLAIN).outcome for made in (case(1, Task.REGRESSION), bare, margins, case(1, test_rows=30))
    ]


def test_the_two_ways_of_measuring_do_not_contradict_each_other() -> None:
    """Where no error of the table is shown and a fit shows a direction, the sentence says which is which."""
    none, some = (Interval(low=low, high=0.08, method="x") for low in (0.0, 0.02))
    assert "; they are overconfident" == _err(some, "overconfident")
    assert _err(none, "overconfident").startswith(
        ": group by group that shows no error, but a fit over all rows"
    )
    assert f"; they are {UNSHOWN}" == _err(none, UNSHOWN)


def test_parameters_out_of_range_are_refused_and_a_strange_class_is_unknown() -> None:
    """An error limit of zero is refused; a positive class that the model lacks gives no answer."""
    with pytest.raises(Misuse):
        Parameters(largest_error=0.0)
    assert Outcome.UNKNOWN is run(case(1), Parameters(positive_class="maybe")).outcome
