"""Cross-validation: the corrected interval, the comparison with the test rows, and what cannot be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student

from gatewright.checks.case import Case, Fold, Predictions
from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.performance import metrics
from gatewright.checks.performance.cross_validation import METRICS, Parameters, corrected_mean, run
from gatewright.checks.suite import known_checks
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task
from gatewright.testing import cases
from gatewright.testing.check_contract import PROMISES

FOLDS = 5


def folded(sound: Case, *, worse: float = 0.0) -> Case:
    """The case with folds answered by a calibrated model, and a share of labels that are then guessed."""
    rng = np.random.default_rng(sound.seed)
    answers = _answers(sound)
    found = []
    for rows in np.array_split(np.arange(sound.train.rows, dtype=np.intp), FOLDS):
        labels = answers.labels[rows].copy()
        guessed = rng.random(len(rows)) < worse
        labels[guessed] = rng.permutation(answers.labels)[: int(guessed.sum())]
        scores = None if answers.scores is None else answers.scores[rows]
        found.append(Fold(rows=rows, predictions=Predictions(labels=labels, scores=scores), seconds=1.04))
    return replace(sound, folds=tuple(found))


def _answers(sound: Case) -> Predictions:
    """What the model of ``cases.answered`` says of the training rows."""
    first = sound.train.column("x0").values.astype(np.float64)
    task = sound.signature.task
    if task is Task.REGRESSION:
        return Predictions(labels=3 * first)
    classes = np.array(cases.CLASSES[task], dtype=object)
    drive = np.stack([first * 1.5 * index for index in range(len(classes))], axis=1)
    scores = np.exp(drive) / np.exp(drive).sum(axis=1, keepdims=True)
    return Predictions(labels=classes[scores.argmax(axis=1)], scores=scores)


def value(finding: Finding, name: str) -> tuple[float, float, float]:
    """A metric's value and bounds."""
    (found,) = [metric for metric in finding.metrics if metric.name == name]
    return found.value, found.low, found.high


def test_the_interval_is_the_published_one() -> None:
    """Mean ± t · sqrt((1/k + n_out/n_in) · s²), as Nadeau & Bengio (2003) write it, by another t."""
    values = np.array([0.81, 0.84, 0.79, 0.86, 0.83])
    found = corrected_mean(values, 0.25)
    reach = student(4).ppf(0.975) * np.sqrt((1 / 5 + 0.25) * values.var(ddof=1))

    assert found is not None
    assert pytest.approx((values.mean() - reach, values.mean() + reach)) == (found.low, found.high)


@pytest.mark.parametrize("values", [[0.5], [0.9, 0.9, 0.9], [0.5, np.inf]])
def test_figures_that_do_not_vary_have_no_interval(values: Sequence[float]) -> None:
    """One figure, equal figures and infinite ones have no variance to correct."""
    with np.errstate(invalid="ignore"):
        assert None is corrected_mean(np.array(values), 0.25)


def _centroid_accuracies(
    rng: np.random.Generator, rows: int, fresh: tuple[NDArray[np.float64], NDArray[np.bool_]]
) -> tuple[NDArray[np.float64], float]:
    """Accuracies of a nearest-mean model over five folds, and what its models truly reach."""
    truth = rng.random(rows) < 0.5
    points = rng.normal(size=(rows, 6)) + np.where(truth, 0.3, -0.3)[:, None]
    said, reached = [], []
    for part in np.array_split(rng.permutation(rows), FOLDS):
        kept = np.setdiff1d(np.arange(rows), part)
        up, down = points[kept][truth[kept]].mean(axis=0), points[kept][~truth[kept]].mean(axis=0)

        def accuracy(
            x: NDArray[np.float64],
            y: NDArray[np.bool_],
            up: NDArray[np.float64] = up,
            down: NDArray[np.float64] = down,
        ) -> float:
            return float((((x - (up + down) / 2) @ (up - down) > 0) == y).mean())

        said.append(accuracy(points[part], truth[part]))
        reached.append(accuracy(*fresh))
    return np.array(said), float(np.mean(reached))


def test_the_interval_holds_the_truth() -> None:
    """Over 400 drawn data sets the interval covers the mean truth in 93 of 100, and more often than without the correction."""
    rng = np.random.default_rng(1)
    truth = rng.random(4_000) < 0.5
    fresh = (rng.normal(size=(4_000, 6)) + np.where(truth, 0.3, -0.3)[:, None], truth)
    draws = [_centroid_accuracies(rng, 200, fresh) for _ in range(400)]
    aim = float(np.mean([reached for _, reached in draws]))

    def covered(ratio: float) -> float:
        found = [corrected_mean(values, ratio) for values, _ in draws]
        return float(np.mean([each is not None and each.low <= aim <= each.high for each in found]))

    assert covered(0.25) >= 0.93
    assert covered(0.25) > covered(0.0)


@pytest.mark.parametrize("task", list(Task))
def test_a_sound_recipe_agrees_with_the_test_rows(task: Task) -> None:
    """Every number is the mean over the folds, inside its interval, and the gap holds zero."""
    case = folded(cases.case(4, task, train_rows=1_000, test_rows=800))
    finding = run(case, Parameters())

    assert Outcome.PASSED is finding.outcome
    name = "r2" if task is Task.REGRESSION else "accuracy"
    each = [
        metrics.run(
            replace(case, test=case.train.take(fold.rows), predictions=fold.predictions), metrics.Parameters()
        )
        for fold in case.folds
    ]
    assert pytest.approx(np.mean([value(found, name)[0] for found in each])) == value(finding, name)[0]
    assert value(finding, "gap")[1] <= 0 <= value(finding, "gap")[2]
    assert {metric.name for metric in finding.metrics} == {n for n, tasks in METRICS.items() if task in tasks}


@pytest.mark.parametrize(("worse", "words"), [(0.9, "too good to be true"), (0.0, "does better on held-out")])
def test_a_test_figure_far_outside_fails(worse: float, words: str) -> None:
    """Test figures far above the folds, and far below, each fail with their own sentence and advice."""
    case = folded(cases.case(2, train_rows=1_000, test_rows=800), worse=worse)
    if not worse:
        assert case.predictions is not None
        rng = np.random.default_rng(0)
        case = replace(
            case, predictions=replace(case.predictions, labels=rng.permutation(case.predictions.labels))
        )
    finding = run(case, Parameters())

    assert Outcome.FAILED is finding.outcome
    assert words in finding.summary
    assert "gatewright train" in finding.next


def test_folds_without_an_error_keep_an_honest_interval() -> None:
    """Five perfect folds do not make an accuracy of exactly 1."""
    sound = cases.case(3)
    truth = sound.train.column(cases.TARGET).values
    perfect = [
        replace(fold, predictions=Predictions(labels=truth[fold.rows])) for fold in folded(sound).folds
    ]
    mean, low, high = value(run(replace(sound, folds=tuple(perfect)), Parameters()), "accuracy")

    assert (1.0, 1.0) == (mean, high)
    assert 0.97 < low < 1.0


@pytest.mark.parametrize(
    ("case", "outcome", "word"),
    [
        (cases.case(1), Outcome.SKIPPED, "no recipe"),
        (replace(cases.case(1), no_folds="Fold 2 of 5: it ran for ever."), Outcome.UNKNOWN, "for ever"),
        (replace(cases.case(1), folds=folded(cases.case(1)).folds[:1]), Outcome.UNKNOWN, "two folds"),
        (replace(folded(cases.case(1)), predictions=None), Outcome.UNKNOWN, "on the test rows"),
    ],
)
def test_what_cannot_be_said_is_not_passed(case: Case, outcome: Outcome, word: str) -> None:
    """Without a recipe it is skipped; a recipe that failed, too few folds and missing answers are unknown."""
    finding = run(case, Parameters())

    assert outcome is finding.outcome
    assert word in finding.reason


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize(
    "name",
    [
        "binary-classification/sound",
        "binary-classification/one-class",
        "regression/sound",
        "multiclass-classification/features-all-missing",
    ],
)
def test_the_contract_holds_with_folds(promise: object, name: str) -> None:
    """A case with folds, odd or sound, keeps every promise of a check."""
    case = cases.odd_cases(7)[name]
    assert callable(promise)
    promise(
        known_checks()["performance.cross-validation"],
        folded(case)
        if "all-missing" not in name
        else replace(case, folds=folded(cases.case(7, Task.MULTICLASS, train_rows=120)).folds),
    )


@pytest.mark.parametrize("gap", [-0.1, 1.5, float("nan")])
def test_a_gap_that_is_none_is_refused(gap: float) -> None:
    """The parameter refuses nonsense."""
    with pytest.raises(Misuse):
        Parameters(largest_gap=gap)
