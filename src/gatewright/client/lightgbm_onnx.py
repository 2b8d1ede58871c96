"""Models of LightGBM as ONNX: the trees of the booster's own dump, split for split.

LightGBM asks in float64 whether a feature is *at most* the split; a category that is among the split's
goes left, and one that is missing or unknown right. What a missing number does depends on the node's
``missing_type``: it goes the default way, or counts as zero (LightGBM, ``include/LightGBM/tree.h``,
``NumericalDecision`` and ``CategoricalDecision``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gatewright.client.extras import need_extra
from gatewright.client.frames import Rows, is_named, names_of, read_rows
from gatewright.client.parity import AGREE, Answers, Parity, prove, reason
from gatewright.client.tree_models import candidates
from gatewright.client.trees_onnx import Forest, Link, Tree
from gatewright.kernel.errors import BadInput

_LINKS: Mapping[str, Link] = {
    "binary": Link.SIGMOID,
    "cross_entropy": Link.SIGMOID,
    "multiclass": Link.SOFTMAX,
    "regression": Link.NONE,
    "regression_l1": Link.NONE,
    "huber": Link.NONE,
    "fair": Link.NONE,
    "quantile": Link.NONE,
    "mape": Link.NONE,
    "poisson": Link.EXP,
    "gamma": Link.EXP,
    "tweedie": Link.EXP,
}
_CLASSIFIES = ("binary", "multiclass")
_ZERO_AS_MISSING = "Zero"


def convert(model: Any, features: Any) -> tuple[bytes, Parity]:
    """Convert a fitted ``LGBMClassifier``, ``LGBMRegressor`` or ``Booster`` and prove that both answer alike.

    Raises BadInput where it is not fitted, of an objective or kind that is not converted, or does not
    take these rows; Refused (``client.parity``) where the two answer otherwise.
    """
    rows = _read_rows(_booster(model), features)
    forest = forest_of(model, _categories(rows))
    expected = _ask(model, rows, forest.classes)
    return prove(expected, candidates(forest, rows), advice=AGREE)


def _booster(model: Any) -> Any:
    need_extra("lightgbm", "trees")
    import lightgbm  # noqa: PLC0415 - an optional extra

    if isinstance(model, lightgbm.Booster):
        return model
    try:
        return model.booster_
    except (AttributeError, ValueError) as error:  # its NotFittedError is a ValueError
        raise BadInput(
            "client.not-fitted",
            f"The {type(model).__name__} has not been fitted, or is none of LightGBM's classifiers and regressors.",
            why=reason(error),
            next="Call fit before convert.",
        ) from None


def forest_of(model: Any, categories: Sequence[int] = ()) -> Forest:
    """The trees of a fitted model or booster; raises BadInput where they have no ONNX form here.

    ``categories`` are the places of the columns that are categories in the frame that it is asked with.
    """
    booster = _booster(model)
    dump = booster.dump_model()
    words = str(dump.get("objective", "")).split()
    name, settings = (words[0], words[1:]) if words else ("none", [])
    if name not in _LINKS or "sqrt" in settings:
        raise _unsupported(f"the objective {' '.join(words) or 'none'}")
    grown = [tree["tree_structure"] for tree in dump["tree_info"]]
    targets = int(dump["num_tree_per_iteration"])
    slope = next(
        (float(each.removeprefix("sigmoid:")) for each in settings if each.startswith("sigmoid:")), 1.0
    )
    return Forest(
        trees=tuple(_tree(root, at % targets) for at, root in enumerate(grown)),
        features=int(dump["max_feature_idx"]) + 1,
        targets=targets,
        base=(0.0,) * targets,
        divisor=float(len(grown) // targets) if dump.get("average_output") else 1.0,
        factor=slope,
        link=_LINKS[name],
        codes=_codes(booster, grown, categories),
        classes=_classes(model, max(targets, 2)) if name in _CLASSIFIES else None,
    )


def _unsupported(what: str) -> BadInput:
    return BadInput(
        "client.not-convertible",
        f"This LightGBM model has no ONNX form here: {what}.",
        why=f"Converted are trees with one of the objectives {', '.join(_LINKS)}.",
        next="Fit with one of these.",
    )


def _classes(model: Any, count: int) -> tuple[Any, ...]:
    known = getattr(model, "classes_", None)
    return tuple(range(count)) if known is None else tuple(np.asarray(known).tolist())


def _categories(rows: Rows) -> tuple[int, ...]:
    """The places of the columns that pandas holds as categories: LightGBM keeps their values in this order."""
    kinds = [
        getattr(rows.given[column.name], "dtype", None)
        if rows.columns and hasattr(rows.given, "columns")
        else None
        for column in rows.columns
    ]
    return tuple(at for at, kind in enumerate(kinds) if hasattr(kind, "ordered"))


def _codes(booster: Any, grown: list[Any], categories: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """Known values of each category feature: pandas' categories by the booster's list, or the codes themselves."""
    used: dict[int, int] = {}
    for root in grown:
        for node in _inner(root):
            if node["decision_type"] == "==":
                most = max(map(int, node["threshold"].split("||")))
                place = node["split_feature"]
                used[place] = max(used.get(place, 0), most)
    lists = booster.pandas_categorical or []
    if not lists:
        return {place: tuple(range(most + 1)) for place, most in used.items()}
    if len(categories) != len(lists):
        raise BadInput(
            "client.categories-differ",
            f"The model was fitted on {len(lists)} columns of pandas categories, and the rows have {len(categories)}.",
            next="Give a pandas frame with the types that it was fitted on: astype('category').",
        )
    return {place: tuple(known) for place, known in zip(categories, lists, strict=True)}


def _inner(root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    stack, found = [root], []
    while stack:
        node = stack.pop()
        if "split_index" in node:
            found.append(node)
            stack += [node["right_child"], node["left_child"]]
    return found


def _tree(root: Mapping[str, Any], target: int) -> Tree:
    """The nested nodes as arrays, in the order of a walk that goes left first."""
    nodes: list[Mapping[str, Any]] = []
    children: list[list[int]] = []
    stack: list[tuple[Mapping[str, Any], int, int]] = [(root, -1, 0)]
    while stack:
        node, parent, side = stack.pop()
        place = len(nodes)
        nodes.append(node)
        children.append([-1, -1])
        if parent >= 0:
            children[parent][side] = place
        if "leaf_coeff" in node or "leaf_const" in node:
            raise _unsupported("linear trees")
        if "split_index" in node:
            stack += [(node["right_child"], place, 1), (node["left_child"], place, 0)]
    inner = [node if "split_index" in node else None for node in nodes]
    return Tree(
        yes=np.array([left for left, _ in children], np.int64),
        no=np.array([right for _, right in children], np.int64),
        feature=np.array([0 if node is None else node["split_feature"] for node in inner], np.int64),
        split=np.array([0.0 if node is None or _is_category(node) else node["threshold"] for node in inner]),
        missing_yes=np.array([node is not None and _missing_left(node) for node in inner]),
        value=np.array([float(node.get("leaf_value", 0.0)) for node in nodes]),
        target=target,
        members={
            at: tuple(map(int, node["threshold"].split("||")))
            for at, node in enumerate(inner)
            if node is not None and _is_category(node)
        },
    )


def _is_category(node: Mapping[str, Any]) -> bool:
    return bool(node["decision_type"] == "==")


def _missing_left(node: Mapping[str, Any]) -> bool:
    """Whether a missing value goes left."""
    if _is_category(node):
        return False
    zero_left = bool(node["threshold"] >= 0.0)
    if node["missing_type"] == "None":
        return zero_left
    if node["missing_type"] == _ZERO_AS_MISSING and zero_left != node["default_left"]:
        raise _unsupported("zero_as_missing")
    return bool(node["default_left"])


def _read_rows(booster: Any, features: Any) -> Rows:
    """The rows in the order of the booster's features, whose blanks LightGBM has written as underscores."""
    if not is_named(features):
        return read_rows(features, None)
    spelt = {name.replace(" ", "_"): name for name in names_of(features)}
    fitted = booster.feature_name()
    if set(fitted) == {f"Column_{place}" for place in range(len(fitted))} and not set(fitted) <= set(spelt):
        return read_rows(features, None, as_matrix=True)
    return read_rows(features, [spelt.get(name, name) for name in fitted])


def _ask(model: Any, rows: Rows, classes: tuple[Any, ...] | None) -> Answers:
    import lightgbm  # noqa: PLC0415 - an optional extra

    try:
        plain = np.asarray(model.predict(rows.given))
        if classes is None:
            return Answers(labels=plain)
        if not isinstance(model, lightgbm.Booster):
            return Answers(labels=plain, scores=np.asarray(model.predict_proba(rows.given), np.float64))
    except (ValueError, TypeError, lightgbm.basic.LightGBMError) as error:
        raise BadInput(
            "client.estimator-refused",
            "The model does not take these rows.",
            why=reason(error),
            next="Give rows with the columns and types that it was fitted on.",
        ) from None
    scores = np.stack([1.0 - plain, plain], axis=1) if plain.ndim == 1 else plain
    return Answers(labels=scores.argmax(axis=1), scores=scores)
