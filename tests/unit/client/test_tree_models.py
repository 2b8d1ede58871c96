"""A forest that stands alone: which inputs it gets, and what it refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from gatewright.client.frames import read_rows
from gatewright.client.parity import ask_onnx
from gatewright.client.tree_models import candidates, single
from gatewright.client.trees_onnx import Forest, Tree
from gatewright.kernel.errors import BadInput

LEAF = Tree(
    yes=np.array([-1]), no=np.array([-1]), feature=np.array([-1]), split=np.array([0.0]),
    missing_yes=np.array([False]), value=np.array([1.5]),
)  # fmt: skip


def test_columns_and_matrices_become_inputs_of_both_precisions() -> None:
    """Named columns are inputs of their own, texts among them; float32 comes first, then float64."""
    forest = Forest(trees=(LEAF,), features=2, codes={1: ("x", "y")})
    rows = read_rows({"a": [1.0, 2.0], "t": ["x", "z"]}, None)
    made = list(candidates(forest, rows))
    assert ["BYTES and FP32", "BYTES and FP64"] == [each.inputs for each in made]
    assert [["a", "t"]] * 2 == [list(each.feeds) for each in made]
    assert [1.5, 1.5] == ask_onnx(made[0], classifies=False).labels.tolist()
    plain = Forest(trees=(LEAF,), features=2)
    assert ["FP32", "FP64"] == [each.inputs for each in candidates(plain, read_rows(np.zeros((3, 2)), None))]


def test_a_column_may_be_named_like_an_output() -> None:
    """Where a feature has the name of an answer, the answer takes another one."""
    rows = read_rows({"value": [1.0, 2.0]}, None)
    made = next(iter(candidates(Forest(trees=(LEAF,), features=1), rows)))
    assert ["predicted_value"] == [each.name for each in onnx.load_from_string(made.onnx).graph.output]
    assert [1.5, 1.5] == ask_onnx(made, classifies=False).labels.tolist()


def test_texts_where_the_trees_take_numbers_are_refused() -> None:
    """A column of texts that the trees do not know as a category is named."""
    rows = read_rows({"t": ["x"]}, None)
    with pytest.raises(BadInput, match="The column 't' holds texts") as caught:
        list(candidates(Forest(trees=(LEAF,), features=1), rows))
    assert "client.text-column" == caught.value.code


def test_numbers_too_large_for_float32_are_offered_as_float64_only() -> None:
    """What float32 would make infinite is refused there with its row, and taken in float64."""
    forest, rows = Forest(trees=(LEAF,), features=1), read_rows(np.array([[1.0], [1e300]]), None)
    made = candidates(forest, rows)
    assert "FP64" == next(made).inputs
    with pytest.raises(BadInput, match="row 1") as caught:
        single(np.array([[1.0], [1e300]]), np.float32)
    assert "client.too-large" == caught.value.code
