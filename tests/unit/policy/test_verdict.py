from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.report import Report
from gatewright.kernel import canonical
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import BadInput
from gatewright.models.signature import Task
from gatewright.policy.rules import BoundRule, OutcomeRule, Policy, Rule, Tier
from gatewright.policy.verdict import (
    Decision,
    Reason,
    Standing,
    Verdict,
    decode_verdict,
    encode_verdict,
)

CHECKS = ("data.leakage", "data.schema", "performance.metrics", "performance.slices")
METRICS = ("balanced-accuracy", "accuracy")
PASSED = (Outcome.PASSED,)

intervals = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3).map(sorted)


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    """Any metric: a number inside its interval."""
    low, value, high = draw(intervals)
    return Metric(
        name=draw(st.sampled_from(METRICS)),
        value=value,
        low=low,
        high=high,
        size=draw(st.integers(0, 100)),
        method="wilson",
        slice=draw(st.sampled_from(["", "sex=f", "sex=m"])),
    )


findings = st.builds(
    Finding,
    check=st.sampled_from(CHECKS),
    outcome=st.sampled_from(Outcome),
    summary=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    metrics=st.lists(metrics(), max_size=4).map(tuple),
)
tasks = st.sets(st.sampled_from(Task), min_size=1).map(lambda found: tuple(sorted(found)))
outcome_rules = st.builds(
    OutcomeRule,
    check=st.sampled_from(CHECKS),
    accept=st.sampled_from([PASSED, (Outcome.SKIPPED,), (Outcome.PASSED, Outcome.SKIPPED)]),
    applies_to=tasks,
)
bound_rules = st.builds(
    BoundRule,
    check=st.sampled_from(CHECKS),
    metric=st.sampled_from(METRICS),
    slice=st.sampled_from(["", "*", "sex=f"]),
    at_least=st.floats(-1e6, 1e6),
    applies_to=tasks,
)
rules = st.lists(outcome_rules | bound_rules, max_size=6)


@settings(max_examples=120, deadline=None)
@given(found=st.lists(findings, max_size=5), rules=rules, task=st.sampled_from(Task))
def test_judging_is_total_and_round_trips(
    *,
    found: list[Finding],
    rules: list[Rule],
    task: Task,
    policy_of: Callable[..., Policy],
    report_of: Callable[..., Report],
    judged: Callable[..., Verdict],
) -> None:
    """Every report gets a verdict from every policy, and the verdict survives being stored."""
    verdict = judged(policy_of(*rules), report_of(*found), task=task)
    assert verdict == decode_verdict(encode_verdict(verdict))


@settings(max_examples=120, deadline=None)
@given(
    found=st.lists(findings, max_size=5),
    rules=rules,
    extra=outcome_rules | bound_rules,
    low=st.integers(0, 2),
)
def test_another_rule_never_turns_deny_into_allow(
    *,
    found: list[Finding],
    rules: list[Rule],
    extra: Rule,
    low: int,
    policy_of: Callable[..., Policy],
    report_of: Callable[..., Report],
    judged: Callable[..., Verdict],
) -> None:
    """Where some rule applies and the policy denies, the policy with one more rule denies too."""
    before = judged(policy_of(*rules, low=low), report_of(*found))
    after = judged(policy_of(*rules, extra, low=low), report_of(*found))
    applied = [rule for rule in rules if Task.BINARY in rule.applies_to]
    if applied and before.decision is Decision.DENY:
        assert Decision.DENY is after.decision


@settings(max_examples=60, deadline=None)
@given(found=st.lists(findings, max_size=5), rules=rules)
def test_a_violated_rule_always_denies(
    found: list[Finding],
    rules: list[Rule],
    policy_of: Callable[..., Policy],
    report_of: Callable[..., Report],
    judged: Callable[..., Verdict],
) -> None:
    """A rule about a check that is not in the report denies, whatever stands beside it."""
    violated = OutcomeRule(check="efficiency.latency", accept=PASSED)
    for order in ([*rules, violated], [violated, *rules]):
        assert Decision.DENY is judged(policy_of(*order), report_of(*found)).decision


@settings(max_examples=60, deadline=None)
@given(found=st.lists(findings, max_size=5), rules=rules)
def test_every_rule_that_applies_gives_a_reason(
    found: list[Finding],
    rules: list[Rule],
    policy_of: Callable[..., Policy],
    report_of: Callable[..., Report],
    judged: Callable[..., Verdict],
) -> None:
    """No violation hides the reasons that come after it."""
    verdict = judged(policy_of(*rules), report_of(*found))
    said = {reason.rule for reason in verdict.reasons}
    assert {rule.text() for rule in rules if Task.BINARY in rule.applies_to} <= said


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("accept", [PASSED, (Outcome.PASSED, Outcome.SKIPPED)])
def test_an_outcome_rule_takes_only_what_it_accepts(
    outcome: Outcome,
    accept: tuple[Outcome, ...],
    policy_of: Callable[..., Policy],
    report_of: Callable[..., Report],
    judged: Callable[..., Verdict],
) -> None:
    """Unknown and broken never pass, and skipped only where the rule says so."""
    report = report_of(Finding(check="data.leakage", outcome=outcome, summary="s"))
    verdict = judged(policy_of(OutcomeRule(check="data.leakage", accept=accept)), report)
    expected = Decision.NEEDS_APPROVAL if outcome in accept else Decision.DENY
    assert expected is verdict.decision


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.BROKEN])
def test_numbers_of_a_check_that_broke_do_not_count(
    outcome: Outcome,
    policy_of: Callable[..., Policy],
    report_of: Callable[..., Report],
    judged: Callable[..., Verdict],
    metric: Callable[..., Metric],
) -> None:
    """A good metric inside an unknown or broken finding satisfies no rule."""
    finding = Finding(
        check="performance.metrics", outcome=outcome, summary="s", reason="it broke",
        metrics=(metric("accuracy", 0.9, 0.95),),
    )  # fmt: skip
    rule = BoundRule(check="performance.metrics", metric="accuracy", at_least=0.5)
    verdict = judged(policy_of(rule), report_of(finding))
    assert (Decision.DENY, Standing.VIOLATED) == (verdict.decision, verdict.reasons[0].outcome)
    assert "it broke" in verdict.reasons[0].what


def test_an_empty_policy_denies(
    policy_of: Callable[..., Policy], report_of: Callable[..., Report], judged: Callable[..., Verdict]
) -> None:
    """A policy without rules denies and says that nothing applied."""
    verdict = judged(policy_of(), report_of())
    assert Decision.DENY is verdict.decision
    assert "no rule of the policy applies to binary-classification" == verdict.reasons[0].what


def test_a_policy_for_other_tasks_denies(
    policy_of: Callable[..., Policy], report_of: Callable[..., Report], judged: Callable[..., Verdict]
) -> None:
    """A policy none of whose rules applies to the model's task denies."""
    rule = OutcomeRule(check="data.leakage", accept=PASSED, applies_to=(Task.REGRESSION,))
    report = report_of(Finding(check="data.leakage", outcome=Outcome.PASSED, summary="s"))
    assert Decision.DENY is judged(policy_of(rule), report, task=Task.BINARY).decision


def test_a_missing_finding_and_a_missing_metric_are_missing(
    policy_of: Callable[..., Policy], report_of: Callable[..., Report], judged: Callable[..., Verdict]
) -> None:
    """What a rule asks for and the report lacks is told apart from what the report violates."""
    policy = policy_of(
        OutcomeRule(check="data.leakage", accept=PASSED),
        BoundRule(check="performance.metrics", metric="accuracy", at_least=0.5),
    )
    report = report_of(Finding(check="performance.metrics", outcome=Outcome.PASSED, summary="s"))
    verdict = judged(policy, report)
    assert [Standing.MISSING, Standing.MISSING] == [reason.outcome for reason in verdict.reasons]


def test_every_slice_is_judged_by_itself(
    policy_of: Callable[..., Policy],
    report_of: Callable[..., Report],
    judged: Callable[..., Verdict],
    metric: Callable[..., Metric],
) -> None:
    """A rule on every slice denies for the one slice that falls behind, and not for all rows."""
    finding = Finding(
        check="performance.slices", outcome=Outcome.PASSED, summary="s",
        metrics=(
            metric("accuracy", 0.1, 0.2),
            metric("accuracy", 0.8, 0.9, "sex=f"),
            metric("accuracy", 0.3, 0.4, "sex=m"),
        ),
    )  # fmt: skip
    rule = BoundRule(check="performance.slices", metric="accuracy", slice="*", at_least=0.5)
    verdict = judged(policy_of(rule), report_of(finding))
    assert [Standing.OK, Standing.VIOLATED] == [reason.outcome for reason in verdict.reasons]
    assert "accuracy where sex=m is 0.35, interval 0.3 to 0.4" == verdict.objections[0].what


def test_a_rule_on_every_slice_needs_a_slice(
    policy_of: Callable[..., Policy], report_of: Callable[..., Report], judged: Callable[..., Verdict]
) -> None:
    """A report without slices does not satisfy a rule on every slice."""
    rule = BoundRule(check="performance.slices", metric="accuracy", slice="*", at_least=0.5)
    report = report_of(Finding(check="performance.slices", outcome=Outcome.PASSED, summary="s"))
    assert Standing.MISSING is judged(policy_of(rule), report).reasons[0].outcome


def test_a_second_finding_cannot_hide_the_first(
    policy_of: Callable[..., Policy], report_of: Callable[..., Report], judged: Callable[..., Verdict]
) -> None:
    """Where a report holds two findings of one check, both must satisfy the rule."""
    good = Finding(check="data.leakage", outcome=Outcome.PASSED, summary="s")
    bad = Finding(check="data.leakage", outcome=Outcome.FAILED, summary="s")
    policy = policy_of(OutcomeRule(check="data.leakage", accept=PASSED))
    for order in ((good, bad), (bad, good)):
        assert Decision.DENY is judged(policy, report_of(*order)).decision


def test_the_tier_of_the_model_decides_who_approves(
    policy_of: Callable[..., Policy], report_of: Callable[..., Report], judged: Callable[..., Verdict]
) -> None:
    """A model named in the tiers gets that tier's approvals; any other gets the default tier's."""
    policy = policy_of(OutcomeRule(check="data.leakage", accept=PASSED))
    policy = replace(policy, tiers={"credit": Tier.HIGH})
    report = report_of(Finding(check="data.leakage", outcome=Outcome.PASSED, summary="s"))
    high, low = judged(policy, report, name="credit"), judged(policy, report, name="other")
    assert (Tier.HIGH, 2, False) == (high.tier, high.approvals_needed, high.owner_may_approve)
    assert (Tier.LOW, 1, True) == (low.tier, low.approvals_needed, low.owner_may_approve)


def test_a_tier_that_asks_nobody_allows(verdict_at: Callable[..., Verdict]) -> None:
    """With a count of zero a satisfied policy allows at once."""
    assert Decision.ALLOW is verdict_at(low=0).decision


def test_a_verdict_cannot_contradict_its_reasons(verdict_at: Callable[..., Verdict]) -> None:
    """An allowing verdict cannot be built over a violated rule, nor over no reasons."""
    denied = verdict_at(denied=True)
    with pytest.raises(BadInput):
        replace(denied, decision=Decision.NEEDS_APPROVAL)
    with pytest.raises(BadInput):
        replace(denied, reasons=(), decision=Decision.ALLOW, approvals_needed=0)


def test_a_verdict_has_no_truth_value_of_its_own() -> None:
    """A verdict defines no truth value: what it says is its decision."""
    assert "__bool__" not in vars(Verdict)


def test_a_stored_verdict_names_what_others_read(verdict_at: Callable[..., Verdict]) -> None:
    """The stored form has the decision and the two digests in hexadecimal."""
    verdict = verdict_at()
    stored = canonical.decode(encode_verdict(verdict))
    assert ("needs-approval", verdict.report.hex, verdict.policy.hex) == (
        stored["decision"],
        stored["report"],
        stored["policy"],
    )


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "allow"},
        {"decision": "perhaps"},
        {"format": 2},
        {"format": True},
        {"tier": "middle"},
        {"approvals_needed": True},
        {"approvals_needed": -1},
        {"owner_may_approve": 1},
        {"reasons": []},
        {"reasons": [7]},
        {"reasons": [{"rule": "r"}]},
        {"report": "00"},
        {"extra": 1},
    ],
)
def test_a_changed_verdict_is_refused(change: dict[str, Json], verdict_at: Callable[..., Verdict]) -> None:
    """A stored verdict with a forged, unknown or mistyped field is refused."""
    stored = canonical.decode(encode_verdict(verdict_at()))
    with pytest.raises(BadInput):
        decode_verdict(canonical.encode({**stored, **change}))


@pytest.mark.parametrize(
    "change", [{"outcome": "fine"}, {"observed": "1"}, {"limit": True}, {"what": 3}, {"outcome": "violated"}]
)
def test_a_changed_reason_is_refused(change: dict[str, object], verdict_at: Callable[..., Verdict]) -> None:
    """A stored reason with a forged or mistyped field is refused."""
    stored = canonical.decode(encode_verdict(verdict_at()))
    stored["reasons"][0].update(change)
    with pytest.raises(BadInput):
        decode_verdict(canonical.encode(stored))


def test_a_long_summary_is_cut(
    policy_of: Callable[..., Policy], report_of: Callable[..., Report], judged: Callable[..., Verdict]
) -> None:
    """A finding with an endless summary gives a reason that can be stored and read."""
    report = report_of(Finding(check="data.leakage", outcome=Outcome.FAILED, summary="x" * 100_000))
    verdict = judged(policy_of(OutcomeRule(check="data.leakage", accept=PASSED)), report)
    assert verdict == decode_verdict(encode_verdict(verdict))


def test_a_reason_is_a_sentence() -> None:
    """A reason tells the rule and what was seen in one sentence."""
    reason = Reason(rule="r2 must be good", outcome=Standing.VIOLATED, what="it is 0.1.")
    assert (False, "r2 must be good; it is 0.1.") == (reason.holds, reason.sentence())
