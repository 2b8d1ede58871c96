"""From a model's output tensors to what they mean: class names, values, probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.kernel.errors import BadInput
from gatewright.models.signature import ModelSignature, Task

Outputs = Mapping[str, NDArray[Any]]


def scores(signature: ModelSignature, outputs: Outputs) -> NDArray[np.float64] | None:
    """Probabilities of the signature's classes, shape (rows, classes), or None where there are none.

    A single column is read as the probability of the second of two classes.
    """
    if not signature.scores_output:
        return None
    values = np.asarray(outputs[signature.scores_output], dtype=np.float64)
    values = values.reshape(len(values), -1)
    if values.shape[1] == 1 and len(signature.classes) == 2:
        return np.hstack([1.0 - values, values])
    return values


def labels(signature: ModelSignature, outputs: Outputs) -> NDArray[np.object_] | NDArray[np.float64]:
    """Predicted class names (objects of ``str``) or, for regression, values (float64), shape (rows,).

    Without a label output the most probable class counts. Raises BadInput for a label that is not
    one of the classes.
    """
    if signature.task is Task.REGRESSION:
        return np.asarray(outputs[signature.label_output], dtype=np.float64).reshape(-1)
    if signature.label_output:
        return _named(np.asarray(outputs[signature.label_output]).reshape(-1).tolist(), signature.classes)
    probabilities = scores(signature, outputs)
    if probabilities is None:
        raise BadInput("models.no-answer", "The model has neither a label nor a score output.")
    best: NDArray[np.object_] = np.array(signature.classes, dtype=np.object_)[probabilities.argmax(axis=1)]
    return best


def _named(raw: Sequence[object], classes: Sequence[str]) -> NDArray[np.object_]:
    known = set(classes)
    names = {value: _name(value, classes, known) for value in set(raw)}
    found = np.empty(len(raw), dtype=np.object_)
    found[:] = [names[value] for value in raw]
    return found


def _name(value: object, classes: Sequence[str], known: set[str]) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if text in known:
        return text
    if isinstance(value, (bool, int, float)) and value == int(value):
        if str(int(value)) in known:
            return str(int(value))
        if 0 <= int(value) < len(classes):  # the model numbers its classes by their place
            return classes[int(value)]
    raise BadInput(
        "models.unknown-label",
        f"The model answers {text[:80]!r}, which is none of the target's classes.",
        next=f"The classes are: {', '.join(classes[:20])}.",
    )
