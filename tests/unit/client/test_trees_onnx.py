"""Forests written as ONNX answer as a walk through their trees does, set splits and missing values included."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gatewright.client.trees_onnx import (
    Forest,
    Link,
    Steps,
    Tree,
    label_array,
    write_answers,
    write_codes,
    write_labels,
    write_sums,
)
from gatewright.models.facts import ModelFacts
from gatewright.models.onnx_reader import inspect

FEATURES = 4
CATEGORIES = 40
CELL = st.one_of(
    st.floats(-3, 3, width=32), st.just(float("nan")), st.integers(-1, CATEGORIES + 2).map(float)
)


@st.composite
def _trees(draw: st.DrawFn) -> Tree:
    """A random tree of up to five questions over the first two features (numbers) and the others (categories)."""
    yes, no, feature, split, missing, value = [-1], [-1], [0], [0.0], [False], [draw(st.floats(-2, 2))]
    members: dict[int, tuple[int, ...]] = {}
    for _ in range(draw(st.integers(0, 5))):
        node = draw(st.sampled_from([at for at, child in enumerate(yes) if child < 0]))
        yes[node], no[node] = len(yes), len(yes) + 1
        feature[node] = draw(st.integers(0, FEATURES - 1))
        split[node] = draw(st.sampled_from([-1.0, 0.0, 0.1, float(np.float32(0.1)), 2.0]))
        missing[node] = draw(st.booleans())
        if feature[node] >= 2:
            codes = draw(st.sets(st.integers(0, CATEGORIES - 1), min_size=0, max_size=CATEGORIES))
            members[node] = tuple(sorted(codes))
        for _ in range(2):
            yes.append(-1)
            no.append(-1)
            feature.append(0)
            split.append(0.0)
            missing.append(False)
            value.append(draw(st.floats(-2, 2)))
    return Tree(
        yes=np.array(yes), no=np.array(no), feature=np.array(feature), split=np.array(split),
        missing_yes=np.array(missing), value=np.array(value), members=members, target=draw(st.integers(0, 1)),
    )  # fmt: skip


def _walk(tree: Tree, row: NDArray[np.float64], *, strict: bool) -> float:
    node = 0
    while tree.yes[node] >= 0:
        cell = row[tree.feature[node]]
        if node in tree.members:
            known = cell in range(CATEGORIES)
            goes = bool(tree.missing_yes[node]) if not known else int(cell) in tree.members[node]
        elif np.isnan(cell):
            goes = bool(tree.missing_yes[node])
        else:
            goes = bool(cell < tree.split[node] if strict else cell <= tree.split[node])
        node = int(tree.yes[node] if goes else tree.no[node])
    return float(tree.value[node])


def _run(forest: Forest, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], ModelFacts]:
    steps = Steps("t")
    sums = write_sums(steps, forest, write_codes(steps, forest, "x"))
    steps.cast(sums, onnx.TensorProto.DOUBLE, output="y")
    return _result(steps, rows, "y", onnx.TensorProto.DOUBLE)


def _result(
    steps: Steps, rows: NDArray[np.float64], output: str, kind: int
) -> tuple[NDArray[np.float64], ModelFacts]:
    make = onnx.helper
    shape = ["rows"] if kind == onnx.TensorProto.STRING else ["rows", "n"]
    graph = make.make_graph(
        steps.nodes,
        "g",
        [make.make_tensor_value_info("x", onnx.TensorProto.DOUBLE, [None, rows.shape[1]])],
        [make.make_tensor_value_info(output, kind, shape)],
    )
    opsets = [make.make_opsetid("", 18), make.make_opsetid("ai.onnx.ml", 5)]
    data = make.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    facts = inspect(data)
    assert isinstance(facts, ModelFacts), facts
    return session.run(None, {"x": rows})[0], facts


@settings(max_examples=40, deadline=None)
@given(
    st.lists(_trees(), min_size=1, max_size=4),
    st.lists(st.tuples(*[CELL] * FEATURES), min_size=1, max_size=20),
    st.booleans(),
)
def test_sums_are_those_of_a_walk(trees: list[Tree], cells: list[tuple[float, ...]], strict: bool) -> None:
    """Whatever the trees ask, in whatever order, each row gets the sum of the leaves that it reaches."""
    rows = np.array(cells)
    known = tuple(float(code) for code in range(CATEGORIES))
    forest = Forest(
        trees=tuple(trees), features=FEATURES, targets=2, base=(0.5, -0.25), single=True, strict=strict,
        codes={2: known, 3: known},
    )  # fmt: skip
    found, _ = _run(forest, rows)
    single = rows.astype(np.float32).astype(np.float64)
    for row, answer in zip(single, found, strict=True):
        expected = [0.5, -0.25]
        for tree in trees:
            expected[tree.target] += _walk(tree, row, strict=strict)
        assert expected == pytest.approx(answer.tolist(), abs=1e-12)


def _stump(value: tuple[float, float], target: int = 0, split: float = 0.5) -> Tree:
    return Tree(
        yes=np.array([1, -1, -1]), no=np.array([2, -1, -1]), feature=np.array([0, 0, 0]),
        split=np.array([split, 0.0, 0.0]), missing_yes=np.array([False] * 3),
        value=np.array([0.0, *value]), target=target,
    )  # fmt: skip


def test_thresholds_are_float64_unless_the_rows_are_rounded() -> None:
    """A split between two doubles that float32 merges tells them apart, and does not once rows are rounded."""
    rows = np.array([[0.1], [0.1 + 1e-12]])
    fine = Forest(trees=(_stump((1.0, 2.0), split=0.1),), features=1)
    assert [[1.0], [2.0]] == _run(fine, rows)[0].tolist()
    coarse = Forest(trees=(_stump((1.0, 2.0), split=0.1),), features=1, single=True)
    assert [[2.0], [2.0]] == _run(coarse, rows)[0].tolist()


def test_infinite_splits_send_all_but_the_missing_one_way() -> None:
    """A split at infinity asks only whether the value is there; it is written as the largest number."""
    forest = Forest(trees=(_stump((1.0, 2.0), split=float("inf")),), features=1)
    assert [[1.0], [2.0]] == _run(forest, np.array([[1e308], [np.nan]]))[0].tolist()


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (Link.NONE, [[3.0], [7.0]]),
        (Link.EXP, np.exp([[3.0], [7.0]]).tolist()),
    ],
)
def test_values_are_made_of_the_sums(link: Link, expected: list[list[float]]) -> None:
    """Base, divisor and factor are applied in that order, then the link."""
    forest = Forest(trees=(_stump((1.0, 5.0)),), features=1, base=(2.0,), divisor=2.0, factor=2.0, link=link)
    steps = Steps("t")
    steps.cast(
        write_answers(steps, forest, write_sums(steps, forest, "x")), onnx.TensorProto.DOUBLE, output="y"
    )
    found, _ = _result(steps, np.array([[0.0], [1.0]]), "y", onnx.TensorProto.DOUBLE)
    assert expected == found.tolist()


@pytest.mark.parametrize(
    ("forest", "expected"),
    [
        (
            Forest(trees=(_stump((0.0, 2.0)),), features=1, link=Link.SIGMOID, classes=("no", "yes")),
            [[0.5, 0.5], [1 - 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-2))]],
        ),
        (
            Forest(trees=(_stump((0.5, 0.75)),), features=1, link=Link.SHARES, classes=("no", "yes")),
            [[0.5, 0.5], [0.25, 0.75]],
        ),
        (
            Forest(
                trees=(_stump((1.0, 0.0)), _stump((1.0, 3.0), 1)), features=1, targets=2, base=(0.0, 0.0),
                link=Link.SOFTMAX, classes=("no", "yes"),
            ),
            [[0.5, 0.5], [1 / (1 + np.exp(3)), np.exp(3) / (1 + np.exp(3))]],
        ),
    ],
    ids=["sigmoid", "shares", "softmax"],
)  # fmt: skip
def test_probabilities_and_labels_are_made_of_the_sums(forest: Forest, expected: list[list[float]]) -> None:
    """One sum is the second class's; of classes as probable the first one is the label, as text."""
    rows = np.array([[0.0], [1.0]])
    steps = Steps("t")
    answers = write_answers(steps, forest, write_sums(steps, forest, "x"))
    found, _ = _result(steps, rows, answers, onnx.TensorProto.DOUBLE)
    assert np.array(expected) == pytest.approx(found)
    write_labels(steps, forest, answers, "label")
    labels, _ = _result(steps, rows, "label", onnx.TensorProto.STRING)
    assert ["no", "yes"] == labels.tolist()


def test_labels_keep_their_kind() -> None:
    """Texts stay texts; whole numbers and truth values are int64."""
    assert (object, ["b", "a"]) == (label_array(("b", "a")).dtype, label_array(("b", "a")).tolist())
    assert (np.int64, [0, 1]) == (label_array((False, True)).dtype, label_array((False, True)).tolist())
    assert [1, 3] == label_array((1.0, 3.0)).tolist()
