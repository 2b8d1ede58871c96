"""Waived rules: with leave, for a time, never what was not measured, and never by oneself alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.report import Report
from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Refusal
from gatewright.kernel.instants import Instant
from gatewright.models.signature import Task
from gatewright.policy.approvals import Approval, Permit, permit, tally
from gatewright.policy.policy_file import read_policy
from gatewright.policy.rules import KnownChecks, OutcomeRule, Policy, Tier, WaiverLeave
from gatewright.policy.verdict import (
    Decision,
    Standing,
    Verdict,
    decode_verdict,
    encode_verdict,
    judge,
)
from gatewright.policy.waivers import DAY_NS, Waived, refused
from gatewright.releases.judgements import Role

NOW = Instant.parse("2026-03-03T14:05:00Z")
SLICES = OutcomeRule(check="performance.slices", accept=(Outcome.PASSED,))
SCHEMA = OutcomeRule(check="data.schema", accept=(Outcome.PASSED,))
LEAVE = WaiverLeave(check="performance.slices", by=(Role.APPROVER,), days=30)
WAIVED = Waived(
    rule=SLICES.text(),
    principal="p-1",
    role=Role.APPROVER,
    time=NOW,
    until=Instant(NOW.ns + 30 * DAY_NS),
)
ROOT = Digest.of(b"root")

Judged = Callable[..., Verdict]


def _found(check: str, outcome: Outcome) -> Finding:
    return Finding(check=check, outcome=outcome, summary="seen", metrics=())


@pytest.fixture
def judged(policy_of: Callable[..., Policy], report_of: Callable[..., Report]) -> Judged:
    """The verdict on outcomes of ``performance.slices`` and ``data.schema`` with waivers given."""

    def build(
        slices: Outcome,
        schema: Outcome = Outcome.PASSED,
        *waivers: Waived,
        leave: tuple[WaiverLeave, ...] = (LEAVE,),
        tier: Tier = Tier.LOW,
    ) -> Verdict:
        return judge(
            replace(policy_of(SLICES, SCHEMA, tier=tier, low=0), waivers=leave),
            report_of(_found("performance.slices", slices), _found("data.schema", schema)),
            report_digest=Digest.of(b"report"),
            policy_digest=Digest.of(b"policy"),
            model_name="m",
            task=Task.BINARY,
            waivers=waivers,
        )

    return build


def test_a_waived_rule_stands_openly_and_asks_for_approval(judged: Judged) -> None:
    """A failed rule with a waiver is ``waived``, names who and until when, and needs somebody's approval."""
    verdict = judged(Outcome.FAILED, Outcome.PASSED, WAIVED)
    assert (Decision.NEEDS_APPROVAL, 1, (WAIVED,)) == (
        verdict.decision,
        verdict.approvals_needed,
        verdict.waivers,
    )
    assert [Standing.WAIVED, Standing.OK] == [one.outcome for one in verdict.reasons]
    assert () == verdict.objections
    assert verdict == decode_verdict(encode_verdict(verdict))
    assert 2 == canonical.decode(encode_verdict(verdict))["format"]


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.BROKEN, Outcome.SKIPPED])
def test_what_was_not_measured_is_never_waived(judged: Judged, outcome: Outcome) -> None:
    """``unknown``, ``broken`` and ``skipped`` deny with a waiver as without one."""
    assert Decision.DENY is judged(outcome, Outcome.PASSED, WAIVED).decision


def test_a_waiver_covers_its_own_rule_only(judged: Judged) -> None:
    """Another rule that does not hold denies all the same."""
    assert Decision.DENY is judged(Outcome.FAILED, Outcome.FAILED, WAIVED).decision


def test_a_waiver_of_a_rule_that_holds_changes_nothing(judged: Judged) -> None:
    """Where the rule is satisfied the verdict is the one without the waiver."""
    assert judged(Outcome.PASSED) == judged(Outcome.PASSED, Outcome.PASSED, WAIVED)


@pytest.mark.parametrize(
    "waived",
    [
        replace(WAIVED, role=Role.OWNER),
        replace(WAIVED, until=Instant(NOW.ns + 30 * DAY_NS + 1)),
        replace(WAIVED, until=NOW),
        replace(WAIVED, rule=SCHEMA.text()),
        replace(WAIVED, rule="performance.slices"),
    ],
    ids=["role", "too long", "no time", "no leave", "not the sentence"],
)
def test_a_waiver_without_leave_changes_nothing(
    judged: Judged, waived: Waived, policy_of: Callable[..., Policy]
) -> None:
    """Another capacity, a longer time, another check: the policy gives no leave, and says why."""
    assert judged(Outcome.FAILED) == judged(Outcome.FAILED, Outcome.PASSED, waived)
    policy = replace(policy_of(SLICES, SCHEMA), waivers=(LEAVE,))
    refusal = refused(policy, waived)
    assert refusal is not None
    assert "policy.not-waivable" == refusal.code


def test_nothing_is_waived_by_default(judged: Judged) -> None:
    """A policy without leave denies whatever is waived."""
    assert Decision.DENY is judged(Outcome.FAILED, Outcome.PASSED, WAIVED, leave=()).decision


@settings(max_examples=100, deadline=None)
@given(
    slices=st.sampled_from(Outcome),
    schema=st.sampled_from(Outcome),
    role=st.sampled_from(Role),
    days=st.integers(-1, 60),
    rule=st.sampled_from([SLICES.text(), SCHEMA.text(), "x"]),
)
def test_a_waiver_never_lets_more_through_than_its_one_rule(
    *,
    slices: Outcome,
    schema: Outcome,
    role: Role,
    days: int,
    rule: str,
    policy_of: Callable[..., Policy],
    report_of: Callable[..., Report],
) -> None:
    """With any waiver: allowed without it is allowed with it; denied becomes allowed only by a failed, waivable rule."""
    report = report_of(_found("performance.slices", slices), _found("data.schema", schema))
    given_ = Waived(rule=rule, principal="p", role=role, time=NOW, until=Instant(NOW.ns + days * DAY_NS))

    def verdict(*waivers: Waived) -> Verdict:
        return judge(
            replace(policy_of(SLICES, SCHEMA), waivers=(LEAVE,)),
            report,
            report_digest=Digest.of(b"report"),
            policy_digest=Digest.of(b"policy"),
            model_name="m",
            task=Task.BINARY,
            waivers=waivers,
        )

    before, after = verdict(), verdict(given_)
    if before == after:
        return
    assert Decision.DENY is before.decision
    assert (Outcome.FAILED, SLICES.text(), Role.APPROVER) == (slices, rule, role)
    assert 0 < days <= 30
    assert (Decision.NEEDS_APPROVAL is after.decision) == (schema is Outcome.PASSED)


@pytest.mark.parametrize("tier", Tier)
def test_who_waives_cannot_approve(judged: Judged, tier: Tier) -> None:
    """The author's own approval is ignored and says so, also under another name with the same key."""
    verdict = judged(Outcome.FAILED, Outcome.PASSED, WAIVED, tier=tier)
    mine = Approval(principal="p-1", key_id="k1", role=Role.APPROVER, root=ROOT, time=NOW)
    same_key = replace(mine, principal="p-2")
    assert () == tally(verdict, ROOT, [mine, same_key]).counted
    assert "waived a rule" in tally(verdict, ROOT, [mine]).ignored[0].reason
    others = [replace(mine, principal=f"p-{n}", key_id=f"k{n}") for n in (3, 4)]
    assert isinstance(permit(verdict, ROOT, others, now=NOW), Permit)


@pytest.mark.parametrize(
    ("now", "leave"),
    [(NOW, True), (Instant(WAIVED.until.ns - 1), True), (WAIVED.until, False), (None, False)],
)
def test_a_waiver_ends(judged: Judged, now: Instant | None, leave: bool) -> None:
    """From the waiver's end on, or where the time is not told, nothing is deployed on it."""
    other = Approval(principal="p-3", key_id="k3", role=Role.APPROVER, root=ROOT, time=NOW)
    found = permit(judged(Outcome.FAILED, Outcome.PASSED, WAIVED), ROOT, [other], now=now)
    assert leave == isinstance(found, Permit)
    if isinstance(found, Refusal):
        assert "policy.waiver-over" == found.code


def test_a_verdict_cannot_hide_what_was_waived(judged: Judged) -> None:
    """A stored verdict whose waived rules are not those of its reasons cannot be read, nor one that asks nobody."""
    document = canonical.decode(encode_verdict(judged(Outcome.FAILED, Outcome.PASSED, WAIVED)))
    changes: tuple[dict[str, Any], ...] = (
        {"waivers": []},
        {"waivers": [document["waivers"][0]] * 2},
        {"approvals_needed": 0, "decision": "allow"},
        {"format": 1},
        {"reasons": [{**one, "outcome": "ok"} for one in document["reasons"]]},
    )
    for change in changes:
        with pytest.raises(BadInput):
            decode_verdict(canonical.encode({**document, **change}))
    del document["waivers"]
    for number in (1, 2):
        with pytest.raises(BadInput):
            decode_verdict(canonical.encode({**document, "format": number}))


HEAD = """format = 1
title = "Test"
[tiers]
default = "low"
[approvals.low]
count = 1
owner_may_approve = true
[approvals.high]
count = 2
owner_may_approve = false
[[rules]]
check = "data.schema"
accept = ["passed"]
"""
TWICE = """check = "performance.slices"
by = ["owner"]
days = 1
[[waivers]]
check = "performance.slices"
by = ["owner"]
days = 2"""


def test_the_file_says_what_may_be_waived(known: KnownChecks) -> None:
    """``[[waivers]]`` names a check, who, and for how many days."""
    text = HEAD + '[[waivers]]\ncheck = "performance.slices"\nby = ["approver"]\ndays = 30\n'
    assert (LEAVE,) == read_policy(text.encode(), known=known).waivers
    assert () == read_policy(HEAD.encode(), known=known).waivers


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('check = "data.leakage"\nby = ["owner"]\ndays = 1', "cannot be waived"),
        ('check = "data.schema"\nby = ["owner"]\ndays = 1', "cannot be waived"),
        ('check = "performance.slice"\nby = ["owner"]\ndays = 1', "performance.slices"),
        ('check = "performance.slices"\nby = []\ndays = 1', "list of words"),
        ('check = "performance.slices"\nby = ["anyone"]\ndays = 1', "owner"),
        ('check = "performance.slices"\nby = ["owner"]\ndays = 0', "from 1 to 365"),
        ('check = "performance.slices"\nby = ["owner"]\ndays = 366', "from 1 to 365"),
        ('check = "performance.slices"\nby = ["owner"]\ndays = true', "from 1 to 365"),
        ('check = "performance.slices"\nby = ["owner"]', "days = 30"),
        ('check = "performance.slices"\nby = ["owner"]\ndays = 1\nrole = "owner"', "'role' is not a key"),
        (
            TWICE,
            "named twice",
        ),
    ],
)
def test_a_slip_in_the_file_is_named(known: KnownChecks, table: str, says: str) -> None:
    """Security, data and unknown checks, nobody, no time and misspelt keys are refused with what to write."""
    with pytest.raises(BadInput) as caught:
        read_policy(f"{HEAD}[[waivers]]\n{table}\n".encode(), known=known)
    assert says in caught.value.refusal.sentence()


def test_leave_for_a_family_that_is_never_waived_cannot_be_built() -> None:
    """The type refuses what the file refuses."""
    for check in ("security.advisories", "privacy.membership", "data.leakage", ""):
        with pytest.raises(BadInput):
            WaiverLeave(check=check, by=(Role.OWNER,), days=1)
