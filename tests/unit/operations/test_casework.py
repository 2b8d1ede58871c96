"""Gathering a case: exactly the locked rows, the model's own answers, measured times."""

from __future__ import annotations

import numpy as np

from gatewright.operations import casework
from gatewright.operations.data import dataset
from gatewright.operations.home import Home
from gatewright.operations.models import model
from scenario.world import WEIGHTS, loans


def test_a_case_holds_the_locked_rows_and_the_answers(live: Home) -> None:
    """Rows are those of the split; labels and probabilities are what the weights give."""
    version, data = model(live, "loans@1"), dataset(live, "loans@1")
    case = casework.gather(live, version, data, seed=3)
    assert (200, 300, 3, "repaid", ("age",)) == (
        case.train.rows,
        case.test.rows,
        case.seed,
        case.target,
        case.slices,
    )
    assert case.trained_on == case.train
    values, _ = loans(300, 2)
    chance = 1 / (1 + np.exp(-values @ np.array(WEIGHTS)))
    assert case.predictions is not None
    assert case.predictions.scores is not None
    np.testing.assert_allclose(chance, case.predictions.scores[:, 1], atol=1e-5)
    assert case.predictions.labels is not None
    assert list(np.where(chance > 0.5, "yes", "no")) == list(case.predictions.labels)
    assert case.timing is not None
    assert version.bytes == case.timing.model_bytes
    assert min(case.timing.single_row) > 0


def test_the_digests_of_a_case_are_those_of_its_files(live: Home) -> None:
    """A report names the train and test files, and the declared rows where there are any."""
    version, data = model(live, "loans@1"), dataset(live, "loans@1")
    assert {"train": data.train, "test": data.test, "trained-on": data.train} == dict(
        casework.data_digests(version, data)
    )


def test_a_case_holds_the_answers_to_shuffled_features(live: Home) -> None:
    """Each feature is shuffled among the test rows; one without weight changes no answer."""
    case = casework.gather(live, model(live, "loans@1"), dataset(live, "loans@1"), seed=3)
    assert case.predictions is not None
    assert case.predictions.scores is not None
    found = {each.feature: each for each in case.shuffled}
    assert {"income", "debts", "age"} == set(found)
    assert {3} == {len(each.answers) for each in case.shuffled}
    for name, moves in (("income", True), ("debts", True), ("age", False)):
        rows, scores = found[name].rows, found[name].answers[0].scores
        assert scores is not None
        assert moves == (not np.allclose(scores, case.predictions.scores[rows]))


def test_a_model_that_cannot_answer_shuffled_rows_is_no_failure_of_the_rest(live: Home) -> None:
    """Where the shuffled rows are refused, the answers are empty and the case stands."""
    case = casework.asked(live, model(live, "loans@1"), dataset(live, "loans@1"), seed=3)
    found = casework.shuffled(b"no model", case)
    assert ["income", "debts", "age"] == [each.feature for each in found]
    assert {()} == {each.answers for each in found}
