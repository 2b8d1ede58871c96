"""Gathering everything a check may look at: locked rows, predictions, timings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.case import Case, Predictions, Timing
from gatewright.datasets.table import Table
from gatewright.kernel.digests import Digest
from gatewright.models.outputs import labels, scores
from gatewright.models.signature_format import decode_signature
from gatewright.operations.catalogue import DatasetVersion, ModelVersion
from gatewright.operations.home import Home
from gatewright.operations.isolation import load_table, predict


def gather(home: Home, version: ModelVersion, dataset: DatasetVersion, *, seed: int) -> Case:
    """The case of one model version against the locked rows of one dataset version."""
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
        predictions=Predictions(
            labels=labels(signature, answered.outputs), scores=scores(signature, answered.outputs)
        ),
        timing=Timing(
            single_row=answered.single_row,
            model_bytes=version.bytes,
            peak_memory_bytes=answered.peak_memory_bytes,
        ),
        sensitive=dataset.sensitive,
        slices=dataset.slices,
        seed=seed,
    )


def columns_of(table: Table) -> Mapping[str, NDArray[np.float64] | NDArray[np.object_]]:
    """A table's columns by name."""
    return {column.name: column.values for column in table.columns}


def data_digests(version: ModelVersion, dataset: DatasetVersion) -> Mapping[str, Digest]:
    """The digests of the exact files a case reads."""
    digests = {"train": dataset.train, "test": dataset.test}
    return digests if version.trained_on is None else {**digests, "trained-on": version.trained_on}


def _declared(home: Home, version: ModelVersion, dataset: DatasetVersion, train: Table) -> Table | None:
    """The declared rows; most often they are the training split, which is not read twice."""
    if version.trained_on is None:
        return None
    if version.trained_on == dataset.train:
        return train
    return _rows(home, version.trained_on, "the declared rows")


def _rows(home: Home, digest: Digest, name: str) -> Table:
    return load_table(home.blobs.get(digest), name)
