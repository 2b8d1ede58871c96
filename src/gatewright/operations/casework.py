"""Gathering everything a check may look at: locked rows, predictions, timings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.case import Case, Predictions, Shuffled, Timing
from gatewright.checks.performance import shuffling
from gatewright.datasets.table import Table
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Refused
from gatewright.models.outputs import Outputs, labels, scores
from gatewright.models.signature import ModelSignature
from gatewright.models.signature_format import decode_signature
from gatewright.operations.catalogue import DatasetVersion, ModelVersion
from gatewright.operations.folding import folds
from gatewright.operations.home import Home
from gatewright.operations.isolation import load_table, predict


def gather(
    home: Home,
    version: ModelVersion,
    dataset: DatasetVersion,
    *,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Case:
    """The case of one model version against the locked rows of one dataset version, all measured.

    A version with a recipe is trained again without each fold, which takes as long as that takes.
    """
    case = asked(home, version, dataset, seed=seed)
    case = replace(case, shuffled=shuffled(home.blobs.get(version.model), case))
    trained, no_folds = folds(home, version, dataset, case.train, seed=seed, progress=progress)
    return replace(case, folds=trained, no_folds=no_folds)


def asked(home: Home, version: ModelVersion, dataset: DatasetVersion, *, seed: int) -> Case:
    """The case with the model's answers and timings on the test rows, and nothing more measured."""
    signature = decode_signature(home.blobs.get(version.signature))
    test = _rows(home, dataset.test, "the test rows")
    answered = predict(home.blobs.get(version.model), signature, columns_of(test))
    train = _rows(home, dataset.train, "the training rows")
    return Case(
        signature=signature,
        target=dataset.target,
        train=train,
        test=test,
        trained_on=_declared(home, version, dataset, train),
        predictions=_predictions(signature, answered.outputs),
        timing=Timing(
            single_row=answered.single_row,
            model_bytes=version.bytes,
            peak_memory_bytes=answered.peak_memory_bytes,
        ),
        sensitive=dataset.sensitive,
        slices=dataset.slices,
        seed=seed,
    )


def shuffled(model: bytes, case: Case) -> tuple[Shuffled, ...]:
    """What the model answers when its features are shuffled, one at a time, in one further call.

    The answers are empty where the model refuses the shuffled rows or is too slow for them: that
    is for a check to tell, and stops no other check.
    """
    predictions, timing = case.predictions, case.timing
    if predictions is None or timing is None:
        return ()
    planned = shuffling.plan(case.signature, case.test, case.target, predictions, seed=case.seed)
    if planned is None:
        return ()
    plan = shuffling.within(planned, float(np.median(timing.single_row)))
    if plan is None:
        return shuffling.unanswered(planned)
    rows = shuffling.stacked(plan, columns_of(case.test))
    try:
        answers = _predictions(case.signature, predict(model, case.signature, rows, samples=0).outputs)
    except (BadInput, Refused):
        return shuffling.unanswered(plan)
    return shuffling.unstacked(plan, answers)


def _predictions(signature: ModelSignature, outputs: Outputs) -> Predictions:
    return Predictions(labels=labels(signature, outputs), scores=scores(signature, outputs))


def columns_of(table: Table) -> Mapping[str, NDArray[np.float64] | NDArray[np.object_]]:
    """A table's columns by name."""
    return {column.name: column.values for column in table.columns}


def data_digests(version: ModelVersion, dataset: DatasetVersion) -> Mapping[str, Digest]:
    """The digests of the exact files a case reads."""
    known = {"trained-on": version.trained_on, "recipe": version.recipe}
    return {
        "train": dataset.train,
        "test": dataset.test,
        **{name: digest for name, digest in known.items() if digest is not None},
    }


def _declared(home: Home, version: ModelVersion, dataset: DatasetVersion, train: Table) -> Table | None:
    """The declared rows; most often they are the training split, which is not read twice."""
    if version.trained_on is None:
        return None
    if version.trained_on == dataset.train:
        return train
    return _rows(home, version.trained_on, "the declared rows")


def _rows(home: Home, digest: Digest, name: str) -> Table:
    return load_table(home.blobs.get(digest), name)
