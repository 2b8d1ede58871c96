from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Refusal
from gatewright.kernel.instants import Instant
from gatewright.policy.approvals import Approval, Permit, permit, tally
from gatewright.policy.rules import Tier
from gatewright.policy.verdict import Verdict
from gatewright.releases.judgements import Role

ROOT, OTHER = Digest.of(b"root"), Digest.of(b"other")


def approval(
    who: str, key: str = "", role: Role = Role.APPROVER, root: Digest = ROOT, at: int = 0
) -> Approval:
    """An approval by a person with a key of their own."""
    return Approval(principal=who, key_id=key or f"key-{who}", role=role, root=root, time=Instant(at))


approvals = st.lists(
    st.builds(
        approval,
        st.sampled_from(["ann", "ben", "cas", "dee"]),
        st.sampled_from(["k1", "k2", "k3", "k4"]),
        st.sampled_from(Role),
        st.sampled_from([ROOT, ROOT, OTHER]),
        st.integers(0, 3),
    ),
    max_size=7,
)
tiers = st.sampled_from(Tier)


@settings(max_examples=150, deadline=None)
@given(found=approvals, tier=tiers, data=st.data())
def test_the_order_of_approvals_does_not_matter(
    found: list[Approval], tier: Tier, data: st.DataObject, verdict_at: Callable[..., Verdict]
) -> None:
    """Every order of the same approvals gives the same tally."""
    verdict = verdict_at(tier)
    shuffled = data.draw(st.permutations(found))
    first, second = tally(verdict, ROOT, found), tally(verdict, ROOT, shuffled)
    assert first.counted == second.counted
    assert set(first.ignored) == set(second.ignored)


@settings(max_examples=100, deadline=None)
@given(found=approvals, tier=tiers)
def test_an_approval_given_twice_counts_once(
    found: list[Approval], tier: Tier, verdict_at: Callable[..., Verdict]
) -> None:
    """Repeating approvals, even at another time, counts nobody twice."""
    verdict = verdict_at(tier)
    later = [replace(one, time=Instant(one.time.ns + 9)) for one in found]
    assert len(tally(verdict, ROOT, found).counted) == len(
        tally(verdict, ROOT, found + found + later).counted
    )


@settings(max_examples=100, deadline=None)
@given(found=approvals, tier=tiers)
def test_who_counts_is_distinct_and_allowed(
    found: list[Approval], tier: Tier, verdict_at: Callable[..., Verdict]
) -> None:
    """Counted approvals have distinct people and keys, are about the root, and every other is explained."""
    result = tally(verdict_at(tier), ROOT, found)
    counted = result.counted
    assert len(counted) == len({one.principal for one in counted}) == len({one.key_id for one in counted})
    assert all(one.root == ROOT for one in counted)
    assert tier is Tier.LOW or all(one.role is Role.APPROVER for one in counted)
    assert set(found) == {*counted, *(one.approval for one in result.ignored)}
    assert all(one.reason for one in result.ignored)


@pytest.mark.parametrize(
    ("tier", "found", "granted"),
    [
        (Tier.LOW, [], False),
        (Tier.LOW, [approval("ann", role=Role.OWNER)], True),
        (Tier.LOW, [approval("ann", root=OTHER)], False),
        (Tier.HIGH, [approval("ben"), approval("cas")], True),
        (Tier.HIGH, [approval("ben")], False),
        (Tier.HIGH, [approval("ben"), approval("ben", at=5)], False),
        (Tier.HIGH, [approval("ben", "k1"), approval("ben", "k2")], False),
        (Tier.HIGH, [approval("ben", "k1"), approval("cas", "k1")], False),
        (Tier.HIGH, [approval("ben"), approval("ann", role=Role.OWNER)], False),
        (Tier.HIGH, [approval("ben"), approval("cas"), approval("ann", role=Role.OWNER)], True),
        (Tier.HIGH, [approval("ben"), approval("cas", root=OTHER)], False),
        (Tier.HIGH, [approval("ann", role=Role.OWNER), approval("ann", "k2"), approval("ben")], False),
    ],
)
def test_a_permit_takes_the_people_that_the_tier_asks_for(
    tier: Tier, found: Sequence[Approval], granted: bool, verdict_at: Callable[..., Verdict]
) -> None:
    """One approval suffices at tier low, the owner's included; at tier high two other people's."""
    assert granted is isinstance(permit(verdict_at(tier), ROOT, found), Permit)


def test_a_chain_of_shared_keys_is_one_person(verdict_at: Callable[..., Verdict]) -> None:
    """People linked by shared keys, in whatever order, count as one."""
    found = [approval("ann", "k1"), approval("ben", "k2"), approval("ann", "k2")]
    assert 1 == len(tally(verdict_at(Tier.HIGH), ROOT, found).counted)


def test_a_refusal_says_who_is_missing(verdict_at: Callable[..., Verdict]) -> None:
    """Waiting is told with the count, the tier's rule, what was ignored and what to do."""
    found = [approval("ben"), approval("ann", role=Role.OWNER), approval("cas", root=OTHER)]
    refusal = permit(verdict_at(Tier.HIGH), ROOT, found)
    assert isinstance(refusal, Refusal)
    assert "policy.waiting-for-approval" == refusal.code
    assert "1 of 2 approvals; the owner cannot approve at tier high." == refusal.what
    assert f"cas approved another release ({OTHER.short})" in refusal.why
    assert "Ask 1 more person to run 'gatewright approve'." == refusal.next


def test_no_number_of_approvals_overrides_a_denial(verdict_at: Callable[..., Verdict]) -> None:
    """A denying verdict gives no permit, and the refusal tells the reasons."""
    found = [approval("ben"), approval("cas"), approval("ann", role=Role.OWNER)]
    refusal = permit(verdict_at(Tier.LOW, denied=True), ROOT, found)
    assert isinstance(refusal, Refusal)
    assert "policy.denied" == refusal.code
    assert "data.leakage must be passed, but data.leakage is failed: Rows were compared." == refusal.why


def test_a_tier_that_asks_nobody_needs_nobody(verdict_at: Callable[..., Verdict]) -> None:
    """With a count of zero an allowing verdict is enough."""
    assert isinstance(permit(verdict_at(low=0), ROOT, []), Permit)


def test_a_permit_cannot_be_made_by_hand(verdict_at: Callable[..., Verdict]) -> None:
    """Building a permit without the function's seal is refused."""
    verdict = verdict_at()
    with pytest.raises(Misuse):
        Permit(root=ROOT, verdict=verdict, tally=tally(verdict, ROOT, []), seal=object())


def test_a_permit_cannot_be_turned_to_another_root(verdict_at: Callable[..., Verdict]) -> None:
    """A given permit does not lend its seal to a copy."""
    given_permit = permit(verdict_at(), ROOT, [approval("ben")])
    assert isinstance(given_permit, Permit)
    with pytest.raises((TypeError, ValueError), match="seal"):
        replace(given_permit, root=OTHER)  # type: ignore[call-arg]


def test_a_role_is_one_of_two_words() -> None:
    """An approval with an unknown role is refused, so that no misspelling counts as an approver."""
    with pytest.raises(BadInput):
        Approval(principal="ann", key_id="k", role="Owner", root=ROOT, time=Instant(0))  # type: ignore[arg-type]


def test_an_owner_by_plain_word_is_the_owner(verdict_at: Callable[..., Verdict]) -> None:
    """The owner's role counts as the owner's however the word was made."""
    found = [approval("ben"), approval("ann", role="owner")]  # type: ignore[arg-type]
    assert isinstance(permit(verdict_at(Tier.HIGH), ROOT, found), Refusal)
