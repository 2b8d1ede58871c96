"""A model under behavioural test from a home or from an ONNX file, run in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatewright.assembly.homes import read_home
from gatewright.datasets.table import Table
from gatewright.datasets.target import check_target, class_names
from gatewright.integrations.behaviour import Answers, ModelUnderTest
from gatewright.kernel.errors import Misuse, Refused
from gatewright.models.fitting import fit_signature
from gatewright.models.outputs import labels, scores
from gatewright.models.signature import ModelSignature, Task
from gatewright.models.signature_format import decode_signature
from gatewright.operations.casework import columns_of
from gatewright.operations.data import dataset
from gatewright.operations.files import read_file
from gatewright.operations.isolation import inspect_model, load_table, predict
from gatewright.operations.models import MODEL_BYTES, model


def of_home(ref: str, *, rows: str = "", start: Path) -> ModelUnderTest:
    """The version that ``NAME@VERSION`` or ``NAME`` names, on the test rows it is judged on.

    ``rows`` names a CSV or Parquet file to take instead. The home is searched from ``start`` upwards.
    """
    with read_home(start) as home:
        version = model(home, ref)
        content = home.blobs.get(version.model)
        signature = decode_signature(home.blobs.get(version.signature))
        if rows:
            table = _table(start / rows)
        else:
            table = load_table(home.blobs.get(dataset(home, version.dataset).test), "the test rows")
    return _under_test(content, signature, table)


def of_file(path: Path, *, rows: Path, target: str) -> ModelUnderTest:
    """An ONNX file on the rows of a file, whose column ``target`` tells the task and the classes."""
    content, table = read_file(path, limit=MODEL_BYTES), _table(rows)
    task = Task(check_target(table, target))
    features = tuple((column.name, column.kind.value) for column in table.columns if column.name != target)
    classes = () if task is Task.REGRESSION else class_names(table.column(target))
    fitted = fit_signature(inspect_model(content), features=features, task=task, classes=classes)
    if not isinstance(fitted, ModelSignature):
        raise Refused.of(fitted)
    return _under_test(content, fitted, table)


def named(text: str, *, rows: str = "", target: str = "", start: Path) -> ModelUnderTest:
    """The model that a text names: an ONNX file where there is one of that path, else a version of the home."""
    path = start / text
    if not path.is_file() and not text.endswith(".onnx"):
        return of_home(text, rows=rows, start=start)
    if not rows or not target:
        raise Misuse(
            "integrations.rows-and-target",
            "A model file is tried on the rows of a file, and needs to know which column is the target.",
            next="Name both: @pytest.mark.gatewright('model.onnx', rows='test.csv', target='repaid').",
        )
    return of_file(path, rows=start / rows, target=target)


def _table(path: Path) -> Table:
    return load_table(read_file(path), path.name)


def _under_test(content: bytes, signature: ModelSignature, table: Table) -> ModelUnderTest:
    """Only the columns that the model reads are rows to it."""
    taken = [column for spec in signature.inputs for column in spec.columns]
    read = {name: values for name, values in columns_of(table).items() if name in taken}

    def ask(rows: Mapping[str, Any]) -> Answers:
        given = predict(content, signature, rows, samples=1).outputs
        found, probabilities = labels(signature, given), scores(signature, given)
        if signature.task is Task.REGRESSION:
            return Answers(labels=found, scores={"": found.astype(float)})
        if probabilities is None:
            return Answers(labels=found, scores={})
        return Answers(labels=found, scores=dict(zip(signature.classes, probabilities.T, strict=True)))

    return ModelUnderTest(rows=read, ask=ask)
