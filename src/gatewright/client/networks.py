"""What networks of every library share: rows as one matrix, the meaning of the outputs, and the proof.

A network gives numbers whose meaning it does not know. Here they become what is judged and served: for
classification a label, by the name of its class, and probabilities; for regression one value a row.

What the numbers are is said (``outputs``) or evident, never guessed. Evident is what the exported graph
itself ends in, reshaping apart: ``Softmax`` gives probabilities, and so does ``Sigmoid`` on a single
column; where classes are named, a linear operator (``Gemm``, ``MatMul``, ``Add``) or ``LogSoftmax`` gives
logits, to which a softmax (of a single column: a sigmoid) is appended. Anything else has to be said.
Classes have to be named, but where the target itself is 0, 1, 2, …: nobody else knows the order of a
network's outputs, and a wrong one swaps answers.

The appended part is one ``LinearClassifier`` whose weights are the identity: it changes no number, and it is
the standard operator that carries class names in a place where every reader finds them.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, compose, helper

from gatewright.client import frames
from gatewright.client.parity import Answers, Candidate, Parity, ask_onnx, prove, reason
from gatewright.datasets.table import Column, Kind
from gatewright.datasets.target import TargetKind, class_names, task_of
from gatewright.kernel.errors import BadInput, Refusal
from gatewright.models.onnx_reader import inspect

INPUT_NAME = "input"
OPSET = 20
"""Of the graphs that exporters are asked for; every ONNX Runtime since 1.17 reads it."""
CLASSES = 1_000
"""Most classes that get names: what carries them holds as many numbers, squared."""
BATCH_ROWS = 1_024
REPEATED_ROWS = 64
SINGLE_ROWS = 8
EXAMPLE_ROWS = 7
"""Rows that an exporter sees; a number that no other dimension is likely to have."""
MIXED = 1e-3
"""Most difference between a row asked alone and among others, over the largest number of all answers."""

_RESHAPING = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
_LINEAR = {"Add", "Gemm", "LogSoftmax", "MatMul"}
_ML_OPSET = 1
_INSIDE = "network/"
ALIKE = (
    "Look at the worst rows: some operator computes otherwise in ONNX. Replace it in the network by another."
)

Numbers: TypeAlias = NDArray[np.float64]
Exporter: TypeAlias = "tuple[str, Callable[[], ModelProto]]"
"""What an exporter is called, and what it does; it raises where it cannot."""


class Outputs(StrEnum):
    """What the numbers that a network gives are."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    VALUE = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the owner says of the outputs: what they are, if said, and the names of the classes in their order."""

    outputs: Outputs | None
    classes: tuple[str | int, ...]

    @classmethod
    def of(cls, outputs: str, classes: Sequence[Any]) -> Said:
        """What is said, when it can be; raises BadInput (``client.outputs``, ``client.classes``)."""
        names = tuple(_class_name(each) for each in ([classes] if isinstance(classes, str) else classes))
        if outputs not in ("", *Outputs) or (outputs == Outputs.VALUE and names):
            raise BadInput(
                "client.outputs",
                f"A network's outputs cannot be {outputs[:80]!r}{' of named classes' if names else ''}.",
                next='Say "logits" or "probabilities" of a classifier, "value" of a regression.',
            )
        if len({str(name) for name in names}) != len(names) or len(names) == 1 or len(names) > CLASSES:
            raise BadInput(
                "client.classes",
                f"{len(names):,} names of classes are given, {len({str(name) for name in names}):,} of them different.",
                next=f"Name each of the 2 to {CLASSES:,} classes once, in the order of the network's outputs.",
            )
        return cls(outputs=Outputs(outputs) if outputs else None, classes=names)


def by_target(
    column: frames.Column, task: TargetKind | None, outputs: str, classes: Sequence[Any]
) -> tuple[str, Sequence[Any]]:
    """``outputs`` and ``classes`` as said, and where unsaid what the target says of a network's outputs.

    Amounts are a ``value``; classes that are 0, 1, 2, … are the places of the outputs.
    """
    kinds = {frames.Kind.WHOLE: Kind.INTEGER, frames.Kind.NUMBER: Kind.NUMBER}
    target = Column(
        name=column.name, kind=kinds.get(column.kind, Kind.TEXT), values=column.values, missing=column.missing
    )
    if (task or task_of(target)) is TargetKind.REGRESSION:
        return outputs or Outputs.VALUE, classes
    if len(classes) or target.kind is Kind.TEXT:
        return outputs, classes
    names = class_names(target)
    places = tuple(range(len(names)))
    return outputs, places if names == tuple(map(str, places)) else ()


def _class_name(given: Any) -> str | int:
    """A class as the target names it: a whole number, or a text (truth values are ``true`` and ``false``)."""
    name = given.item() if isinstance(given, np.generic) else given
    if isinstance(name, bool):
        return str(name).lower()
    if isinstance(name, (str, int)):
        return name
    raise BadInput(
        "client.classes",
        f"A class cannot have the name {name!r}.",
        next="Name classes by texts or whole numbers, as the target does.",
    )


def matrix(features: Any) -> NDArray[Any]:
    """The rows as one matrix of float32 or float64, shape (rows, columns); named columns in their order.

    Raises BadInput (``client.text-columns``) where a column holds texts, and what ``frames`` raises.
    """
    if not frames.is_named(features):
        return frames.matrix_of(features)
    columns = frames.columns_of(features)
    texts = [column.name for column in columns if column.kind is frames.Kind.TEXT]
    if texts:
        raise BadInput(
            "client.text-columns",
            f"A network takes numbers, and these columns hold texts: {', '.join(map(repr, texts[:10]))}.",
            next="Encode them as numbers before training, in the data that you submit as well.",
        )
    return np.column_stack([column.values.astype(np.float64) for column in columns])


@contextlib.contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Nothing that a library prints, logs or warns of reaches the reader; the warnings are handed over."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sink = io.StringIO()
    try:
        with (
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            warnings.simplefilter("always")
            yield warned
    finally:
        logging.disable(before)


@contextlib.contextmanager
def mute() -> Iterator[None]:
    """Nothing that native code writes to standard output reaches it: tracing prints there where it fails."""
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def ask_all(ask: Callable[[NDArray[Any]], Any], rows: NDArray[Any]) -> Numbers:
    """What a network gives for all rows, shape (rows, outputs), when each answer depends on its row alone.

    ``ask`` takes a matrix of rows. Raises BadInput: ``client.not-batched``, ``client.missing-cells``,
    ``client.not-finite``, ``client.not-repeatable``, ``client.rows-mixed``.
    """
    parts = [_numbers(ask(part), len(part)) for part in _parts(rows)]
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        row = int(np.argmax(~np.isfinite(found).all(axis=1)))
        if np.isnan(rows[row]).any():
            raise BadInput(
                "client.missing-cells",
                "The network does not take missing cells.",
                next="Fill them before training and in the data that you submit, or inside the network.",
                place=f"row {row}",
            )
        raise BadInput(
            "client.not-finite",
            "The network answers with numbers that are not finite.",
            why="Its weights are not, or a division or logarithm in it has no answer for these rows.",
            next="Train again, with a smaller learning rate or scaled columns.",
            place=f"row {row}",
        )
    _require_steady(ask, rows, found)
    return found


def _parts(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS))


def _numbers(answer: Any, rows: int) -> Numbers:
    values = np.asarray(answer, np.float64)
    if values.ndim == 0 or len(values) != rows:
        raise BadInput(
            "client.not-batched",
            f"The network was asked {rows} rows, and its answer has the shape {list(values.shape)}.",
            why="The first dimension of what a network takes and gives counts rows.",
            next="Let forward take (rows, columns) and give (rows, outputs).",
        )
    return values.reshape(rows, -1)


def _require_steady(ask: Callable[[NDArray[Any]], Any], rows: NDArray[Any], found: Numbers) -> None:
    near = MIXED * (float(np.abs(found).max()) or 1.0)
    first = rows[:REPEATED_ROWS]
    again = [_numbers(ask(first), len(first)) for _ in range(2)]
    if np.abs(again[0] - again[1]).max() > near:
        raise BadInput(
            "client.not-repeatable",
            "The network answers the same rows differently when it is asked again.",
            why="Something random stays on in evaluation mode, such as functional.dropout(x) without training=self.training.",
            next="Use the layer torch.nn.Dropout, or pass training=self.training.",
        )
    alone = np.concatenate([_numbers(ask(rows[at : at + 1]), 1) for at in range(min(len(rows), SINGLE_ROWS))])
    if np.abs(alone - found[: len(alone)]).max() > near:
        raise BadInput(
            "client.rows-mixed",
            "The network answers a row differently when it is asked alone and among others.",
            why="Something in it reads across rows: a softmax, mean or maximum over dimension 0, or batch "
            "normalisation without running statistics.",
            next="Work along dimension 1 and higher, and keep running statistics.",
        )


def prove_network(
    raw: Numbers, rows: NDArray[Any], said: Said, exporters: Sequence[Exporter]
) -> tuple[bytes, Parity, str]:
    """The bytes of the first export that answers as the network does, the proof, and the exporter's name.

    ``raw`` is what the network gives for ``rows``. Raises BadInput where no export succeeds
    (``client.not-convertible``), the outputs' meaning is neither said nor evident
    (``client.outputs-unsaid``, ``client.classes-unsaid``) or not what is said (``client.class-count``,
    ``client.several-values``, ``client.not-probabilities``); Refused (``client.parity``) where each
    answers otherwise.
    """
    failed: list[str] = []
    graphs = _exported(exporters, failed)
    first = next(graphs, None)
    if first is None:
        raise _not_convertible(failed)
    outputs = said.outputs or _evident(first[1], raw.shape[1], said.classes)
    _require_named(raw.shape[1], outputs, said.classes)
    expected = _expected(raw, outputs, said.classes)
    names: dict[bytes, str] = {}

    def served() -> Iterator[Candidate]:
        for name, graph in chain((first,), graphs):
            data = _with_meaning(graph, raw.shape[1], outputs, said.classes)
            fault = _fault(data, rows, classifies=expected.scores is not None)
            if fault:
                failed.append(f"{name}: {fault}")
            else:
                names[data] = name
                yield _candidate(data, rows)

    candidates = served()
    best = next(candidates, None)
    if best is None:
        raise _not_convertible(failed)
    data, parity = prove(expected, chain((best,), candidates), advice=ALIKE)
    return data, parity, names[data]


def _exported(exporters: Sequence[Exporter], failed: list[str]) -> Iterator[tuple[str, ModelProto]]:
    """What each exporter makes, by its name; why one fails is noted."""
    for name, export in exporters:
        try:
            with quiet():
                graph = export()
        except BadInput as error:
            failed.append(f"{name}: {error.refusal.what} {error.refusal.why}".strip())
        except Exception as error:  # noqa: BLE001 - exporters raise whatever their libraries do
            failed.append(f"{name}: {reason(_origin(error))}")
        else:
            yield name, graph


def _origin(error: Exception) -> Exception:
    """What an error goes back to: exporters wrap it in advice on themselves."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _not_convertible(failed: Sequence[str]) -> BadInput:
    return BadInput(
        "client.not-convertible",
        "No exporter makes an ONNX file of this network that can be served.",
        why=" ".join(failed),
        next="Change in the network what is named there; a path that depends on the values of the input is "
        "written with torch.where.",
    )


def _fault(data: bytes, rows: NDArray[Any], *, classifies: bool) -> str:
    """Why a file would not be served, or nothing: what intake says, or what one row alone meets."""
    found = inspect(data)
    if isinstance(found, Refusal):
        return f"{found.what} {found.why}".strip()
    try:
        ask_onnx(_candidate(data, rows[:1]), classifies=classifies)
        ask_onnx(_candidate(data, rows[:SINGLE_ROWS]), classifies=classifies)
    except BadInput as error:
        return error.refusal.why
    return ""


def _candidate(data: bytes, rows: NDArray[Any]) -> Candidate:
    return Candidate(onnx=data, feeds={INPUT_NAME: rows})


def _evident(graph: ModelProto, width: int, classes: Sequence[str | int]) -> Outputs:
    """What the graph itself ends in, reshaping apart; raises BadInput where that tells nothing."""
    made_by = {name: node for node in graph.graph.node for name in node.output}
    node = made_by.get(graph.graph.output[0].name)
    while node is not None and node.op_type in _RESHAPING:
        node = made_by.get(node.input[0])
    last = node.op_type if node is not None else "nothing"
    if last == "Softmax" or (last == "Sigmoid" and width == 1):
        return Outputs.PROBABILITIES
    if last in _LINEAR and classes:
        return Outputs.LOGITS
    raise BadInput(
        "client.outputs-unsaid",
        "What the network's outputs mean is neither said nor evident.",
        why=f"It gives {width} numbers a row and ends in {last}"
        + ("." if classes else ", which a classifier may do as well as a regression."),
        next='Say outputs="logits" or outputs="probabilities" of a classifier, with classes=[...] in the order of '
        'its outputs, or outputs="value" of a regression.',
    )


def _require_named(width: int, outputs: Outputs, classes: Sequence[str | int]) -> None:
    if outputs is Outputs.VALUE and width != 1:
        raise BadInput(
            "client.several-values",
            f"The network gives {width} values a row; one is supported.",
            next='Give one; of a classifier, say outputs="logits" or outputs="probabilities".',
        )
    if outputs is not Outputs.VALUE and not classes:
        raise BadInput(
            "client.classes-unsaid",
            f"The network gives {outputs} of classes that have no names.",
            why="It numbers its classes, and only targets that are 0, 1, 2, … are numbered so themselves.",
            next="Say classes=[...], named as in the target, in the order of the network's outputs.",
        )
    if classes and max(width, 2) != len(classes):
        raise BadInput(
            "client.class-count",
            f"The network gives {width} numbers a row, and there are {len(classes)} classes.",
            next="Name as many classes as it was trained on, in the order of its outputs.",
        )


def _expected(raw: Numbers, outputs: Outputs, classes: Sequence[str | int]) -> Answers:
    """Labels and probabilities (or values) by the network's own numbers, float64."""
    if outputs is Outputs.VALUE:
        return Answers(labels=raw[:, 0])
    width = raw.shape[1]
    if outputs is Outputs.LOGITS:
        numbers = np.hstack([np.zeros_like(raw), raw]) if width == 1 else raw
        powers = np.exp(numbers - numbers.max(axis=1, keepdims=True))
        scores = powers / powers.sum(axis=1, keepdims=True)
    else:
        numbers = scores = np.hstack([1.0 - raw, raw]) if width == 1 else raw
        _require_probabilities(scores)
    return Answers(labels=np.array(_labels(classes))[numbers.argmax(axis=1)], scores=scores)


def _require_probabilities(scores: Numbers) -> None:
    off = (scores < -MIXED).any(axis=1) | (np.abs(scores.sum(axis=1) - 1) > MIXED)
    if off.any():
        row = int(np.argmax(off))
        raise BadInput(
            "client.not-probabilities",
            "The network's outputs are not probabilities.",
            why=f"For a row it gives {', '.join(f'{each:.3g}' for each in scores[row, :5])}: they leave 0 to 1, or do "
            "not add up to 1.",
            next='Say outputs="logits" if they are, or end the network with a softmax over the classes.',
            place=f"row {row}",
        )


def _labels(classes: Sequence[str | int]) -> list[str] | list[int]:
    """The names as one type: whole numbers where all are, else texts."""
    whole = [name for name in classes if isinstance(name, int)]
    return whole if len(whole) == len(classes) else [str(name) for name in classes]


def _with_meaning(exported: ModelProto, width: int, outputs: Outputs, classes: Sequence[str | int]) -> bytes:
    """The bytes of a graph with its meaning appended, the same for the same graph, without notes on the machine."""
    model: ModelProto = compose.add_prefix(exported, _INSIDE, rename_inputs=False)
    graph = model.graph
    graph.name = "model"
    raw = graph.output[0].name
    del graph.output[:]
    del graph.value_info[:]
    _without_notes(model)
    if outputs is Outputs.VALUE:
        kind = TensorProto.DOUBLE if _is_double(exported) else TensorProto.FLOAT
        graph.node.append(helper.make_node("Flatten", [raw], ["value"], axis=1))
        graph.output.append(helper.make_tensor_value_info("value", kind, ["rows", 1]))
    else:
        labels = _labels(classes)
        if all(each.domain != "ai.onnx.ml" for each in model.opset_import):
            model.opset_import.append(helper.make_opsetid("ai.onnx.ml", _ML_OPSET))
        graph.node.extend([*_columns(raw, width, outputs), _classifier(labels, outputs)])
        kind = TensorProto.INT64 if isinstance(labels[0], int) else TensorProto.STRING
        graph.output.append(helper.make_tensor_value_info("label", kind, ["rows"]))
        scores = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", len(labels)])
        graph.output.append(scores)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _is_double(model: ModelProto) -> bool:
    return bool(model.graph.output[0].type.tensor_type.elem_type == TensorProto.DOUBLE)


def _without_notes(model: ModelProto) -> None:
    """Drop free text: exporters note the paths and lines of the owner's code in it."""
    held: list[Any] = [model, model.graph, *model.functions]
    while held:
        each = held.pop()
        each.doc_string = ""
        del each.metadata_props[:]
        if isinstance(each, GraphProto | FunctionProto):
            held += each.node
        if isinstance(each, GraphProto):
            held += [*each.input, *each.output, *each.initializer]
        if isinstance(each, NodeProto):
            held += [attribute.g for attribute in each.attribute if attribute.HasField("g")]
            held += [graph for attribute in each.attribute for graph in attribute.graphs]


def _columns(raw: str, width: int, outputs: Outputs) -> list[NodeProto]:
    """From what the network gives to one float32 column per class, ``columns``; logits stay logits."""
    flat = "columns" if width > 1 else "single"
    nodes = [
        helper.make_node("Cast", [raw], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], [flat], axis=1),
    ]
    if width == 1:
        if outputs is Outputs.LOGITS:  # the first class has the logit 0
            nodes.append(helper.make_node("Sub", ["single", "single"], ["other"]))
        else:
            nodes.append(helper.make_node("Constant", [], ["one"], value_floats=[1.0]))
            nodes.append(helper.make_node("Sub", ["one", "single"], ["other"]))
        nodes.append(helper.make_node("Concat", ["other", "single"], ["columns"], axis=1))
    return nodes


def _classifier(labels: list[str] | list[int], outputs: Outputs) -> NodeProto:
    """From ``columns`` to ``label`` and ``probabilities``."""
    node = helper.make_node(
        "LinearClassifier",
        ["columns"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        coefficients=np.eye(len(labels), dtype=np.float32).ravel().tolist(),
        intercepts=[0.0] * len(labels),
        post_transform="SOFTMAX" if outputs is Outputs.LOGITS else "NONE",
    )
    key = "classlabels_ints" if isinstance(labels[0], int) else "classlabels_strings"
    node.attribute.append(helper.make_attribute(key, labels))
    return node
