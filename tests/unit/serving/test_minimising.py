from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gatewright.deployments.plan import Showing, Shown
from gatewright.kernel.errors import Refused
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.serving.admission import Turned
from gatewright.serving.minimising import View, keep_greatest, rounded, view_of
from unit.serving.rig import SIGNATURE

LOGITS = replace(
    SIGNATURE,
    outputs=(*SIGNATURE.outputs, TensorSpec(name="logits", datatype=DataType.FP32, shape=(-1, 2))),
)
VALUE = TensorSpec(name="value", datatype=DataType.FP32, shape=(-1, 1))
REGRESSION = replace(
    SIGNATURE, task=Task.REGRESSION, outputs=(VALUE,), label_output="value", scores_output="", classes=()
)
SCORES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(0, 1, width=32, allow_nan=False),
)


def view(signature: ModelSignature, kind: Showing, number: int = 0) -> View:
    """A view that does not show everything."""
    found = view_of(signature, Shown(kind=kind, number=number))
    assert found is not None
    return found


@settings(max_examples=80, deadline=None)
@given(SCORES, st.integers(1, 10))
def test_top_keeps_the_greatest_of_each_row(scores: np.ndarray, count: int) -> None:
    """As many as asked for stay as they were, ties by the order of the classes; all others are 0."""
    found = keep_greatest(scores, count)
    for row, kept in zip(scores.tolist(), found.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda place: (-row[place], place))[:count]
        assert [value if place in order else 0.0 for place, value in enumerate(row)] == kept
        assert min(count, np.count_nonzero(row)) == np.count_nonzero(kept)


@settings(max_examples=80, deadline=None)
@given(
    arrays(np.float32, 5, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.integers(0, 17),
)
def test_rounding_gives_finite_numbers_near_by(values: np.ndarray, decimals: int) -> None:
    """No number moves by more than half of the last decimal and the type's own step, and none becomes infinite."""
    found = rounded(values, decimals)
    step = np.spacing(np.abs(values)).astype(np.float64)

    assert values.dtype == found.dtype
    assert np.all(
        np.abs(found.astype(np.float64) - values.astype(np.float64)) <= 0.5 * 10.0**-decimals + step
    )


def test_rounding_a_number_beyond_its_decimals_leaves_it() -> None:
    """The largest FP64 numbers have no decimals, and stay what they are."""
    largest = np.array([np.finfo(np.float64).max, -1.5e300])

    np.testing.assert_array_equal(largest, rounded(largest, 17))


@settings(max_examples=40, deadline=None)
@given(SCORES, st.sampled_from([(Showing.TOP, 1), (Showing.ROUNDED, 0), (Showing.ROUNDED, 2)]))
def test_the_label_is_never_touched(scores: np.ndarray, shown: tuple[Showing, int]) -> None:
    """However scores are shown, the label is the one that the model gave; the model's own array stays whole."""
    label, before = scores.argmax(axis=1), scores.copy()
    found, _ = view(SIGNATURE, *shown).show([label, scores], (0, 1))

    np.testing.assert_array_equal(label, found)
    np.testing.assert_array_equal(before, scores)


@pytest.mark.parametrize(
    ("signature", "kind", "number", "seen"),
    [
        (LOGITS, Showing.LABEL, 0, (0,)),
        (LOGITS, Showing.TOP, 1, (0, 1)),
        (LOGITS, Showing.ROUNDED, 2, (0, 1, 2)),
        (REGRESSION, Showing.LABEL, 0, (0,)),
        (REGRESSION, Showing.ROUNDED, 1, (0,)),
    ],
)
def test_a_request_that_names_no_outputs_gets_what_it_may_have(
    signature: ModelSignature, kind: Showing, number: int, seen: tuple[int, ...]
) -> None:
    """Outputs that would tell the same again, as logits do, are not shown beside label and top scores."""
    everything = tuple(range(len(signature.outputs)))

    assert seen == view(signature, kind, number).places(everything, named=False)


def test_an_output_that_is_not_shown_is_refused_by_name() -> None:
    """Who asks for scores with a key that sees labels is told so, instead of getting something else."""
    found = view(SIGNATURE, Showing.LABEL)
    with pytest.raises(Turned) as caught:
        found.places((0, 1), named=True)

    assert (400, True) == (caught.value.status, "'probabilities'" in caught.value.sentence)
    assert (0,) == found.places((0,), named=True)


def test_a_value_is_rounded_where_a_label_is_not() -> None:
    """For a regression the label output is the value, and has the decimals that the plan says."""
    found = view(REGRESSION, Showing.ROUNDED, 1).show([np.array([[1.26]], np.float32)], (0,))

    np.testing.assert_array_equal(np.array([[1.3]], np.float32), found[0])


def test_a_key_that_sees_everything_needs_no_view() -> None:
    """The usual key costs nothing."""
    assert view_of(SIGNATURE, Shown()) is None


@pytest.mark.parametrize(
    ("signature", "kind", "number"),
    [
        (replace(SIGNATURE, label_output=""), Showing.LABEL, 0),
        (REGRESSION, Showing.TOP, 1),
        (replace(SIGNATURE, scores_output=""), Showing.TOP, 1),
        (replace(SIGNATURE, label_output="", scores_output=""), Showing.TOP, 2),
        (
            replace(
                SIGNATURE,
                outputs=(
                    SIGNATURE.outputs[0],
                    TensorSpec(name="probabilities", datatype=DataType.FP32, shape=(-1,)),
                ),
            ),
            Showing.TOP,
            1,
        ),
    ],
)
def test_what_a_model_does_not_have_cannot_be_shown(
    signature: ModelSignature, kind: Showing, number: int
) -> None:
    """A plan that would show nothing, or could not show less, is refused instead of guessed at."""
    with pytest.raises(Refused) as caught:
        view_of(signature, Shown(kind=kind, number=number))

    assert "serving.shown" == caught.value.code


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (np.array([[200, 50, 0]], np.uint8), [[200, 0, 0]]),
        (np.array([[-128, 5, 1]], np.int8), [[0, 5, 0]]),
        (np.array([[True, False]]), [[True, False]]),
    ],
)
def test_the_greatest_score_is_kept_in_any_type(scores: Any, expected: list[list[int]]) -> None:
    """Scores that cannot be negated in their own type keep their greatest all the same."""
    assert expected == keep_greatest(scores, 1).tolist()
