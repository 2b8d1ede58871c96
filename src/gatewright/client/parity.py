"""Whether a converted model answers as its source does: the gate that every conversion passes.

A converter offers candidates (float32 inputs, then float64, …). The first that answers alike on the
rows is taken; if none does, the conversion is refused with the worst rows of the best one. Alike is:
every label equal, ties included; the difference of the probabilities at most 1e-5 at the 99th
percentile and 1e-3 anywhere. For regression the difference is told in spreads of the predictions
(see :func:`spread_of`), and held to the same bounds. The source is asked on the rows *as they were
given*, so what rounding to float32 does to them is part of what is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gatewright.kernel.errors import BadInput, Refused
from gatewright.models.tensors import datatype_of

PROBABILITY_P99 = 1e-5
PROBABILITY_MAX = 1e-3
WORST_ROWS = 5
FEW_ROWS = 30
"""Below this many rows a comparison says of itself that it shows little: what holds on 29 rows may fail on one in ten."""
QUARTILES = 1.349
"""The interquartile range of a normal distribution in standard deviations."""
SAME = 1e-12
"""Values whose range is at most this share of the largest are all the same: float64 rounds by no less."""
REASON_CHARACTERS = 200

AGREE = "Fit on rows of less precision (rounded, or scaled to a smaller range), or choose a model whose ONNX form agrees."

PROBABILITY = "probability"
SPREAD = "spreads of the prediction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Labels (or values) of shape (n,) and, for classifiers, probabilities of shape (n, classes)."""

    labels: NDArray[Any]
    scores: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """ONNX bytes, and the rows as their inputs, by name."""

    onnx: bytes
    feeds: Mapping[str, NDArray[Any]]

    @property
    def inputs(self) -> str:
        """The types of the inputs, as the endpoint calls them: ``FP32``, ``BYTES and FP64``."""
        return " and ".join(sorted({datatype_of(each.dtype).value for each in self.feeds.values()}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One row on which the two answer differently: its index, both answers, and how far apart they are."""

    row: int
    expected: str
    converted: str
    difference: float

    def sentence(self) -> str:
        """The row in words."""
        return f"row {self.row}: {self.expected} became {self.converted} (difference {self.difference:.2g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How alike a model and its ONNX form answer.

    ``labels_differ`` counts rows with another class (0 for regression). ``p99`` and ``largest`` are of the
    absolute difference per row, in ``unit``: the largest over a row's class probabilities, or the
    difference of the predicted value over the spread of all predictions, or over the row's own distance
    from their median where that is more. ``inputs`` tells the type of the numbers that the ONNX form takes. ``worst`` holds the rows that disagree most.
    """

    rows: int
    labels_differ: int
    p99: float
    largest: float
    unit: str
    inputs: str
    worst: tuple[Disagreement, ...]

    @property
    def holds(self) -> bool:
        """Whether every label is equal and both bounds are met."""
        return self.labels_differ == 0 and self.p99 <= PROBABILITY_P99 and self.largest <= PROBABILITY_MAX

    def sentence(self) -> str:
        """The result in words."""
        alike = f"{self.rows - self.labels_differ:,} of {self.rows:,} rows get the same answer"
        if self.unit == SPREAD:  # values are nearer or further, never the same
            alike = f"{self.rows:,} {'value is' if self.rows == 1 else 'values are'} compared"
        return (
            f"{alike} with {self.inputs} inputs; the difference in {self.unit} is at most {self.largest:.2g}, and {self.p99:.2g} at the "
            f"99th percentile.{self._doubt()}"
        )

    def _doubt(self) -> str:
        if self.rows >= FEW_ROWS:
            return ""
        compared = "Only 1 row was" if self.rows == 1 else f"Only {self.rows} rows were"
        return f" {compared} compared, which shows little: give 1,000 or more."


def compare(expected: Answers, found: Answers, inputs: str) -> Parity:
    """How far the found answers are from the expected ones, row by row.

    Raises BadInput (``client.no-rows``) where there is none.
    """
    if not len(expected.labels):
        raise BadInput(
            "client.no-rows",
            "There are no rows to compare on.",
            next="Give at least one row; 1,000 or more prove most.",
        )
    if found.labels.shape != expected.labels.shape:  # never spread one answer over several rows
        found = Answers(labels=np.full(expected.labels.shape, np.nan))
    apart, unit = _differences(expected, found)
    is_label = expected.scores is not None
    other = (expected.labels != found.labels) if is_label else np.zeros(len(apart), bool)
    order = np.lexsort((-apart, ~other))[:WORST_ROWS]
    return Parity(
        rows=len(apart),
        labels_differ=int(other.sum()),
        p99=float(np.quantile(apart, 0.99, method="higher")),
        largest=float(apart.max()),
        unit=unit,
        inputs=inputs,
        worst=tuple(
            Disagreement(
                row=int(row),
                expected=str(expected.labels[row]),
                converted=str(found.labels[row]),
                difference=float(apart[row]),
            )
            for row in order
        ),
    )


def _differences(expected: Answers, found: Answers) -> tuple[NDArray[np.float64], str]:
    """Absolute difference per row, shape (n,), and its unit; what is not a number counts as infinite."""
    if expected.scores is None:
        return _values_apart(expected.labels.astype(np.float64), found.labels.astype(np.float64)), SPREAD
    if found.scores is None or found.scores.shape != expected.scores.shape:
        return np.full(len(expected.labels), np.inf), PROBABILITY
    apart = np.abs(found.scores - expected.scores).max(axis=1)
    return np.where(np.isnan(apart), np.inf, apart), PROBABILITY


def _values_apart(expected: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences of values in spreads of the expected ones, shape (n,); infinite where one is not finite.

    A value further from the median than one spread is held to that distance instead: float32 keeps seven
    digits of it, which in spreads of the other rows may be much.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite or NaN, and refuses
        spread = spread_of(expected)
        unit = np.maximum(spread, np.abs(expected - np.median(expected)))
        apart = np.abs(found - expected) / unit
    sound = np.isfinite(spread) & np.isfinite(unit) & np.isfinite(apart)
    return np.where(sound, apart, np.inf)


def spread_of(values: NDArray[np.float64]) -> float:
    """How far apart values of shape (n,) usually are: the unit that a regression's differences are told in.

    The smaller of the standard deviation and the interquartile range over 1.349 (both are the standard
    deviation of normal values), so that a few far values do not stretch it. Where the middle half is one
    value, its size takes the range's place. Values that are all the same have their size as unit, and
    zeros have 1. Not finite where a value or their range is not.
    """
    largest, reach = float(np.abs(values).max()), float(np.ptp(values))
    if reach <= SAME * largest:
        return largest or 1.0
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    bulk = float(high - low) / QUARTILES or abs(float(middle))
    deviation = reach * float((values / reach).std())  # scaled, so that no square underflows
    return min(deviation, bulk or deviation)


def prove(expected: Answers, candidates: Iterable[Candidate], *, advice: str) -> tuple[bytes, Parity]:
    """The bytes of the first candidate that answers as expected, and the proof.

    Raises Refused (``client.parity``) with the worst rows of the best candidate and ``advice`` where none
    does.
    """
    best: Parity | None = None
    failed: BadInput | None = None
    for candidate in candidates:
        try:
            found = ask_onnx(candidate, classifies=expected.scores is not None)
        except BadInput as error:
            failed = failed or error
            continue
        parity = compare(expected, found, candidate.inputs)
        if parity.holds:
            return candidate.onnx, parity
        if best is None or (parity.labels_differ, parity.p99) < (best.labels_differ, best.p99):
            best = parity
    if best is None:
        raise failed or BadInput(
            "client.not-convertible", "There is no ONNX form of this model.", next=advice
        )
    worst = "; ".join(each.sentence() for each in best.worst)
    raise Refused(
        "client.parity",
        f"The ONNX form does not answer as the model does: {best.sentence()}",
        why=f"Worst rows: {worst}.",
        next=advice,
    )


def those_that_can_be_made(makers: Iterable[Callable[[], Candidate]]) -> Iterator[Candidate]:
    """The candidates, each made when it is asked for; where none can be made, the first maker's BadInput is raised."""
    failed: BadInput | None = None
    made = False
    for make in makers:
        try:
            candidate = make()
        except BadInput as error:
            failed = failed or error
            continue
        made = True
        yield candidate
    if failed is not None and not made:
        raise failed


def ask_onnx(candidate: Candidate, *, classifies: bool) -> Answers:
    """What ONNX Runtime answers on the candidate's rows.

    Raises BadInput (``client.not-runnable``) where it does not run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(candidate.onnx, options, providers=["CPUExecutionProvider"])
        outputs = session.run(None, {each.name: candidate.feeds[each.name] for each in session.get_inputs()})
    except Exception as error:  # noqa: BLE001 - the library raises classes of its own, whose texts are bounded
        raise BadInput(
            "client.not-runnable",
            "ONNX Runtime does not run the converted model on these rows.",
            why=reason(error),
            next="Give the columns the types that the model was fitted on, or change the step that it names.",
        ) from None
    return read_answers([np.asarray(each) for each in outputs], classifies=classifies)


def read_answers(outputs: list[NDArray[Any]], *, classifies: bool) -> Answers:
    """Labels and probabilities among output arrays; without a label output the most probable class counts."""
    floats = [each for each in outputs if each.dtype.kind == "f"]
    if not classifies:
        return Answers(labels=floats[0].reshape(-1))
    scores = np.asarray(floats[0], np.float64) if floats else None
    if scores is not None and scores.ndim != 2:
        scores = scores.reshape(len(scores), -1)
    if scores is not None and scores.shape[1] == 1:
        scores = np.hstack([1.0 - scores, scores])
    labels = [each for each in outputs if each.dtype.kind != "f"]
    if labels:
        return Answers(labels=labels[0].reshape(-1), scores=scores)
    return Answers(labels=np.argmax(scores if scores is not None else floats[0], axis=1), scores=scores)


def reason(error: Exception) -> str:
    """The error in one bounded line; skl2onnx puts whole trees behind ``attributes=``."""
    line = " ".join(str(error)[: 10 * REASON_CHARACTERS].partition("and attributes=")[0].split())
    return f"{type(error).__name__}: {line[:REASON_CHARACTERS]}{'…' if len(line) > REASON_CHARACTERS else ''}"
