"""Permutation importance: known weights come back, and a feature that carries everything is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.case import Case, Predictions, Shuffled
from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.performance import importance
from gatewright.checks.suite import EVIDENCE_BYTES
from gatewright.kernel.canonical import encode
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task
from gatewright.testing.cases import case
from unit.checks.performance.asked import world

EVEN = {"x0": 2.0, "x1": 1.6, "x2": 1.2}


def _run(found: Case, **values: float) -> Finding:
    return importance.run(found, importance.Parameters(**values))


def _matter(found: Finding) -> list[str]:
    named = found.evidence["matter"]
    assert isinstance(named, list)
    return named


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_the_features_that_matter_are_found_in_order(task: Task) -> None:
    """The features with weight matter, the heaviest first; the others are not shown to."""
    found = _run(world(task, EVEN))
    assert Outcome.PASSED is found.outcome
    assert ["x0", "x1", "x2"] == _matter(found)
    assert {"x3", "x4", "x5", "x6", "x7"} == set(found.evidence["not_shown_to_matter"])  # type: ignore[arg-type]


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_a_feature_that_carries_everything_is_named(task: Task) -> None:
    """A column that knows the answer is named as suspicious and fails; by the parameter it passes."""
    leaking = world(task, {"x4": 6.0, "x0": 0.3})
    found = _run(leaking)
    assert Outcome.FAILED is found.outcome
    assert "x4" == found.evidence["suspicious"]
    assert found.summary.startswith("x4 alone carries")
    assert "x4" in found.next
    assert Outcome.PASSED is _run(leaking, largest_share=1.0).outcome


def test_the_rise_of_the_error_is_what_shuffling_does() -> None:
    """For a linear model and standard normal features the mean error after shuffling is known."""
    found = _run(world(Task.REGRESSION, {"x0": 3.0, "x1": 1.0, "x2": 1.0}, rows=2_000))
    metric = next(each for each in found.metrics if each.slice == "x0")
    expected = np.sqrt(2 / np.pi) * (np.sqrt(1 + 2 * 9) - 1)
    assert metric.low <= expected <= metric.high


def test_a_model_without_probabilities_is_weighed_by_its_labels() -> None:
    """Labels alone are enough: the loss is then the share of wrong answers."""
    found = world(Task.BINARY, EVEN, rows=2_000)

    def bare(predictions: Predictions) -> Predictions:
        return replace(predictions, scores=None)

    assert found.predictions is not None
    shuffled = tuple(
        replace(each, answers=tuple(bare(answer) for answer in each.answers)) for each in found.shuffled
    )
    given = _run(replace(found, predictions=bare(found.predictions), shuffled=shuffled))
    assert "share of wrong answers" == given.evidence["loss"]
    assert ["x0", "x1", "x2"] == _matter(given)


def test_useless_features_seldom_matter() -> None:
    """Over many worlds a feature without weight is named in no more of them than Holm promises."""
    alarms = sum(
        bool(set(_matter(_run(world(Task.REGRESSION, EVEN, seed=seed, rows=100)))) - set(EVEN))
        for seed in range(40)
    )
    assert alarms <= 7  # P(Binomial(40, 0.05) > 7) < 0.001


def test_a_model_without_skill_is_unknown() -> None:
    """Where the answers know nothing, no feature can be said to matter."""
    found = world(Task.BINARY, EVEN)
    truth = found.test.column("answer")
    mixed = replace(truth, values=np.random.default_rng(1).permutation(truth.values))
    columns = tuple(mixed if column.name == "answer" else column for column in found.test.columns)
    given = _run(replace(found, test=replace(found.test, columns=columns)))
    assert Outcome.UNKNOWN is given.outcome
    assert "no skill" in given.reason


def test_what_was_not_shuffled_is_skipped() -> None:
    """Without shuffled features the question does not arise."""
    assert Outcome.SKIPPED is _run(case(2)).outcome


def test_a_model_that_does_not_answer_shuffled_rows_is_unknown() -> None:
    """A refusal of the shuffled rows is no pass."""
    sound = case(3)
    empty = (Shuffled(feature="x0", rows=np.arange(5), answers=()),)
    assert Outcome.UNKNOWN is _run(replace(sound, shuffled=empty)).outcome


def test_a_model_of_two_features_is_not_suspected() -> None:
    """Where there are fewer than three features one must carry much."""
    found = world(Task.REGRESSION, {"x0": 3.0})
    two = replace(found.signature.inputs[0], columns=("x0", "x1"))
    given = _run(replace(found, signature=replace(found.signature, inputs=(two,))))
    assert Outcome.PASSED is given.outcome


def test_nonsense_is_refused() -> None:
    """A share above one is no share."""
    with pytest.raises(Misuse) as refused:
        importance.Parameters(largest_share=1.5)
    assert "checks.parameter" == refused.value.code


def test_long_names_stay_within_the_evidence() -> None:
    """A hundred features with very long names, in letters of four bytes, are told within the bound."""
    found = world(Task.REGRESSION, EVEN, rows=200)
    long = tuple(
        replace(each, feature="\N{GOTHIC LETTER AHSA}" * 300 + f"{number}{each.feature}")
        for number in range(12)
        for each in found.shuffled
    )
    given = _run(replace(found, shuffled=long))
    assert len(encode(given.evidence)) <= EVIDENCE_BYTES
    assert len(given.summary) <= 1_000
