"""What every check must promise: run these over your own check before you ship it.

Example::

    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
    @pytest.mark.parametrize("case", odd_cases(7).values())
    def test_my_check_keeps_the_contract(promise, case):
        promise(MY_CHECK, case)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np

from gatewright.checks.case import Case
from gatewright.checks.finding import EXACT, Finding, Outcome
from gatewright.checks.suite import EVIDENCE_BYTES, Check
from gatewright.datasets.table import Kind, Table
from gatewright.kernel.canonical import decode, encode
from gatewright.testing.promises import PromiseBroken

SENTENCE_LENGTH = 1_000


def _hold(*, promise: bool, what: str) -> None:
    if not promise:
        raise PromiseBroken(what)


def _answer(check: Check, case: Case) -> Finding:
    return check.run(case, check.parameters_type())


def _print(case: Case) -> str:
    """A digest over every value a case holds."""
    seen = hashlib.sha256()

    def add(array: object) -> None:
        if isinstance(array, np.ndarray):
            plain = array.dtype != object
            seen.update(np.ascontiguousarray(array).tobytes() if plain else repr(array.tolist()).encode())

    tables: tuple[Table | None, ...] = (case.train, case.test, case.trained_on)
    for table in tables:
        for column in table.columns if table else ():
            seen.update(f"{column.name}/{column.kind}".encode())
            add(column.values)
            add(column.missing)
    if case.predictions:
        add(case.predictions.labels)
        add(case.predictions.scores)
    if case.timing:
        add(case.timing.single_row)
    return seen.hexdigest()


def gives_a_finding_of_its_own(check: Check, case: Case) -> None:
    """The check gives a finding with its own name, whatever the case, and does not raise."""
    found = _answer(check, case)
    _hold(promise=found.check == check.name, what=f"the finding is named {found.check}, not {check.name}")
    _hold(promise=found.outcome is not Outcome.BROKEN, what="a check never calls itself broken")


def speaks_in_sentences(check: Check, case: Case) -> None:
    """There is a summary; what is not a pass or a failure has a reason, a failure has advice."""
    found = _answer(check, case)
    _hold(promise=0 < len(found.summary) <= SENTENCE_LENGTH, what="the summary is empty or too long")
    unanswered = found.outcome in (Outcome.UNKNOWN, Outcome.SKIPPED)
    _hold(promise=bool(found.reason) == unanswered, what=f"{found.outcome} with the reason {found.reason!r}")
    _hold(promise=found.outcome is not Outcome.FAILED or bool(found.next), what="a failure without advice")


def keeps_evidence_bounded(check: Check, case: Case) -> None:
    """The evidence is plain JSON below ``EVIDENCE_BYTES`` and reads back as the same value."""
    found = _answer(check, case)
    written = encode(found.evidence)
    _hold(promise=len(written) <= EVIDENCE_BYTES, what=f"the evidence takes {len(written)} bytes")
    _hold(promise=decode(written) == found.evidence, what="the evidence does not read back")


def gives_sound_metrics(check: Check, case: Case) -> None:
    """Every metric is declared for the task, finite, inside its interval and names its method."""
    for metric in _answer(check, case).metrics:
        _hold(
            promise=case.signature.task in check.metrics.get(metric.name, ()),
            what=f"{metric.name} is not declared for {case.signature.task}",
        )
        numbers = (metric.low, metric.value, metric.high)
        _hold(promise=all(map(math.isfinite, numbers)), what=f"{metric.name} is not finite")
        _hold(promise=metric.low <= metric.value <= metric.high, what=f"{metric.name} is out of its interval")
        _hold(promise=bool(metric.method) and metric.size >= 0, what=f"{metric.name} has no method or size")
        if metric.method == EXACT:
            _hold(promise=metric.low == metric.high, what=f"{metric.name} is exact with an interval")


def is_deterministic(check: Check, case: Case) -> None:
    """The same case gives the same finding."""
    _hold(promise=_answer(check, case) == _answer(check, case), what="two runs differ")


def leaves_the_case_alone(check: Check, case: Case) -> None:
    """The check changes nothing in the case."""
    before = _print(case)
    _answer(check, case)
    _hold(promise=before == _print(case), what="the check changed its input")


def has_defaults(check: Check, case: Case) -> None:
    """Every parameter has a default that JSON can hold, and the case's columns are of known kinds."""
    _hold(promise=isinstance(encode(dict(check.parameters)), bytes), what="a default is not JSON")
    _hold(promise=all(column.kind in set(Kind) for column in case.test.columns), what="an unknown kind")


PROMISES: tuple[Callable[[Check, Case], None], ...] = (
    gives_a_finding_of_its_own,
    speaks_in_sentences,
    keeps_evidence_bounded,
    gives_sound_metrics,
    is_deterministic,
    leaves_the_case_alone,
    has_defaults,
)
