"""Two versions compared: what is shown is recommended, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.answers import NoAnswers
from gatewright.checks.case import Case, Predictions, Timing
from gatewright.checks.comparison import (
    MIXED,
    NEITHER,
    NOTHING,
    A,
    B,
    Comparison,
    compare,
)
from gatewright.models.signature import Task
from gatewright.testing.cases import case

NAMES = ("old@1", "new@2")
SOUND = case(1, test_rows=1_000)


def _compared(a: Case, b: Case, doubts: tuple[str, ...] = ()) -> Comparison:
    found = compare(a, b, NAMES, doubts)
    assert not isinstance(found, NoAnswers)
    return found


def _judged(a: Case, b: Case, *denied: str) -> tuple[str, str]:
    found = compare(a, b, NAMES, (), denied)
    assert not isinstance(found, NoAnswers)
    return found.recommended, found.sentence


def _wrong(sound: Case, inside: np.ndarray) -> Case:
    """The case with the answers inside turned around."""
    assert sound.predictions is not None
    assert sound.predictions.scores is not None
    labels, scores = sound.predictions.labels.copy(), sound.predictions.scores.copy()
    labels[inside] = np.where(labels[inside] == "yes", "no", "yes")
    scores[inside] = scores[inside][:, ::-1]
    return replace(sound, predictions=Predictions(labels=labels, scores=scores))


def _timed(found: Case, size: int, seconds: float) -> Case:
    rng = np.random.default_rng(1)
    return replace(found, timing=Timing(single_row=seconds * rng.lognormal(0, 0.1, 500), model_bytes=size))


SOME = np.random.default_rng(2).random(1_000) < 0.2
WORSE = _wrong(SOUND, SOME)


def test_a_better_version_is_shipped() -> None:
    """Where the second is shown to be better and nowhere worse, it is recommended, in words that say in what."""
    found = _compared(WORSE, SOUND)
    assert B == found.recommended
    assert "new@2 is better in accuracy, balanced-accuracy, log-loss and roc-auc" in found.sentence
    assert found.sentence.endswith("nothing shows it is worse. Ship new@2.")


def test_a_worse_version_is_not() -> None:
    """The other way round the first stays; every difference has the opposite sign."""
    found, back = _compared(SOUND, WORSE), _compared(WORSE, SOUND)
    assert A == found.recommended
    assert found.sentence.endswith("Keep old@1.")
    assert [-each.difference for each in back.measures] == [each.difference for each in found.measures]
    assert [A] * 4 == [each.better for each in found.measures]


def test_the_difference_is_b_minus_a_in_the_measures_own_sign() -> None:
    """A loss that rises is a difference above zero, and worse."""
    loss = next(each for each in _compared(SOUND, WORSE).measures if each.name == "log-loss")
    assert loss.b - loss.a == pytest.approx(loss.difference)
    assert loss.low < loss.difference < loss.high
    assert (False, A) == (loss.higher_is_better, loss.better)


def test_without_a_difference_the_cheaper_stays() -> None:
    """Two that are not told apart: the clearly smaller or faster one is kept, else the first."""
    twin = _wrong(SOUND, np.arange(1_000) < 3)
    assert NEITHER == _compared(SOUND, twin).recommended
    small, large = _timed(SOUND, 1_000, 1e-4), _timed(twin, 5_000, 9e-4)
    assert (
        "No difference is shown on 1,000 rows. Keep the smaller and faster one, old@1."
        == _compared(small, large).sentence
    )
    assert _compared(large, small).sentence.endswith("Keep the smaller and faster one, new@2.")
    torn = _compared(_timed(SOUND, 1_000, 9e-4), _timed(twin, 5_000, 1e-4))
    assert torn.sentence.endswith("neither is cheaper in everything. Keep old@1.")


def test_the_same_answers_are_called_the_same() -> None:
    """Where no row differs, that is what is said, and no row is named."""
    found = _compared(SOUND, SOUND)
    assert found.sentence.startswith("Both give the same answers")
    assert (0, ()) == (found.disagreement.differ, found.disagreement.named)


def test_a_slice_that_got_worse_is_weighed() -> None:
    """A version that is better over all and worse in a slice is for people to decide."""
    group = SOUND.test.column("site").values == "north"
    chosen = np.random.default_rng(3).random(1_000)
    a, b = _wrong(SOUND, ~group & (chosen < 0.5)), _wrong(SOUND, group & (chosen < 0.4))
    found = _compared(a, b)
    assert MIXED == found.recommended
    assert "worse where site=north" in found.sentence
    worse = next(each for each in found.slices if each.slice == "site=north")
    assert (A, int(group.sum())) == (worse.better, worse.rows)
    assert worse.high < 0


def test_a_doubt_recommends_nothing() -> None:
    """Answers to rows that a version learned from prove nothing, however good."""
    found = _compared(WORSE, SOUND, ("new@2: 5 test rows are among its training rows.",))
    assert NOTHING == found.recommended
    assert "Nothing is recommended: new@2: 5 test rows are among its training rows." == found.sentence


def test_disagreements_are_counted_and_named() -> None:
    """Rows with different answers are counted with who is right, and named by their number in the file."""
    found = _compared(SOUND, _wrong(SOUND, np.arange(1_000) < 30)).disagreement
    assert (1_000, 30, 30) == (found.rows, found.differ, found.only_a_right + found.only_b_right)
    assert list(range(1, 21)) == [each.row for each in found.named]
    assert found.low < 0.03 < found.high
    first = found.named[0]
    assert {first.a, first.b} == {"yes", "no"}


def test_values_are_compared_too() -> None:
    """Regression: mae and mse, and the rows that differ most first."""
    sound = case(4, Task.REGRESSION, test_rows=500)
    assert sound.predictions is not None
    labels = sound.predictions.labels.astype(np.float64) + np.random.default_rng(5).normal(0, 2, 500)
    labels[7] += 100
    found = _compared(sound, replace(sound, predictions=Predictions(labels=labels)))
    assert (["mae", "mse"], A, 8) == (
        [each.name for each in found.measures],
        found.recommended,
        found.disagreement.named[0].row,
    )


def test_without_answers_there_is_no_comparison() -> None:
    """A version that was not asked cannot be compared."""
    assert isinstance(compare(SOUND, replace(SOUND, predictions=None), NAMES, ()), NoAnswers)


def test_what_the_policy_denied_is_never_recommended() -> None:
    """A denied version is neither shipped nor kept, whatever the numbers show, and the sentence says why."""
    better = _judged(WORSE, SOUND, "new@2")
    assert (A, "Keep old@1 until a check of new@2 is allowed.") == (better[0], better[1][-45:])
    assert "but the policy denied it when it was last checked" in better[1]
    worse = _judged(SOUND, WORSE, "old@1")
    assert NOTHING == worse[0]
    assert "and the policy denied old@1 when it was last checked" in worse[1]
    for denied, kept in (NAMES, NAMES[::-1]):
        equal = _judged(_timed(SOUND, 100, 1e-3), _timed(SOUND, 1_000, 1e-1), denied)
        assert NEITHER == equal[0]
        assert f"Keep {kept}: the policy denied {denied} when it was last checked." in equal[1]
        assert f"Keep {denied}" not in equal[1]
    both = (NOTHING, "Nothing is recommended: the policy denied both when they were last checked.")
    assert both == _judged(WORSE, SOUND, *NAMES)
