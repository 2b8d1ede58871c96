"""Every built-in check keeps the contract of checks on every case the builders make."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gatewright.checks.case import Case
from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.suite import CHECKS, Check, run_all
from gatewright.testing.cases import odd_cases
from gatewright.testing.check_contract import PROMISES

CASES = odd_cases(7)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_check_keeps_the_contract(case: Case, check: Check, promise: Callable[[Check, Case], None]) -> None:
    """The check keeps the promise on the case."""
    promise(check, case)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_no_case_breaks_the_suite(case: Case) -> None:
    """No case the builders make leaves a broken finding."""
    assert [] == [found for found in run_all(case, {}) if found.outcome is Outcome.BROKEN]


def _bends(case: Case) -> Finding:
    values = case.test.columns[0].values
    values[:] = 0
    return Finding(check="x", outcome=Outcome.PASSED, summary="done", metrics=(), evidence={"a": (1,)})


@pytest.mark.parametrize("promise", PROMISES[2:3] + PROMISES[5:6], ids=lambda promise: promise.__name__)
def test_the_contract_finds_a_bad_check(promise: Callable[[Check, Case], None]) -> None:
    """A check that writes into its input and gives evidence that is not plain JSON is caught."""
    bad = Check(
        name="x",
        title="x",
        run=lambda case, _: _bends(case),
        parameters_type=CHECKS[0].parameters_type,
        metrics={},
    )
    with pytest.raises(AssertionError):
        promise(bad, odd_cases(3)["regression/sound"])
