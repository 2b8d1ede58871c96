"""Which data columns fill a model's inputs, and what its outputs mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from gatewright.kernel.errors import Refusal, Refused
from gatewright.models.facts import ModelFacts
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.tensors import FLOATS

Features: TypeAlias = "Sequence[tuple[str, str]]"

TEXT = "text"
INTEGER = "integer"

_LABELS = {DataType.INT64, DataType.INT32, DataType.BYTES}
_NOT_WORD = re.compile(r"[^\w+]")  # as skl2onnx 1.20 does, in Topology._generate_unique_name


def sanitised(name: str) -> str:
    """The input name that skl2onnx gives to a data column (before it counts duplicates)."""
    tidy = _NOT_WORD.sub("_", name)
    return f"_{tidy}" if tidy[:1].isdigit() else tidy


def fit_signature(
    facts: ModelFacts, *, features: Features, task: Task, classes: tuple[str, ...]
) -> ModelSignature | Refusal:
    """The signature of a model on given data, or why the two do not fit.

    ``features`` are (name, kind) pairs in file order, the kind being ``integer``, ``number`` or
    ``text``; ``classes`` the class names found in the data, sorted (empty for regression).

    Inputs: either one float matrix (rows, F), with as many columns as there are features, all
    numeric, in file order; or inputs named like columns (exactly, or as skl2onnx spells them), each
    (rows, 1) or (rows,). Columns that no input takes are then left over: see :func:`left_over`.

    Outputs: the label is the first output of whole numbers or texts of shape (rows,) or (rows, 1);
    the scores are the first float output (rows, classes). For two classes a float output (rows, 1)
    or (rows,) is taken as the probability of the second class. Regression takes the first float
    output (rows, 1) or (rows,) as its value. Whether scores are probabilities is seen when it runs.
    """
    try:
        inputs = _inputs(facts, features)
        if task is Task.REGRESSION:
            return _regression(facts, inputs)
        return _classification(facts, inputs, task, classes)
    except Refused as refused:
        return refused.refusal


def left_over(signature: ModelSignature, features: Features) -> tuple[str, ...]:
    """The data columns that no input of the model takes, in order."""
    taken = {column for spec in signature.inputs for column in spec.columns}
    return tuple(name for name, _ in features if name not in taken)


def _inputs(facts: ModelFacts, features: Features) -> tuple[TensorSpec, ...]:
    for spec in facts.inputs:
        if spec.shape[0] != -1:
            raise Refused(
                "models.fixed-rows",
                f"The input {spec.name!r} takes exactly {spec.shape[0]} rows at a time.",
                next="Export with a free first dimension (dynamic_axes or dynamic_shapes for PyTorch, "
                "[None, n] for skl2onnx).",
                place=f"input {spec.name!r}",
            )
    by_name = _named_columns(features)
    if len(facts.inputs) == 1 and facts.inputs[0].name not in by_name:
        return (_matrix(facts.inputs[0], features),)
    unknown = [spec.name for spec in facts.inputs if spec.name not in by_name]
    if unknown:
        raise Refused(
            "models.unknown-inputs",
            f"The model has inputs that the data does not have: {', '.join(map(repr, unknown[:10]))}.",
            why=f"The data has: {', '.join(name for name, _ in features[:20])}.",
            next="Give the data the model was trained on, or name the inputs like its columns.",
        )
    return tuple(_named(spec, *by_name[spec.name]) for spec in facts.inputs)


def _named_columns(features: Features) -> dict[str, tuple[str, str]]:
    """Feature by input name; an exact name wins, and an ambiguous spelling stands for none."""
    spelt: dict[str, list[tuple[str, str]]] = {}
    for name, kind in features:
        spelt.setdefault(sanitised(name), []).append((name, kind))
    found = {spelling: held[0] for spelling, held in spelt.items() if len(held) == 1}
    return found | {name: (name, kind) for name, kind in features}


def _matrix(spec: TensorSpec, features: Features) -> TensorSpec:
    place = f"input {spec.name!r}"
    if len(spec.shape) != 2 or spec.datatype not in FLOATS:
        raise Refused(
            "models.input-shape",
            f"The input {spec.name!r} is {spec.datatype} of shape {list(spec.shape)}; it is neither a float "
            "matrix (rows, features) nor named like a column of the data.",
            next="Export with one float matrix input, or one input per column.",
            place=place,
        )
    texts = [name for name, kind in features if kind == TEXT]
    if texts:
        raise Refused(
            "models.text-features",
            f"The model takes a matrix of {spec.shape[1]} numbers, and these features hold text: "
            f"{', '.join(texts[:10])}.",
            why=f"The data has {len(features)} features, {len(features) - len(texts)} of them numeric.",
            next="Export with one input per column, or register the data without these columns.",
            place=place,
        )
    if spec.shape[1] not in (-1, len(features)):
        raise Refused(
            "models.feature-count",
            f"The model takes {spec.shape[1]} features, and the data has {len(features)} beside the target.",
            why=f"The data has: {', '.join(name for name, _ in features[:20])}.",
            next="Give the data the model was trained on.",
            place=place,
        )
    return _filled(spec, tuple(name for name, _ in features))


def _named(spec: TensorSpec, column: str, kind: str) -> TensorSpec:
    place = f"input {spec.name!r}"
    if len(spec.shape) > 2 or (len(spec.shape) == 2 and spec.shape[1] not in (-1, 1)):
        raise Refused(
            "models.input-shape",
            f"The input {spec.name!r} has the shape {list(spec.shape)}; one column fills (rows, 1) or (rows,).",
            place=place,
        )
    fits = kind in (TEXT, INTEGER) if spec.datatype is DataType.BYTES else kind != TEXT
    if not fits:  # texts that are all digits (codes of regions) are read as whole numbers
        raise Refused(
            "models.column-kind",
            f"The input {spec.name!r} takes {spec.datatype}, and the column {column!r} holds {kind}.",
            next="Convert the model with the types of the data.",
            place=place,
        )
    if spec.datatype not in FLOATS and kind not in (TEXT, INTEGER):
        raise Refused(
            "models.column-kind",
            f"The input {spec.name!r} takes whole numbers ({spec.datatype}), and the column {column!r} holds "
            "decimal ones.",
            next="Convert the model with a float input for it.",
            place=place,
        )
    return _filled(spec, (column,))


def _filled(spec: TensorSpec, columns: tuple[str, ...]) -> TensorSpec:
    return TensorSpec(name=spec.name, datatype=spec.datatype, shape=spec.shape, columns=columns)


def _is_vector(spec: TensorSpec) -> bool:
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1)


def _regression(facts: ModelFacts, inputs: tuple[TensorSpec, ...]) -> ModelSignature:
    values = [s for s in facts.outputs if s.datatype in FLOATS and (_is_vector(s) or s.shape[1:] == (-1,))]
    if not values:
        raise Refused(
            "models.no-value-output",
            "The model has no output for a regression.",
            why=f"Its outputs are {_outputs(facts)}; a float of shape (rows, 1) or (rows,) is needed.",
            next="Check the task, or export the regressor's prediction.",
        )
    return ModelSignature(
        task=Task.REGRESSION, inputs=inputs, outputs=facts.outputs, label_output=values[0].name
    )


def _classification(
    facts: ModelFacts, inputs: tuple[TensorSpec, ...], task: Task, classes: tuple[str, ...]
) -> ModelSignature:
    label = next((s for s in facts.outputs if s.datatype in _LABELS and _is_vector(s)), None)
    scores = _scores(facts, classes)
    if label is None and scores is None:
        raise Refused(
            "models.no-class-output",
            "The model has no output for a classification.",
            why=f"Its outputs are {_outputs(facts)}; the data has {len(classes)} classes.",
            next="Export a label (rows,) or probabilities (rows, classes).",
        )
    return ModelSignature(
        task=task,
        inputs=inputs,
        outputs=facts.outputs,
        label_output=label.name if label else "",
        scores_output=scores.name if scores else "",
        classes=_ordered(facts, classes),
    )


def _scores(facts: ModelFacts, classes: tuple[str, ...]) -> TensorSpec | None:
    floats = [spec for spec in facts.outputs if spec.datatype in FLOATS]
    matrices = [s for s in floats if len(s.shape) == 2 and s.shape[1] != 1]
    for width in (len(classes), -1):
        found = next((spec for spec in matrices if spec.shape[1] == width), None)
        if found:
            return found
    if matrices:
        raise Refused(
            "models.class-count",
            f"The model scores {matrices[0].shape[1]} classes, and the data has {len(classes)}: "
            f"{', '.join(classes[:20])}.",
            next="Give the data the model was trained on.",
            place=f"output {matrices[0].name!r}",
        )
    return next((spec for spec in floats if _is_vector(spec)), None) if len(classes) == 2 else None


def _ordered(facts: ModelFacts, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes in the order of the model, where it names them; else in the order of the data.

    Labels that are mere positions (0, 1, …) of classes with other names are not names.
    """
    if set(facts.labels) == set(classes) and len(facts.labels) == len(classes):
        return facts.labels
    positions = tuple(str(position) for position in range(len(facts.labels)))
    if facts.labels and facts.labels != positions:
        raise Refused(
            "models.class-names",
            f"The model knows the classes {', '.join(facts.labels[:20])}, and the data has "
            f"{', '.join(classes[:20])}.",
            next="Give the data the model was trained on.",
        )
    return classes


def _outputs(facts: ModelFacts) -> str:
    return ", ".join(f"{s.name!r} {s.datatype} {list(s.shape)}" for s in facts.outputs[:10])
