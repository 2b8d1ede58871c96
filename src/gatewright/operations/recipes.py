"""Recipes: one Python file that trains a model, run in a sandbox on locked rows, and run again.

A recipe defines ``train(rows, seed)``. ``rows`` is a polars DataFrame of the training rows with the
target column; what it returns is ONNX bytes, or anything whose ``onnx`` attribute is. It is somebody's
code: it runs only where every protection of ``sandbox.REQUIRED`` holds, and what it returns is read
as any stranger's model is. On a machine that lacks a protection nothing is run; the owner trains in
their own environment and declares the recipe.

Not promised: that a recipe is honest. It may return a model that has nothing to do with the rows, or
carry rows away inside the model. What a model does is what checks are for.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.case import Predictions
from gatewright.datasets.table import Table
from gatewright.datasets.table_format import encode_table
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, DependencyFailed, GatewrightError, Misuse, Refused
from gatewright.kernel.names import parse_name
from gatewright.models.fitting import fit_signature
from gatewright.models.outputs import labels, scores
from gatewright.models.signature import ModelSignature, Task
from gatewright.models.signature_format import decode_signature
from gatewright.operations import catalogue, models, sandbox
from gatewright.operations.catalogue import DatasetVersion, ModelVersion
from gatewright.operations.child_process import Ended, converse
from gatewright.operations.child_protocol import (
    EXIT_CANNOT_START,
    LENGTH,
    REFUSAL,
    RESULT,
    Job,
    Limits,
    decode_refusal,
    pack,
    views,
)
from gatewright.operations.data import dataset as exact_dataset
from gatewright.operations.home import Home
from gatewright.operations.isolation import inspect_model, load_table, out_of_memory, predict
from gatewright.operations.models import Declared

_GIB = 1024**3

RECIPE_BYTES = 1024**2
SECONDS = 3_600
# Fixed, not as many as there are cores: sums in another order are other models.
THREADS = 2
LIMITS = Limits(
    memory_bytes=12 * _GIB, seconds=SECONDS, answer_bytes=models.MODEL_BYTES, tasks=128, threads=THREADS,
    scratch_bytes=_GIB // 2,
)  # fmt: skip
MEMORY_PER_ROW_BYTE = 8

ALIKE = 1e-3
"""Most that a probability, or a value in standard deviations of all answers, may differ and be alike."""

_OWN_REFUSALS = frozenset({"recipes.raised", "recipes.no-model", "recipes.model-too-large"})
TOLD_BYTES = 64 * 1024
"""Most bytes of what an answer says beside the model: the libraries as JSON, or a refusal."""
_LIBRARY_TEXT = 60
_LIBRARIES_TOLD = 20
_LIBRARY = "library "
_DECLARE = (
    "Train in your own environment and declare the recipe: gatewright model add model.onnx --recipe FILE."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a recipe gave.

    Model bytes, wall-clock seconds, what protected from it, and the versions of the libraries it used
    (a claim of the recipe's own process).
    """

    onnx: bytes
    seconds: float
    protections: tuple[str, ...]
    libraries: Mapping[str, str]

    def origin(self) -> dict[str, str]:
        """What is recorded with the version."""
        libraries = {f"{_LIBRARY}{name}": text for name, text in self.libraries.items()}
        return {
            "sandbox": ", ".join(self.protections),
            "training seconds": f"{self.seconds:.1f}",
            **libraries,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A version that its recipe trained here."""

    version: ModelVersion
    trained: Trained


class Sameness(StrEnum):
    """How a version and its repetition compare: byte for byte, by their answers, or not at all."""

    SAME = "same"
    ALIKE = "alike"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """A version trained again.

    ``largest`` is the largest difference of a probability over the test rows (of a value in standard
    deviations, for regression); ``labels_differ`` counts rows with another class. Both are None where
    the answers were not compared: because the bytes are the same, or for ``reason``. ``libraries``
    names those whose version changed since, with both versions.
    """

    ref: str
    seed: int
    sameness: Sameness
    model: Digest
    trained: Trained
    rows: int = 0
    labels_differ: int | None = None
    largest: float | None = None
    reason: str = ""
    libraries: Mapping[str, tuple[str, str]]


def run(recipe: bytes, rows: Table, *, seed: int, home: Home, seconds: int = SECONDS) -> Trained:
    """Run a recipe in the sandbox; it cannot open the home, nor the folder of the user.

    Raises :class:`Refused` with a code ``recipes.*`` for whatever the recipe does wrong,
    :class:`BadInput` for a file that is none, and :class:`DependencyFailed` where a protection is
    missing: then nothing was run.
    """
    _require_text(recipe)
    table = encode_table(rows)
    plan = json.dumps({"most": models.MODEL_BYTES - 1024, "seed": seed}).encode("ascii")
    limits = replace(
        LIMITS, seconds=seconds, memory_bytes=LIMITS.memory_bytes + MEMORY_PER_ROW_BYTE * len(table)
    )
    hidden = (str(home.folder), os.path.expanduser("~"))  # noqa: PTH111 - never raises
    begun = time.monotonic()
    ended = converse(Job.TRAIN, pack([recipe, plan, table]), limits, hidden=hidden)
    protections, answer = _told(ended.output)
    _require_protections(ended, protections)
    _require_end(ended, limits)
    onnx, libraries = _model(answer)
    return Trained(onnx=onnx, seconds=time.monotonic() - begun, protections=protections, libraries=libraries)


def _require_text(recipe: bytes) -> None:
    if len(recipe) > RECIPE_BYTES:
        raise BadInput(
            "recipes.too-large",
            f"The recipe has {len(recipe):,} bytes; {RECIPE_BYTES:,} is the most.",
            next="Give one Python file with train(rows, seed).",
        )
    try:
        text = recipe.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            "recipes.not-text",
            "The recipe is not UTF-8 text.",
            next="Give one Python file with train(rows, seed).",
            place=f"byte {error.start + 1}",
        ) from None
    if "\0" in text:
        raise BadInput("recipes.not-text", "The recipe is no text: it holds a zero byte.")


def _told(output: bytes) -> tuple[tuple[str, ...], memoryview]:
    """What protects from the child, written before the recipe ran, and whatever came after it."""
    end = LENGTH + int.from_bytes(output[:LENGTH], "little")
    if len(output) < LENGTH or end > len(output):
        return (), memoryview(b"")
    return tuple(map(str, json.loads(output[LENGTH:end]))), memoryview(output)[end:]


def _require_protections(ended: Ended, protections: Sequence[str]) -> None:
    if not protections:
        raise DependencyFailed(
            "operations.child-start",
            "The sandbox cannot be started.",
            why=ended.errors.decode("utf-8", "replace")[-300:].strip() or "This is not Linux.",
            next=_DECLARE,
        )
    missing = [name for name in sandbox.REQUIRED if name not in protections]
    if missing:
        raise DependencyFailed(
            "recipes.no-sandbox",
            "The recipe was not run: this machine cannot hold it in a sandbox.",
            why=f"Missing: {', '.join(missing)}. It takes Linux 6.2 or newer with Landlock and seccomp.",
            next=_DECLARE,
        )


def _require_end(ended: Ended, limits: Limits) -> None:
    """Refuse a recipe that did not come to its own end."""
    if ended.status == EXIT_CANNOT_START:
        raise DependencyFailed(
            "operations.child-start",
            "The sandbox cannot be started.",
            why=ended.errors.decode("utf-8", "replace")[-300:].strip(),
            next="Install what it needs: pip install 'gatewright[studio]'.",
        )
    if ended.timed_out:
        raise _failed("timeout", f"It did not end within {limits.seconds:,} seconds.")
    if ended.crowded:
        raise _failed("threads", f"It started more than {limits.tasks} threads.")
    if ended.flooded:
        raise _failed("nonsense", f"It answered with more than {limits.answer_bytes:,} bytes.")
    if ended.status != 0 and out_of_memory(ended):
        raise _failed("memory", f"It wanted more than {limits.memory_bytes // _GIB} GiB of memory.")
    if ended.status != 0:
        how = f"signal {-ended.status}" if ended.status < 0 else f"status {ended.status}"
        raise _failed("crash", f"Its process ended with {how}.")


_CODES = {
    "crash": "recipes.crash",
    "memory": "recipes.memory",
    "nonsense": "recipes.nonsense",
    "threads": "recipes.threads",
    "timeout": "recipes.timeout",
}


def _failed(reason: str, why: str) -> Refused:
    return Refused(
        _CODES[reason],
        "The recipe gave no model, so it is refused.",
        why=why,
        next="Make it smaller or mend it; docs/recipes.md lists what a recipe may use.",
    )


def _model(answer: memoryview) -> tuple[bytes, dict[str, str]]:
    """The model and the libraries that an answer holds; nothing else is believed.

    The recipe may have written the answer itself, so sizes are looked at before anything is copied or read.
    """
    try:
        (frame,) = views(answer, 1)
        kind, rest = bytes(frame[:1]), frame[1:]
        if kind == REFUSAL:
            refusal = decode_refusal(_short(rest))
            if refusal.code in _OWN_REFUSALS:
                raise refusal
        if kind != RESULT:
            raise _does_not_hold()
        onnx, told = views(rest, 2)
        libraries = _texts(json.loads(_short(told)))
    except (BadInput, ValueError, RecursionError):
        raise _does_not_hold() from None
    if len(onnx) > models.MODEL_BYTES:
        raise Refused(
            "recipes.model-too-large",
            f"The recipe gave {len(onnx):,} bytes; {models.MODEL_BYTES:,} is the most.",
            next="Train a smaller model.",
        )
    return bytes(onnx), libraries


def _short(told: memoryview) -> bytes:
    if len(told) > TOLD_BYTES:
        raise _does_not_hold()
    return bytes(told)


def _texts(libraries: object) -> dict[str, str]:
    """The first names and versions, cut; raises ValueError for what is neither, or no UTF-8."""
    if not isinstance(libraries, dict) or not all(isinstance(text, str) for text in libraries.values()):
        raise ValueError
    kept = islice(libraries.items(), _LIBRARIES_TOLD)
    texts = {name[:_LIBRARY_TEXT]: text[:_LIBRARY_TEXT] for name, text in kept}
    "".join([*texts, *texts.values()]).encode("utf-8")  # a lone surrogate has no place in a record
    return texts


def _does_not_hold() -> Refused:
    return _failed("nonsense", "Its process gave an answer that does not hold.")


def train_and_add(
    home: Home,
    recipe: bytes,
    name: str,
    declared: Declared,
    progress: Callable[[str], None] = lambda _: None,
) -> Added:
    """Run a recipe on the locked train split of ``declared.trained_on`` and add what it returns.

    Training happens beside others; only the adding holds the home. Raises what :func:`run` and
    ``models.add_content`` raise; nothing is recorded of a recipe that gave no model.
    """
    parse_name(name, of="model")
    if not declared.trained_on:
        raise Misuse(
            "recipes.no-dataset",
            "A recipe is run on the locked rows of a dataset, and none is named.",
            next="Name it with --trained-on NAME.",
        )
    data = catalogue.resolve(home, "datasets", declared.trained_on, DatasetVersion)
    rows = load_table(home.blobs.get(data.train), "the training rows")
    progress(f"training on the {rows.rows:,} locked rows of {data.ref}, in the sandbox")
    trained = run(recipe, rows, seed=declared.seed, home=home)
    origin = {**(declared.origin or {}), **trained.origin()}
    whole = replace(declared, recipe=recipe, origin=origin, trained_on=data.ref)
    with home.exclusive():
        version = models.add_content(home, trained.onnx, name, whole)
    return Added(version=version, trained=trained)


def reproduce(
    home: Home, ref: str, *, seed: int | None = None, progress: Callable[[str], None] = lambda _: None
) -> Reproduced:
    """Train a version again from its recipe, its seed (or another) and its rows, and compare.

    Nothing is recorded. Raises Misuse for a version without a recipe or without declared rows, and
    what :func:`run` raises.
    """
    subject = models.model(home, ref)
    data = exact_dataset(home, subject.dataset)
    if subject.recipe is None or subject.trained_on is None:
        raise Misuse(
            "recipes.none-declared",
            f"{subject.ref} declares no {'recipe' if subject.recipe is None else 'training rows'}.",
            next="Add it again with --recipe FILE --trained-on DATASET.",
        )
    chosen = subject.seed if seed is None else seed
    rows = load_table(home.blobs.get(subject.trained_on), "the training rows")
    progress(f"training on {rows.rows:,} rows with seed {chosen}, in the sandbox")
    trained = run(home.blobs.get(subject.recipe), rows, seed=chosen, home=home)
    result = Reproduced(
        ref=subject.ref,
        seed=chosen,
        sameness=Sameness.SAME,
        model=Digest.of(trained.onnx),
        trained=trained,
        libraries=_changed(subject, trained),
    )
    if result.model == subject.model:
        return result
    progress("other bytes; asking both about the test rows")
    return _compared(home, subject, data, result)


def _changed(subject: ModelVersion, trained: Trained) -> dict[str, tuple[str, str]]:
    """The libraries whose recorded version is another one now."""
    before = {
        name.removeprefix(_LIBRARY): text
        for name, text in subject.origin.items()
        if name.startswith(_LIBRARY)
    }
    return {
        name: (text, trained.libraries[name])
        for name, text in before.items()
        if name in trained.libraries and trained.libraries[name] != text
    }


def _compared(home: Home, subject: ModelVersion, data: DatasetVersion, result: Reproduced) -> Reproduced:
    test = load_table(home.blobs.get(data.test), "the test rows")
    signature = decode_signature(home.blobs.get(subject.signature))
    was = answers(home.blobs.get(subject.model), signature, test)
    try:
        now = answers(result.trained.onnx, fitted(result.trained.onnx, data), test)
    except GatewrightError as error:
        return replace(result, sameness=Sameness.DIFFERENT, reason=error.refusal.sentence())
    differ, largest = _apart(was, now, regression=signature.task is Task.REGRESSION)
    alike = differ == 0 and largest <= ALIKE
    return replace(
        result,
        sameness=Sameness.ALIKE if alike else Sameness.DIFFERENT,
        rows=test.rows,
        labels_differ=differ,
        largest=largest,
    )


def _apart(was: Predictions, now: Predictions, *, regression: bool) -> tuple[int, float]:
    if regression:
        before, after = (np.asarray(each.labels, dtype=np.float64) for each in (was, now))
        spread = float(before.std()) or 1.0
        return 0, float(np.abs(before - after).max() / spread)
    differ = int((np.asarray(was.labels) != np.asarray(now.labels)).sum())
    if was.scores is None or now.scores is None:
        return differ, 0.0 if was.scores is now.scores else float("inf")
    if was.scores.shape != now.scores.shape:
        return differ, float("inf")
    return differ, float(np.abs(was.scores - now.scores).max())


def fitted(content: bytes, data: DatasetVersion) -> ModelSignature:
    """The signature of a model that a recipe gave, for the columns of its dataset; raises Refused."""
    found = fit_signature(
        inspect_model(content), features=data.features, task=Task(data.target_kind), classes=data.classes
    )
    if isinstance(found, ModelSignature):
        return found
    raise Refused.of(found)


def answers(content: bytes, signature: ModelSignature, rows: Table) -> Predictions:
    """What a model answers on the rows, asked in a child."""
    columns: Mapping[str, NDArray[Any]] = {column.name: column.values for column in rows.columns}
    given = predict(content, signature, columns, samples=0).outputs
    return Predictions(labels=labels(signature, given), scores=scores(signature, given))
