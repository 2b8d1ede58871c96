from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from gatewright.checks.case import Case
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.suite import CHECKS, Check, known_checks, run_all
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.testing.cases import case

SOUND = case(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class _None:
    """No parameter."""


def _check(name: str, run) -> Check:
    return Check(name=name, title=name, run=run, parameters_type=_None, metrics={})


def _raises(_: Case, __: object) -> Finding:
    raise BadInput("datasets.no-column", "the password is hunter2")


def _fails(_: Case, __: object) -> Finding:
    raise ZeroDivisionError("the password is hunter2")


def _passes(_: Case, __: object) -> Finding:
    return Finding(check="x.passes", outcome=Outcome.PASSED, summary="done")


def _not_a_number(_: Case, __: object) -> Finding:
    metric = Metric(name="m", value=float("nan"), low=0, high=1, size=1, method="x")
    return Finding(check="x.nan", outcome=Outcome.PASSED, summary="done", metrics=(metric,))


def _bulky(_: Case, __: object) -> Finding:
    return Finding(check="x.bulky", outcome=Outcome.PASSED, summary="done", evidence={"a": "x" * 40_000})


def test_every_built_in_check_answers_in_order_with_its_parameters() -> None:
    """The checks run in the stated order and every parameter in use is in the finding."""
    told: list[str] = []
    findings = run_all(SOUND, {"data.leakage": {"near_fraction": 0}}, told.append)
    names = [
        "data.leakage",
        "data.schema",
        "data.duplicates",
        "data.balance",
        "data.labels",
        "performance.metrics",
        "performance.calibration",
        "performance.cross-validation",
        "performance.slices",
        "fairness.groups",
        "performance.baseline",
        "performance.weak-slices",
        "performance.importance",
        "efficiency.latency",
        "security.advisories",
    ]
    assert names == told == [found.check for found in findings] == list(known_checks())
    assert {"near_fraction": 0.0} == findings[0].parameters
    assert {"p99_milliseconds": 100.0, "model_megabytes": 2048.0} == findings[-2].parameters
    others = {found.check: found.outcome for found in findings if found.outcome is not Outcome.PASSED}
    assert {
        "performance.cross-validation": Outcome.SKIPPED,  # no recipe
        "performance.importance": Outcome.SKIPPED,  # no model to ask
        "security.advisories": Outcome.SKIPPED,  # nothing imported
        "fairness.groups": Outcome.FAILED,  # too few rows to show that the groups are treated alike
    } == others


@pytest.mark.parametrize(
    ("parameters", "near"),
    [
        ({"data.leakag": {}}, "'data.leakage'"),
        ({"efficiency.latency": {"p99_miliseconds": 3}}, "'p99_milliseconds'"),
        ({"efficiency.latency": {"p99_milliseconds": "3"}}, "Give a number"),
        ({"efficiency.latency": {"p99_milliseconds": True}}, "Give a number"),
        ({"efficiency.latency": {"p99_milliseconds": -1}}, "above zero"),
        ({"performance.slices": {"bins": 2.5}}, "Give a whole number"),
        ({"performance.slices": {"largest_gap": float("nan")}}, "Give a number"),
    ],
)
def test_wrong_names_and_values_are_refused_before_anything_runs(parameters, near: str) -> None:
    """An unknown name is answered with the nearest one, a wrong value with what is expected."""
    told: list[str] = []
    with pytest.raises(Misuse) as caught:
        run_all(SOUND, parameters, told.append)
    assert near in str(caught.value)
    assert [] == told


def test_a_check_that_raises_is_broken_and_the_others_still_run() -> None:
    """A broken check tells the type of the exception and nothing that it said."""
    checks = [
        _check("x.raises", _raises),
        _check("x.fails", _fails),
        _check("x.nan", _not_a_number),
        _check("x.bulky", _bulky),
        _check("x.passes", _passes),
    ]
    findings = run_all(SOUND, {}, checks=checks)
    assert ["broken"] * 4 + ["passed"] == [found.outcome.value for found in findings]
    assert "BadInput (datasets.no-column)" in findings[0].reason
    assert "ZeroDivisionError" in findings[1].reason
    assert all("hunter2" not in repr(found) for found in findings)


def test_every_check_explains_itself() -> None:
    """A check's module says what it asks, how, and what it does not show."""
    for check in CHECKS:
        text = check.run.__globals__["__doc__"]
        assert all(part in text for part in ("**Question.**", "**Method", "**Not shown.**"))


def test_the_seed_alone_drives_random_choices() -> None:
    """Two runs on the same case are equal, and another seed does not change a clear answer."""
    assert run_all(SOUND, {}) == run_all(SOUND, {})
    again = run_all(replace(SOUND, seed=99), {})
    assert [found.outcome for found in run_all(SOUND, {})] == [found.outcome for found in again]


def test_checks_leave_numpy_global_randomness_alone() -> None:
    """Running the checks does not touch the global random state."""
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global state is what is tested
    run_all(SOUND, {})
    assert before == np.random.get_state()[1].tolist()  # noqa: NPY002 - as above
