"""The trees of scikit-learn's own estimators, read as a :class:`~gatewright.client.trees_onnx.Forest`.

``DecisionTree*``, ``ExtraTree*``, ``RandomForest*``, ``ExtraTrees*`` round their features to float32 before
any question (scikit-learn, ``sklearn/tree/_tree.pyx``); ``GradientBoosting*`` does too and adds its
trees, times the learning rate, to a constant; ``HistGradientBoosting*`` asks in float64, encodes
categories by their place among the known ones, and sends unknown ones where missing ones go.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from gatewright.client.trees_onnx import (
    ML,
    Forest,
    Link,
    Steps,
    Tree,
    write_answers,
    write_codes,
    write_labels,
    write_sums,
)

_LONE = (DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor)
_AVERAGED = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_BOOSTED = (GradientBoostingClassifier, GradientBoostingRegressor)
_HISTOGRAM = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
TREES = (*_LONE, *_AVERAGED, *_BOOSTED, *_HISTOGRAM)
_BITS = 32
_LINKS = {
    "HalfBinomialLoss": (Link.SIGMOID, 1.0),
    "ExponentialLoss": (Link.SIGMOID, 2.0),
    "HalfMultinomialLoss": (Link.SOFTMAX, 1.0),
    "HalfPoissonLoss": (Link.EXP, 1.0),
    "HalfGammaLoss": (Link.EXP, 1.0),
}


def forest_of(estimator: Any) -> Forest:
    """The trees of one of the estimators in :data:`TREES`; raises ValueError for a kind that is not known."""
    if isinstance(estimator, _HISTOGRAM):
        return _histogram(estimator)
    if isinstance(estimator, _BOOSTED):
        return _boosted(estimator)
    members = [estimator] if isinstance(estimator, _LONE) else list(estimator.estimators_)
    classes = tuple(estimator.classes_.tolist()) if is_classifier(estimator) else None
    targets = range(1) if classes is None else [1] if len(classes) == 2 else range(len(classes))
    trees = [
        _tree(member.tree_, member.tree_.value[:, 0, column], target)
        for member in members
        for target, column in enumerate(targets)
    ]
    return Forest(
        trees=tuple(trees),
        features=estimator.n_features_in_,
        targets=len(targets),
        base=(0.0,) * len(targets),
        divisor=float(len(members)),
        link=Link.NONE if classes is None else Link.SHARES,
        single=True,
        classes=classes,
    )


def _tree(tree: Any, value: NDArray[np.float64], target: int) -> Tree:
    return Tree(
        yes=tree.children_left,
        no=tree.children_right,
        feature=tree.feature,
        split=tree.threshold,
        missing_yes=np.asarray(tree.missing_go_to_left, bool),
        value=value,
        target=target,
    )


def _boosted(estimator: Any) -> Forest:
    initial = estimator.init_
    if initial != "zero" and not isinstance(initial, (DummyClassifier, DummyRegressor)):
        raise ValueError(f"init={type(initial).__name__} depends on the row")
    base = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))[0]  # noqa: SLF001 - nothing public tells it
    link, factor = _LINKS.get(type(estimator._loss).__name__, (Link.NONE, 1.0))  # noqa: SLF001 - nor this
    return Forest(
        trees=tuple(
            _tree(member.tree_, estimator.learning_rate * member.tree_.value[:, 0, 0], target)
            for stage in estimator.estimators_
            for target, member in enumerate(stage)
        ),
        features=estimator.n_features_in_,
        targets=len(base),
        base=tuple(base.tolist()),
        factor=factor,
        link=link,
        single=True,
        classes=tuple(estimator.classes_.tolist()) if is_classifier(estimator) else None,
    )


def _histogram(estimator: Any) -> Forest:
    codes, order = _categories(estimator)
    link, factor = _LINKS.get(type(estimator._loss).__name__, (Link.NONE, 1.0))  # noqa: SLF001 - nothing public tells it
    base = np.asarray(estimator._baseline_prediction, np.float64).ravel()  # noqa: SLF001 - nor this
    return Forest(
        trees=tuple(
            _histogram_tree(predictor, target, order)
            for stage in estimator._predictors  # noqa: SLF001 - nor these
            for target, predictor in enumerate(stage)
        ),
        features=estimator.n_features_in_,
        targets=len(base),
        base=tuple(base.tolist()),
        factor=factor,
        link=link,
        codes=codes,
        classes=tuple(estimator.classes_.tolist()) if is_classifier(estimator) else None,
    )


def _categories(estimator: Any) -> tuple[dict[int, tuple[Any, ...]], NDArray[np.int64]]:
    """Known values by feature, and the feature that stands at each place: categories come first."""
    features = np.arange(estimator.n_features_in_)
    if estimator.is_categorical_ is None:
        return {}, features
    is_category = np.asarray(estimator.is_categorical_)
    encoder = estimator._preprocessor.named_transformers_["encoder"]  # noqa: SLF001 - nothing public tells it
    codes = {
        int(feature): tuple(each for each in known.tolist() if each is not None and each == each)  # noqa: PLR0124 - NaN
        for feature, known in zip(features[is_category], encoder.categories_, strict=True)
    }
    return codes, np.concatenate([features[is_category], features[~is_category]])


def _histogram_tree(predictor: Any, target: int, order: NDArray[np.int64]) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        yes=np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        no=np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        feature=np.where(is_leaf, 0, order[np.where(is_leaf, 0, nodes["feature_idx"])]),
        split=nodes["num_threshold"],
        missing_yes=nodes["missing_go_to_left"].astype(bool),
        value=nodes["value"],
        target=target,
        members={
            int(node): _members(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]])
            for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf)
        },
    )


def _members(bits: NDArray[np.uint32]) -> tuple[int, ...]:
    """The codes whose bits are set, least first; eight words of 32 bits."""
    return tuple(
        word * _BITS + bit
        for word, value in enumerate(bits.tolist())
        for bit in range(_BITS)
        if value >> bit & 1
    )


def convert_trees(scope: Any, operator: Any, container: Any) -> None:
    """Write the operator's trees, as skl2onnx asks its converters to."""
    write_forest(forest_of(operator.raw_operator), scope, operator, container)


def write_forest(forest: Forest, scope: Any, operator: Any, container: Any) -> None:
    """Write a forest into a graph that skl2onnx is making."""
    steps = Steps(scope.get_unique_variable_name("trees"))
    parts = [steps.cast(each.full_name, TensorProto.DOUBLE) for each in operator.inputs]
    features = parts[0] if len(parts) == 1 else steps.add("Concat", *parts, axis=1)
    answers = write_answers(steps, forest, write_sums(steps, forest, write_codes(steps, forest, features)))
    outputs = [each.full_name for each in operator.outputs]
    to = operator.outputs[-1].type.to_onnx_type().tensor_type.elem_type
    steps.cast(answers, to, output=outputs[-1])
    if forest.classes is not None:
        write_labels(steps, forest, answers, outputs[0])
    container.nodes.extend(steps.nodes)
    # skl2onnx knows no newer version than 3; canonical_bytes raises it to the operator's own.
    container.node_domain_version_pair_sets.update({("", container.target_opset), (ML, 3)})
