"""The check ``security.advisories``: a match is a finding, silence is none, and doubt never passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatewright.checks.case import Case, Known
from gatewright.checks.finding import Outcome
from gatewright.checks.osv import Advisory
from gatewright.checks.osv_matching import Part
from gatewright.checks.security.advisories import NAME, Parameters, run
from gatewright.checks.suite import known_checks
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse
from gatewright.kernel.instants import Instant
from gatewright.testing.cases import case
from gatewright.testing.check_contract import PROMISES
from unit.checks.osv_written import MODIFIED, advisory, pypi

SOUND = case(3, train_rows=40, test_rows=40)
MODEL = Part(name="pkg:generic/loans", version="1", digest="ab" * 32)
FROM_ZERO = {"introduced": "0"}


def knowing(*advisories: Advisory, age: int = 0) -> Case:
    """A case with ``numpy`` 1.0 and a model, and these advisories."""
    known = Known(
        digest=Digest.of(b"kept"),
        imported=Instant.parse("2026-03-01"),
        age_days=age,
        count=len(advisories),
        advisories=advisories,
        parts=(MODEL, Part(name="pypi/numpy", version="1.0")),
    )
    return replace(SOUND, known=known)


STANDS = advisory(
    "PYSEC-1", pypi("numpy", FROM_ZERO, {"fixed": "1.1"}), database_specific={"severity": "HIGH"}
)
UNDECIDED = advisory("PYSEC-2", pypi("numpy", FROM_ZERO, kind="GIT"))


def test_nothing_imported_is_skipped_with_the_reason() -> None:
    """Whoever imported nothing is told so; it is never called clear."""
    found = run(SOUND, Parameters())
    assert (Outcome.SKIPPED, "No advisories were imported into this home.") == (found.outcome, found.reason)


def test_a_match_fails_with_id_severity_and_the_fixed_version() -> None:
    """What stands is named, with what mends it."""
    found = run(knowing(STANDS), Parameters())
    assert Outcome.FAILED is found.outcome
    assert "PYSEC-1 (HIGH): numpy 1.0; fixed in 1.1" in found.summary
    listed: Any = found.evidence["matches"]
    (match,) = listed
    assert {
        "advisory": "PYSEC-1",
        "fixed": ["1.1"],
        "part": "pypi/numpy",
        "standing": "affected",
    }.items() <= match.items()
    assert {
        "matching-advisories": 1.0,
        "undecided-advisories": 0.0,
        "let-stand-advisories": 0.0,
        "advisories": 1.0,
        "age": 0.0,
    } == {metric.name: metric.value for metric in found.metrics}


def test_a_model_is_found_too() -> None:
    """An advisory that names the model's bytes is a match."""
    named = advisory("MODEL-1", {"database_specific": {"sha256": MODEL.digest}})
    assert "MODEL-1: pkg:generic/loans 1" in run(knowing(named), Parameters()).summary


def test_what_cannot_be_decided_is_unknown() -> None:
    """A range of commits alone is no answer."""
    found = run(knowing(UNDECIDED), Parameters())
    assert Outcome.UNKNOWN is found.outcome
    assert "PYSEC-2" in found.reason


@pytest.mark.parametrize(
    ("affected", "more"),
    [(pypi("numpy", FROM_ZERO, {"fixed": "0.9"}), {}), (pypi("numpy", FROM_ZERO), {"withdrawn": MODIFIED})],
)
def test_what_does_not_stand_passes_and_tells_how_old_the_knowledge_is(
    affected: dict[str, Any], more: dict[str, Any]
) -> None:
    """A fixed version and a withdrawn advisory harm nobody; the age is told."""
    found = run(knowing(advisory("T-1", affected, **more), age=3), Parameters())
    assert Outcome.PASSED is found.outcome
    assert "3 days ago" in found.summary


def test_old_knowledge_passes_nothing() -> None:
    """Older than the policy allows is unknown; a match in it still fails."""
    limit = Parameters(largest_age_days=30)
    assert Outcome.PASSED is run(knowing(age=30), limit).outcome
    assert Outcome.UNKNOWN is run(knowing(age=31), limit).outcome
    assert Outcome.FAILED is run(knowing(STANDS, age=31), limit).outcome


def test_what_the_owner_judged_stays_in_the_finding() -> None:
    """``let_stand`` takes single advisories out of the outcome, by id; they are told, and counted apart."""
    judged = run(knowing(STANDS), Parameters(let_stand="PYSEC-1"))
    assert judged.summary.startswith(
        "1 advisory names numpy 1.0 (PYSEC-1); the policy lets it stand; no other "
    )
    assert {"matching-advisories": 0.0, "let-stand-advisories": 1.0}.items() <= {
        metric.name: metric.value for metric in judged.metrics
    }.items()
    both = knowing(STANDS, UNDECIDED)
    found = run(both, Parameters(let_stand="PYSEC-1 PYSEC-2 PYSEC-9"))
    assert Outcome.PASSED is found.outcome
    assert ["PYSEC-1", "PYSEC-2"] == found.evidence["let_stand"]
    listed: Any = found.evidence["matches"]
    assert 2 == len(listed)
    undecided = run(both, Parameters(let_stand="PYSEC-1"))
    assert Outcome.UNKNOWN is undecided.outcome
    assert "1 advisory names numpy 1.0 (PYSEC-1); the policy lets it stand." in undecided.summary
    failed = run(both, Parameters(let_stand="PYSEC-2"))
    assert Outcome.FAILED is failed.outcome
    assert "1 advisory may be about numpy 1.0 (PYSEC-2); the policy lets it stand." in failed.summary
    known_elsewhere = replace(STANDS, aliases=("CVE-2026-1",))
    assert Outcome.PASSED is run(knowing(known_elsewhere), Parameters(let_stand="CVE-2026-1")).outcome


def test_an_age_of_no_days_is_no_limit() -> None:
    """The limit is at least a day."""
    with pytest.raises(Misuse):
        Parameters(largest_age_days=0)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("many", [0, 1, 500])
def test_the_check_keeps_the_contract(promise: Any, many: int) -> None:
    """Bounded, deterministic, in sentences, however much matches."""
    found = [
        advisory(f"PYSEC-{number}", pypi("numpy", FROM_ZERO, {"fixed": "9" * 100}), summary="x" * 5_000)
        for number in range(many)
    ]
    promise(known_checks()[NAME], knowing(*found))
