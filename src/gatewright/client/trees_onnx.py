"""Ensembles of decision trees as ONNX, split for split and in double precision.

One operator holds all trees: ``TreeEnsemble`` of ai.onnx.ml 5, whose thresholds, leaf values and sums are
float64 and which knows splits on sets of categories. The older operators sum in float32, so ties fall
the other way, and know neither sets nor float64 thresholds beyond opset 3. Every library's trees become
a :class:`Forest` first; what it computes for a row is written there, so that each library's file only
has to say how its own arrays are to be read.

The order of the nodes, the roots and the leaves is that of the operator's specification (ONNX,
"TreeEnsemble", version 5); a tree that is one leaf is a node whose two branches are that leaf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

ML = "ai.onnx.ml"
ML_OPSET = 5
"""The version that has the operator ``TreeEnsemble``."""
TREE_ENSEMBLE = "TreeEnsemble"

_LEQ, _LT, _MEMBER = 0, 1, 6  # BRANCH_LEQ, BRANCH_LT, BRANCH_MEMBER
_FIRST_CODE = 1.0


class Link(StrEnum):
    """From a forest's sums to its answer."""

    NONE = "none"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    EXP = "exp"
    SHARES = "shares"
    """The sums are probabilities already; one sum is that of the second of two classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree as arrays over its nodes, node 0 being the root.

    ``yes`` and ``no`` are the children (-1 at a leaf), ``feature`` and ``split`` the question: is the
    feature at most (or, ``strict``, below) the split? ``members`` asks instead, for the nodes that it
    has, whether the feature is one of these codes. A missing value goes to ``yes`` where
    ``missing_yes``. ``value`` holds the leaves' values; the tree adds to the sum ``target``.
    """

    yes: NDArray[np.int64]
    no: NDArray[np.int64]
    feature: NDArray[np.int64]
    split: NDArray[np.float64]
    missing_yes: NDArray[np.bool_]
    value: NDArray[np.float64]
    target: int = 0
    members: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """All trees, and what is made of their sums.

    The answer is ``link(factor * (base + sum of the trees) / divisor)``. ``codes`` holds, for each feature
    that is a category, the values that are known: the place of one in it is its code, any other value is
    missing. ``single`` rounds the features to float32 before any question; ``strict`` asks "below"
    instead of "at most". ``classes`` are the class labels, or None for a regression.
    """

    trees: tuple[Tree, ...]
    features: int
    targets: int = 1
    base: tuple[float, ...] = (0.0,)
    divisor: float = 1.0
    factor: float = 1.0
    link: Link = Link.NONE
    single: bool = False
    strict: bool = False
    codes: Mapping[int, tuple[Any, ...]] = field(default_factory=dict)
    classes: tuple[Any, ...] | None = None


class Steps:
    """Nodes of a graph in the making; ``prefix`` keeps their names apart from those of others."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[Any] = []
        self._prefix = prefix

    def add(self, operator: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:
        """Append a node; its output's name."""
        name = f"{self._prefix}_{len(self.nodes)}"
        output = output or name
        self.nodes.append(
            helper.make_node(operator, list(inputs), [output], name=name, domain=domain, **attributes)
        )
        return output

    def constant(self, values: NDArray[Any]) -> str:
        """A constant tensor; objects are texts."""
        return self.add("Constant", value=numpy_helper.from_array(values))

    def cast(self, name: str, to: int, output: str = "") -> str:
        """The tensor in another type."""
        return self.add("Cast", name, to=to, output=output)


def write_sums(steps: Steps, forest: Forest, features: str) -> str:
    """The forest's link inputs, float64 of shape (rows, targets), from a numeric matrix (rows, features)."""
    if forest.single:
        features = steps.cast(features, onnx.TensorProto.FLOAT)
    sums = steps.add(
        TREE_ENSEMBLE,
        steps.cast(features, onnx.TensorProto.DOUBLE),
        domain=ML,
        **_attributes(forest),
    )
    if any(forest.base):
        sums = steps.add("Add", sums, steps.constant(np.array([forest.base], np.float64)))
    if forest.divisor != 1.0:
        sums = steps.add("Div", sums, steps.constant(np.array(forest.divisor)))
    if forest.factor != 1.0:
        sums = steps.add("Mul", sums, steps.constant(np.array(forest.factor)))
    return sums


def write_answers(steps: Steps, forest: Forest, sums: str) -> str:
    """Values of shape (rows, 1) or probabilities (rows, classes), float64, from the sums."""
    match forest.link:
        case Link.SOFTMAX:
            return steps.add("Softmax", sums, axis=1)
        case Link.EXP:
            return steps.add("Exp", sums)
        case Link.SIGMOID:
            sums = steps.add("Sigmoid", sums)
        case _:
            pass
    if forest.classes is None or forest.targets > 1:
        return sums
    one = steps.constant(np.array(1.0))
    return steps.add("Concat", steps.add("Sub", one, sums), sums, axis=1)


def write_labels(steps: Steps, forest: Forest, probabilities: str, output: str) -> None:
    """The label of the most probable class, shape (rows,); the first one of several as probable."""
    best = steps.add("ArgMax", probabilities, axis=1, keepdims=0)
    steps.add("Gather", steps.constant(label_array(forest.classes or ())), best, axis=0, output=output)


def label_array(classes: Sequence[Any]) -> NDArray[Any]:
    """Class labels as a tensor holds them: int64 for numbers and truth values, texts for texts."""
    if all(isinstance(each, str) for each in classes):
        return np.array(list(classes), dtype=object)
    return np.array([int(each) for each in classes], np.int64)


def write_codes(steps: Steps, forest: Forest, features: str) -> str:
    """The matrix with each category's values replaced by their codes, and by NaN where unknown."""
    if not forest.codes:
        return features
    features = steps.cast(features, onnx.TensorProto.FLOAT)
    parts: list[str] = []
    start = 0
    for place in sorted(forest.codes):
        if place > start:
            parts.append(_slice(steps, features, start, place))
        column = _slice(steps, features, place, place + 1)
        parts.append(code_of(steps, column, forest.codes[place]))
        start = place + 1
    if start < forest.features:
        parts.append(_slice(steps, features, start, forest.features))
    return steps.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def code_of(steps: Steps, column: str, known: Sequence[Any]) -> str:
    """The codes of a column of texts or of float32 numbers, float32; NaN for what is not known."""
    keys = (
        {"keys_strings": [str(each) for each in known]}
        if all(isinstance(each, str) for each in known)
        else {"keys_floats": [float(np.float32(each)) for each in known]}
    )
    return steps.add(
        "LabelEncoder",
        column,
        domain=ML,
        values_floats=[_FIRST_CODE + code for code in range(len(known))],
        default_float=float("nan"),
        **keys,
    )


def _slice(steps: Steps, matrix: str, start: int, end: int) -> str:
    bounds = [steps.constant(np.array([each], np.int64)) for each in (start, end, 1)]
    return steps.add("Slice", matrix, *bounds)


def _attributes(forest: Forest) -> dict[str, Any]:
    """The operator's attributes; children, leaves and roots count over all trees."""
    parts: dict[str, list[Any]] = {name: [] for name in (
        "roots", "feature", "split", "mode", "yes", "yes_leaf", "no", "no_leaf", "missing", "target", "weight",
    )}  # fmt: skip
    members: list[float] = []
    nodes = leaves = 0
    for tree in forest.trees:
        is_leaf = tree.yes < 0
        inner = np.flatnonzero(~is_leaf)
        parts["roots"].append(np.array([nodes]))
        place = np.where(is_leaf, np.cumsum(is_leaf) - 1 + leaves, np.cumsum(~is_leaf) - 1 + nodes)
        ends = tree.value[is_leaf]
        parts["target"].append(np.full(len(ends), tree.target))
        parts["weight"].append(ends)
        leaves += len(ends)
        if not len(inner):
            inner, yes, no = np.array([0]), np.array([0]), np.array([0])
        else:
            yes, no = tree.yes[inner], tree.no[inner]
        nodes += len(inner)
        mode = np.full(len(inner), _LT if forest.strict else _LEQ)
        split = tree.split[inner]
        for at, node in enumerate(inner.tolist()):
            codes = tree.members.get(node)
            if codes:
                mode[at] = _MEMBER
                members += [_FIRST_CODE + code for code in codes] + [float("nan")]
            elif codes is not None:  # an empty set, which the operator does not take: nothing is that small
                split[at] = -np.inf
        parts["feature"].append(tree.feature[inner])
        parts["split"].append(np.where(mode == _MEMBER, 0.0, split))
        parts["mode"].append(mode)
        parts["missing"].append(tree.missing_yes[inner])
        for name, child in (("yes", yes), ("no", no)):
            parts[name].append(place[child])
            parts[f"{name}_leaf"].append(is_leaf[child])
    whole = {name: np.concatenate(held) for name, held in parts.items()}
    attributes = {
        "aggregate_function": 1,  # sum
        "n_targets": forest.targets,
        "tree_roots": whole["roots"].tolist(),
        "nodes_featureids": np.maximum(whole["feature"], 0).tolist(),
        "nodes_splits": numpy_helper.from_array(_finite(whole["split"])),
        "nodes_modes": numpy_helper.from_array(whole["mode"].astype(np.uint8)),
        "nodes_truenodeids": whole["yes"].tolist(),
        "nodes_trueleafs": whole["yes_leaf"].astype(int).tolist(),
        "nodes_falsenodeids": whole["no"].tolist(),
        "nodes_falseleafs": whole["no_leaf"].astype(int).tolist(),
        "nodes_missing_value_tracks_true": whole["missing"].astype(int).tolist(),
        "leaf_targetids": whole["target"].tolist(),
        "leaf_weights": numpy_helper.from_array(whole["weight"].astype(np.float64)),
    }
    if members:
        attributes["membership_values"] = numpy_helper.from_array(np.array(members))
    return attributes


def _finite(splits: NDArray[Any]) -> NDArray[np.float64]:
    """Infinite splits (all but the missing go one way) as the largest finite ones: no input is infinite."""
    most = np.finfo(np.float64).max
    return np.clip(np.nan_to_num(splits.astype(np.float64), nan=0.0, posinf=most, neginf=-most), -most, most)
