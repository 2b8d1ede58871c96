from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.checks.finding import Metric, Outcome
from gatewright.kernel.errors import BadInput
from gatewright.models.signature import Task
from gatewright.policy.rules import ApprovalNeed, Bound, BoundRule, OutcomeRule, Policy, Tier

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNKNOWN, Outcome.BROKEN])
def test_no_rule_can_accept_what_must_never_pass(outcome: Outcome) -> None:
    """A rule built in code that accepts failed, unknown or broken is refused."""
    with pytest.raises(BadInput) as caught:
        OutcomeRule(check="data.leakage", accept=(Outcome.PASSED, outcome))
    assert "policy.accept" == caught.value.code


def test_a_rule_that_accepts_nothing_is_refused() -> None:
    """An empty accept list is refused."""
    with pytest.raises(BadInput):
        OutcomeRule(check="data.leakage", accept=())


@pytest.mark.parametrize(("least", "most"), [(None, None), (0.1, 0.2)])
def test_a_bound_rule_has_exactly_one_side(least: float | None, most: float | None) -> None:
    """Neither or both of at_least and at_most are refused."""
    with pytest.raises(BadInput):
        BoundRule(check="performance.metrics", metric="r2", at_least=least, at_most=most)


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), float("-inf")])
def test_a_bound_is_finite(limit: float) -> None:
    """A bound that no number can be compared with is refused."""
    with pytest.raises(BadInput):
        BoundRule(check="performance.metrics", metric="r2", at_least=limit)


@given(low=numbers, width=st.floats(0, 10), limit=numbers)
def test_the_default_bound_is_the_pessimistic_one(low: float, width: float, limit: float) -> None:
    """An unmarked rule holds only when the worse end of the interval holds."""
    metric = Metric(name="x", value=low, low=low, high=low + width, size=9, method="bootstrap")
    least = BoundRule(check="c", metric="x", at_least=limit)
    most = BoundRule(check="c", metric="x", at_most=limit)
    assert (metric.low >= limit) == least.holds(metric)
    assert (metric.high <= limit) == most.holds(metric)


def test_the_point_is_never_looked_at(metric: Callable[..., Metric]) -> None:
    """A metric whose point satisfies the rule but whose interval does not is not enough."""
    rule = BoundRule(check="performance.metrics", metric="r2", at_least=0.5)
    assert not rule.holds(metric("r2", 0.4, 0.9))


def test_the_other_bound_must_be_asked_for(metric: Callable[..., Metric]) -> None:
    """A rule that names the high end looks at the high end."""
    rule = BoundRule(check="performance.metrics", metric="r2", at_least=0.5, bound=Bound.HIGH)
    assert rule.holds(metric("r2", 0.4, 0.9))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (
            OutcomeRule(check="data.leakage", accept=(Outcome.PASSED, Outcome.SKIPPED)),
            "data.leakage must be passed or skipped",
        ),
        (
            BoundRule(check="performance.metrics", metric="r2", at_least=0.25),
            "performance.metrics: the low bound of r2 must be at least 0.25",
        ),
        (
            BoundRule(check="performance.slices", metric="mae", slice="*", at_most=2),
            "performance.slices: the high bound of mae in every slice must be at most 2",
        ),
        (
            BoundRule(check="performance.slices", metric="mae", slice="sex=f", at_most=2),
            "performance.slices: the high bound of mae where sex=f must be at most 2",
        ),
    ],
)
def test_rules_read_as_sentences(rule: OutcomeRule | BoundRule, text: str) -> None:
    """A rule says what it asks in words."""
    assert text == rule.text()


def test_a_policy_names_the_approvals_of_every_tier() -> None:
    """A policy that leaves out a tier's approvals cannot be built."""
    with pytest.raises(BadInput) as caught:
        Policy(
            title="t",
            default_tier=Tier.LOW,
            rules=(),
            approvals={Tier.LOW: ApprovalNeed(count=1, owner_may_approve=True)},
        )
    assert "[approvals.high]" == caught.value.refusal.place


def test_rules_are_chosen_by_task(policy_of: Callable[..., Policy]) -> None:
    """Only the rules that apply to the task are returned, in the order of the file."""
    everywhere = OutcomeRule(check="data.leakage", accept=(Outcome.PASSED,))
    regression = BoundRule(check="c", metric="r2", at_least=0, applies_to=(Task.REGRESSION,))
    policy = policy_of(regression, everywhere)
    assert (everywhere,) == policy.rules_for(Task.BINARY)
    assert (regression, everywhere) == policy.rules_for(Task.REGRESSION)
