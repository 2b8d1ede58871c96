"""Models of XGBoost as ONNX: the trees of the booster's own JSON form, split for split.

XGBoost rounds features to float32 and asks whether one is *below* the split; a category that is among the
split's goes right ("Categorical Data", XGBoost documentation; ``src/common/categorical.h``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.client.extras import need_extra
from gatewright.client.frames import Rows, read_rows
from gatewright.client.parity import AGREE, Answers, Parity, prove, reason
from gatewright.client.tree_models import candidates
from gatewright.client.trees_onnx import Forest, Link, Tree
from gatewright.kernel.errors import BadInput

# What an objective makes of the sum, and whether its base score is a probability, a positive number or a sum.
_LINKS: Mapping[str, tuple[Link, str]] = {
    "binary:logistic": (Link.SIGMOID, "probability"),
    "reg:logistic": (Link.SIGMOID, "probability"),
    "multi:softprob": (Link.SOFTMAX, "sum"),
    "multi:softmax": (Link.SOFTMAX, "sum"),
    "reg:squarederror": (Link.NONE, "sum"),
    "reg:squaredlogerror": (Link.NONE, "sum"),
    "reg:pseudohubererror": (Link.NONE, "sum"),
    "reg:absoluteerror": (Link.NONE, "sum"),
    "reg:quantileerror": (Link.NONE, "sum"),
    "count:poisson": (Link.EXP, "positive"),
    "reg:gamma": (Link.EXP, "positive"),
    "reg:tweedie": (Link.EXP, "positive"),
}
_CLASSIFIES = ("binary:logistic", "multi:softprob", "multi:softmax")


def convert(model: Any, features: Any) -> tuple[bytes, Parity]:
    """Convert a fitted ``XGBClassifier``, ``XGBRegressor`` or ``Booster`` and prove that both answer alike.

    Raises BadInput where it is not fitted, of an objective or kind that is not converted, or does not
    take these rows; Refused (``client.parity``) where the two answer otherwise.
    """
    forest = forest_of(model)
    names = _booster(model).feature_names
    rows = read_rows(features, names, as_matrix=names is None)
    expected = _ask(model, rows, forest.classes)
    return prove(expected, candidates(forest, rows), advice=AGREE)


def _booster(model: Any) -> Any:
    need_extra("xgboost", "trees")
    import xgboost  # noqa: PLC0415 - an optional extra

    if isinstance(model, xgboost.Booster):
        return model
    try:
        return model.get_booster()
    except (AttributeError, ValueError, TypeError) as error:  # NotFittedError is a ValueError
        raise BadInput(
            "client.not-fitted",
            f"The {type(model).__name__} has not been fitted, or is none of XGBoost's classifiers and regressors.",
            why=reason(error),
            next="Call fit before convert.",
        ) from None


def forest_of(model: Any) -> Forest:
    """The trees of a fitted model or booster; raises BadInput where they have no ONNX form here."""
    booster = _booster(model)
    learner = json.loads(booster.save_raw("json"))["learner"]
    objective, boosted = learner["objective"]["name"], learner["gradient_booster"]
    settings = learner["learner_model_param"]
    if objective not in _LINKS or "gbtree" not in {boosted["name"], boosted.get("gbtree", {}).get("name")}:
        raise _unsupported(f"the objective {objective} with the booster {boosted['name']}")
    if int(settings["num_target"]) > 1:
        raise BadInput(
            "client.several-outputs",
            f"The model answers {settings['num_target']} values a row; one is supported.",
            next="Fit one model for each output.",
        )
    classes = max(int(settings["num_class"]), 1)
    weights = boosted.get("weight_drop")
    grown = boosted.get("gbtree", boosted)["model"]
    limit = _rounds(model, grown["iteration_indptr"])
    link, meaning = _LINKS[objective]
    trees = tuple(
        _tree(tree, target, 1.0 if weights is None else weights[at])
        for at, (tree, target) in enumerate(zip(grown["trees"][:limit], grown["tree_info"], strict=False))
    )
    return Forest(
        trees=trees,
        features=int(settings["num_feature"]),
        targets=classes,
        base=_base(settings["base_score"], meaning, classes),
        link=link,
        single=True,
        strict=True,
        codes=_codes(learner, grown),
        classes=_classes(model, max(classes, 2)) if objective in _CLASSIFIES else None,
    )


def _unsupported(what: str) -> BadInput:
    return BadInput(
        "client.not-convertible",
        f"This XGBoost model has no ONNX form here: {what}.",
        why=f"Converted are trees with one of the objectives {', '.join(_LINKS)}.",
        next="Fit with one of these.",
    )


def _rounds(model: Any, indptr: list[int]) -> int:
    """How many trees answer: scikit-learn's interface stops at the best round, a booster takes all."""
    best = getattr(model, "best_iteration", None) if hasattr(model, "get_booster") and _stops(model) else None
    return indptr[-1] if best is None else indptr[int(best) + 1]


def _stops(model: Any) -> bool:
    return getattr(model, "early_stopping_rounds", None) is not None


def _base(text: str, meaning: str, classes: int) -> tuple[float, ...]:
    held = json.loads(text) if text.startswith("[") else [float(text)]
    scores = [float(np.float32(each)) for each in held]
    if meaning == "probability":
        scores = [math.log(each / (1.0 - each)) for each in scores]
    elif meaning == "positive":
        scores = [math.log(each) for each in scores]
    return tuple(scores * classes if len(scores) == 1 else scores)


def _classes(model: Any, count: int) -> tuple[Any, ...]:
    known = getattr(model, "classes_", None)
    return tuple(range(count)) if known is None else tuple(np.asarray(known).tolist())


def _codes(learner: Mapping[str, Any], grown: Mapping[str, Any]) -> dict[int, tuple[Any, ...]]:
    """Known values of each category feature: by the booster's own list, or the codes themselves."""
    kinds = learner.get("feature_types") or []
    held = (grown.get("cats") or {}).get("enc") or []
    codes: dict[int, tuple[Any, ...]] = {}
    for place, kind in enumerate(kinds):
        if kind != "c":
            continue
        values = held[place] if place < len(held) else {}
        if values.get("offsets"):
            codes[place] = tuple(_texts(values["offsets"], values["values"]))
        elif values.get("values"):
            codes[place] = tuple(values["values"])
        else:
            codes[place] = tuple(range(1 + max(_used(grown["trees"], place), default=0)))
    return codes


def _texts(offsets: list[int], values: list[int]) -> Iterator[str]:
    raw = bytes(each & 0xFF for each in values)
    for start, end in pairwise(offsets):
        yield raw[start:end].decode("utf-8")


def _used(trees: list[Mapping[str, Any]], place: int) -> Iterator[int]:
    for tree in trees:
        for node, members in _members(tree).items():
            if tree["split_indices"][node] == place:
                yield from members


def _members(tree: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
    return {
        node: tuple(int(each) for each in tree["categories"][start : start + size])
        for node, start, size in zip(
            tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
        )
    }


def _tree(tree: Mapping[str, Any], target: int, weight: float) -> Tree:
    left, right = np.array(tree["left_children"], np.int64), np.array(tree["right_children"], np.int64)
    splits = np.array(tree["split_conditions"], np.float32).astype(np.float64)
    goes_left = np.array(tree["default_left"], bool)
    members = _members(tree)
    asks_members: NDArray[np.bool_] = np.isin(np.arange(len(left)), list(members))
    return Tree(
        yes=np.where(asks_members, right, left),
        no=np.where(asks_members, left, right),
        feature=np.array(tree["split_indices"], np.int64),
        split=splits,
        missing_yes=goes_left ^ asks_members,
        value=splits * weight,
        target=target,
        members=members,
    )


def _ask(model: Any, rows: Rows, classes: tuple[Any, ...] | None) -> Answers:
    import xgboost  # noqa: PLC0415 - an optional extra

    try:
        if not isinstance(model, xgboost.Booster):
            labels = np.asarray(model.predict(rows.given))
            scores = None if classes is None else np.asarray(model.predict_proba(rows.given), np.float64)
            return Answers(labels=labels, scores=scores)
        names = None if rows.matrix is None else model.feature_names
        kinds = None if rows.matrix is None else model.feature_types
        table = xgboost.DMatrix(rows.given, feature_names=names, feature_types=kinds, enable_categorical=True)
        margins = np.asarray(model.predict(table, output_margin=True), np.float64)
        plain = np.asarray(model.predict(table), np.float64)
    except (ValueError, TypeError, xgboost.core.XGBoostError) as error:
        raise BadInput(
            "client.estimator-refused",
            "The model does not take these rows.",
            why=reason(error),
            next="Give rows with the columns and types that it was fitted on.",
        ) from None
    if classes is None:
        return Answers(labels=plain)
    if margins.ndim == 1:
        return Answers(labels=(plain > 0.5).astype(int), scores=np.stack([1.0 - plain, plain], axis=1))
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    return Answers(labels=margins.argmax(axis=1), scores=powers / powers.sum(axis=1, keepdims=True))
