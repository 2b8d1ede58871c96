"""Everything a check may look at, as plain values. Checks read it; nothing fills it but operations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.osv import Advisory
from gatewright.checks.osv_matching import Part
from gatewright.datasets.table import Table
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.models.signature import ModelSignature


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What the model answered on the test rows.

    ``labels`` has shape (n,): object array of class names as text for classification, float64 for
    regression. ``scores`` has shape (n, classes), float64 probabilities in the order of the
    signature's classes, or None where the model gives none.
    """

    labels: NDArray[np.object_] | NDArray[np.float64]
    scores: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Answers of a model that its recipe trained without some training rows, on just those rows.

    ``rows`` are their places in the locked train split, shape (n,); ``seconds`` the training took.
    """

    rows: NDArray[np.intp]
    predictions: Predictions
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shuffled:
    """What the model answers when one feature is shuffled among rows of the test split.

    ``rows`` are their places in the test split, shape (n,); ``answers`` one entry a repetition.
    """

    feature: str
    rows: NDArray[np.intp]
    answers: tuple[Predictions, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What an operation measured of the model.

    ``single_row`` are wall-clock seconds of single-row calls, shape (m,); ``model_bytes`` is the
    size of the model file in bytes; ``peak_memory_bytes`` the peak resident size of the measuring
    child process (0 where unknown).
    """

    single_row: NDArray[np.float64]
    model_bytes: int
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The imported advisories that name something here, and what is here.

    ``digest`` is that of all imported advisories, of which there are ``count`` and of which the newest
    import was at ``imported``, ``age_days`` whole days before the question; ``parts`` are the
    distributions of the environment and the model version.
    """

    digest: Digest
    imported: Instant
    age_days: int
    count: int
    advisories: tuple[Advisory, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model version against one dataset version.

    ``trained_on`` holds the rows the owner declares the model learned from (None: not declared);
    ``train`` and ``test`` are the dataset's locked splits. ``target`` names the true answer's
    column in all of them; ``sensitive`` names columns that describe protected groups; ``slices``
    names further columns to slice by. ``folds`` is empty where the version has no recipe, and where it
    could not be trained on one of them (``no_folds`` then says why);
    ``shuffled`` where features were not shuffled. ``known`` is None where no advisories were imported.
    ``seed`` drives every random choice of a check.
    """

    signature: ModelSignature
    target: str
    train: Table
    test: Table
    trained_on: Table | None
    predictions: Predictions | None
    timing: Timing | None
    sensitive: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()
    no_folds: str = ""
    shuffled: tuple[Shuffled, ...] = ()
    known: Known | None = None
    seed: int = 0
