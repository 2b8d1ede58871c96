"""The gate between a model and its ONNX form: what is alike, what is refused, and what a refusal shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from gatewright.client.parity import (
    FEW_ROWS,
    PROBABILITY,
    PROBABILITY_MAX,
    PROBABILITY_P99,
    SPREAD,
    WORST_ROWS,
    Answers,
    Candidate,
    compare,
    prove,
    read_answers,
    reason,
)
from gatewright.kernel.errors import BadInput, Refused


def _answers(first: Any) -> Answers:
    """Answers of two classes from the probability of the first."""
    first = np.asarray(first, float)
    scores = np.stack([first, 1 - first], axis=1)
    return Answers(labels=scores.argmax(axis=1), scores=scores)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_equal_answers_are_alike(first: list[float]) -> None:
    """Whatever the probabilities are, answers are alike themselves, without a difference."""
    parity = compare(_answers(first), _answers(first), "FP32")
    assert (True, 0, 0.0, PROBABILITY) == (parity.holds, parity.labels_differ, parity.largest, parity.unit)


def test_a_tie_that_falls_the_other_way_is_a_disagreement() -> None:
    """Where two classes are equally probable, another label still counts: nothing is excepted."""
    expected = _answers([0.5, 0.9])
    found = Answers(labels=np.array([1, 0]), scores=expected.scores)
    parity = compare(expected, found, "FP32")
    assert (1, False) == (parity.labels_differ, parity.holds)


@pytest.mark.parametrize(
    ("differences", "holds"),
    [
        ([PROBABILITY_P99 * 0.9] * 200, True),
        ([PROBABILITY_P99 * 1.1] * 200, False),
        ([PROBABILITY_MAX * 0.9] + [0.0] * 199, True),
        ([PROBABILITY_MAX * 1.1] + [0.0] * 199, False),
    ],
    ids=["all small", "too many", "one larger", "one too large"],
)
def test_probabilities_are_held_to_both_bounds(differences: list[float], holds: bool) -> None:
    """One row in a hundred may differ by up to 1e-3, and the others by no more than 1e-5."""
    base = np.full(200, 0.8)
    assert holds is compare(_answers(base), _answers(base - differences), "FP32").holds


def test_values_are_compared_in_units_of_their_spread() -> None:
    """A regression's difference of 1 among values that spread by 2 is one half, and no label differs."""
    expected = Answers(labels=np.array([0.0, 4.0, 0.0, 4.0]))
    parity = compare(expected, Answers(labels=np.array([1.0, 4.0, 0.0, 4.0])), "FP32")
    assert (SPREAD, 0.5, 0) == (parity.unit, parity.largest, parity.labels_differ)


HEAVY = np.exp(3 * np.random.default_rng(0).normal(size=3_000))
"""Values over eight orders of magnitude, as a model of amounts gives them."""
ZEROS = np.zeros(60)


def _values(found: Any) -> Answers:
    return Answers(labels=np.asarray(found))


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ([3e-6] * 5, [-3e-6] * 5),
        ([3e-6], [-3e-6]),
        ([1e-7] * 5, [0.0] * 5),
        ([*np.arange(50.0), 1e9], [*-np.arange(50.0), 1e9]),
        ([*[3e-6] * 40, 1e9], [*[-3e-6] * 40, 1e9]),
        ([1e200, 2e200, -1e200], [0.0] * 3),
        ([1e-200, 2e-200, 4e-200], [-1e-200, -2e-200, -4e-200]),
        ([1.7e308, -1.7e308, 0.0], [0.0, 0.0, 0.0]),
        ([np.inf, 1.0, 2.0], [np.inf, 5.0, 9.0]),
        ([np.nan, 1.0], [np.nan, 1.0]),
        ([0.0, 0.0], [0.002, 0.0]),
        ([1.0, 1.0], [1.0]),
    ],
    ids=[
        "tiny and the same",
        "one row",
        "tiny and nothing",
        "one far value",
        "one far value among the same",
        "large",
        "very small",
        "too far apart",
        "infinite",
        "NaN",
        "zeros",
        "fewer",
    ],
)
def test_wrong_values_never_hold(expected: list[float], found: list[float]) -> None:
    """Whatever the spread is, none, stretched, underflowing or not a number, other values are not alike."""
    assert not compare(_values(expected), _values(found), "FP32").holds


@pytest.mark.parametrize(
    "expected",
    [HEAVY, [*np.arange(50.0), 1e9], [0.1] * 7, [0.1 + 0.2, *[0.3] * 6], [*ZEROS, 1e6, 3.0], [7.0], ZEROS],
    ids=[
        "heavy tail",
        "one far value",
        "the same",
        "the same but for rounding",
        "zeros",
        "one row",
        "all zero",
    ],
)
def test_values_in_float32_are_alike(expected: Any) -> None:
    """Rounding an answer to float32 is no difference, however far it lies from the others."""
    assert compare(_values(expected), _values(np.asarray(expected, np.float32)), "FP32").holds


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.sampled_from([2.0**-40, 2.0, 2.0**300]))
def test_the_scale_of_the_values_changes_nothing(values: list[float], scale: float) -> None:
    """Values and their answers times the same number are as far apart as before."""
    expected = np.round(values, 3)
    found = expected + np.arange(len(values))
    if not expected.any():
        expected = expected + 1.0
    once = compare(_values(expected), _values(found), "").largest
    assert (
        pytest.approx(once, rel=1e-6)
        == compare(_values(expected * scale), _values(found * scale), "").largest
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (1, "Only 1 row was compared"),
        (FEW_ROWS - 1, f"Only {FEW_ROWS - 1} rows were compared"),
        (FEW_ROWS, ""),
    ],
)
def test_few_rows_are_said_to_show_little(rows: int, words: str) -> None:
    """A comparison of fewer than 30 rows says so; one of 30 does not."""
    said = compare(_answers(np.full(rows, 0.9)), _answers(np.full(rows, 0.9)), "FP32").sentence()
    assert (bool(words), True) == ("shows little: give 1,000 or more" in said, words in said)


def test_values_are_compared_and_never_the_same() -> None:
    """The sentence of a regression counts the values, for a wrong one is no other label."""
    said = compare(_values([3e-6] * 5), _values([-3e-6] * 5), "FP32").sentence()
    assert said.startswith(
        "5 values are compared with FP32 inputs; the difference in spreads of the prediction"
    )


def test_no_rows_are_no_comparison() -> None:
    """Nothing compared with nothing is refused."""
    with pytest.raises(BadInput, match="no rows") as caught:
        compare(_values([]), _values([]), "FP32")
    assert "client.no-rows" == caught.value.code


@pytest.mark.parametrize("found", [Answers(labels=np.zeros(2)), _answers([np.nan, 0.5])], ids=["none", "NaN"])
def test_absent_or_undefined_probabilities_never_pass(found: Answers) -> None:
    """Probabilities that are not there, or are no number, count as infinitely far."""
    parity = compare(_answers([0.9, 0.5]), found, "FP32")
    assert (np.inf, False) == (parity.largest, parity.holds)


def _constant(labels: list[int], scores: list[list[float]]) -> Candidate:
    """A model that gives these answers, whatever it is fed."""
    nodes = [
        helper.make_node("Identity", ["x"], ["unused"]),
        helper.make_node("Constant", [], ["label"], value=numpy_helper.from_array(np.array(labels))),
        helper.make_node("Constant", [], ["p"], value=numpy_helper.from_array(np.array(scores))),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None])],
        [
            helper.make_tensor_value_info("label", onnx.TensorProto.INT64, None),
            helper.make_tensor_value_info("p", onnx.TensorProto.DOUBLE, None),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return Candidate(onnx=model.SerializeToString(), feeds={"x": np.zeros(1, np.float32)})


EXPECTED = _answers([0.9, 0.2, 0.7])
RIGHT = _constant([0, 1, 0], [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
WRONG = _constant([1, 1, 1], [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
BETTER = _constant([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])


def test_the_first_candidate_that_answers_alike_is_taken() -> None:
    """A candidate that fails is passed over, and those behind the first good one are not even made."""

    def candidates() -> Any:
        yield WRONG
        yield RIGHT
        raise AssertionError

    data, parity = prove(EXPECTED, candidates(), advice="")
    assert (RIGHT.onnx, True, "FP32") == (data, parity.holds, parity.inputs)


def test_a_refusal_shows_the_worst_rows_of_the_best_candidate() -> None:
    """Where none answers alike, the rows of the one that came nearest are named with both answers."""
    with pytest.raises(Refused, match=r"2 of 3 rows get the same answer.*row 2: 0 became 1 \(.*\) Do that\."):
        prove(EXPECTED, [WRONG, BETTER], advice="(end) Do that.")


def test_a_candidate_that_does_not_run_is_told_only_when_none_does() -> None:
    """What ONNX Runtime refuses is passed over, and raised when nothing else is there."""
    broken = Candidate(onnx=b"no model", feeds={})
    assert RIGHT.onnx == prove(EXPECTED, [broken, RIGHT], advice="")[0]
    with pytest.raises(BadInput, match="ONNX Runtime does not run") as caught:
        prove(EXPECTED, [broken], advice="")
    assert "client.not-runnable" == caught.value.code


def test_no_candidate_is_no_parity() -> None:
    """A model without any ONNX form is refused, not passed."""
    with pytest.raises(BadInput) as caught:
        prove(EXPECTED, [], advice="")
    assert "client.not-convertible" == caught.value.code


def test_only_the_worst_rows_are_kept() -> None:
    """Rows with another label come first, then those furthest apart; five are kept."""
    expected = _answers(np.full(20, 0.9))
    first = np.full(20, 0.9)
    first[7], first[3] = 0.4, 0.6
    worst = compare(expected, _answers(first), "FP32").worst
    assert WORST_ROWS == len(worst)
    assert [7, 3] == [each.row for each in worst[:2]]


def test_answers_are_read_from_whatever_a_model_gives() -> None:
    """One probability is that of the second class, and without labels the most probable class is one."""
    read = read_answers([np.array([[0.2], [0.6]])], classifies=True)
    assert [[0.8, 0.2], [0.4, 0.6]] == np.asarray(read.scores).tolist()
    assert [0, 1] == read.labels.tolist()
    assert [1.5, 2.5] == read_answers([np.array([[1.5], [2.5]])], classifies=False).labels.tolist()


def test_the_types_of_the_inputs_are_told_as_the_endpoint_calls_them() -> None:
    """Texts and numbers of several types are named once each."""
    feeds = {"a": np.array(["x"], object), "b": np.zeros(1), "c": np.zeros(1), "d": np.zeros(1, np.int64)}
    assert "BYTES and FP64 and INT64" == Candidate(onnx=b"", feeds=feeds).inputs


def test_a_reason_is_one_bounded_line() -> None:
    """Whatever a library says is cut to a line that a person reads."""
    assert "ValueError: a b" == reason(ValueError("a\n   b"))
    assert len(reason(ValueError("x" * 9_999))) < 250
