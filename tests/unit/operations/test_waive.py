"""Waiving a rule for one release: whole path, its end, and what cannot be waived."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gatewright.kernel.errors import ApprovalNeeded, GatewrightError, Misuse, Refused, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.commitments import open_preimage
from gatewright.ledger.records import Record
from gatewright.operations import users
from gatewright.operations.approve import approve
from gatewright.operations.check import check
from gatewright.operations.deploy import deploy_release, roll_back_endpoint
from gatewright.operations.home import Home
from gatewright.operations.plans import current_plan
from gatewright.operations.release import create
from gatewright.operations.released import statements, waivers
from gatewright.operations.status import status
from gatewright.operations.waive import Waiving
from gatewright.policy.verdict import Decision, decode_verdict
from gatewright.policy.waivers import DAY_NS
from gatewright.releases.envelope import Envelope, verify
from gatewright.releases.judgements import Waiver
from gatewright.releases.keys import PublicKey
from gatewright.releases.statement import open_claim
from gatewright.releases.summaries import VerificationSummary

STRICT = """
[[rules]]
check = "performance.metrics"
metric = "accuracy"
at_least = 0.999
applies_to = ["binary-classification"]

[[rules]]
check = "performance.metrics"
metric = "roc-auc"
at_least = 0.9999
applies_to = ["binary-classification"]

[[waivers]]
check = "performance.metrics"
by = ["approver"]
days = 30
"""
ACCURACY = "performance.metrics: the low bound of accuracy must be at least 0.999"
ROC_AUC = "performance.metrics: the low bound of roc-auc must be at least 0.9999"
WORDS = "until Bob has labelled more rows"


@pytest.fixture
def strict(live: Home) -> Home:
    """A home with a live model whose policy asks for more than version 2 has, and lets approvers waive it."""
    live.policy_path.write_text(live.policy_path.read_text("utf-8") + STRICT, "utf-8")
    for name in ("grace", "alan"):
        users.add(live, name)
    check(live, "loans@2")
    return live


def wanted(home: Home, *rules: str, days: int = 10, by: str = "grace") -> Waiving:
    """What grace waives for some days from now."""
    until = Instant(home.now().ns + days * DAY_NS)
    return Waiving(rules=rules or (ACCURACY, ROC_AUC), until=until, words=WORDS, by=by)


def later(home: Home, days: int) -> Home:
    """The same home, some days later."""
    return replace(home, now=lambda: Instant(home.now().ns + days * DAY_NS))


def test_the_whole_path(strict: Home) -> None:
    """The verdict in the root names the waived rules; each waiver is signed by its author and both release keys."""
    made = create(strict, "loans@2", waiving=wanted(strict))
    verdict = decode_verdict(strict.blobs.get(made.verdict))
    assert Decision.NEEDS_APPROVAL is verdict.decision
    assert [ACCURACY, ROC_AUC] == [one.rule for one in verdict.waivers]
    kinds = [Record.decode(leaf).draft.kind for leaf in strict.archive.leaves()]
    assert ["release.created", "release.waived", "release.waived"] == kinds[-3:]
    grace = users.person(strict, "grace")
    for entry in waivers(strict, made.root):
        envelope = Envelope.decode(strict.blobs.get(entry.statement))
        claim = open_claim(envelope)
        assert isinstance(claim, Waiver)
        assert (made.root, grace.principal) == (claim.root, claim.principal)
        keys = (PublicKey.from_text(grace.key), *strict.trust.release_keys)
        assert keys == verify(envelope, keys)
        assert WORDS.encode() == open_preimage(strict.blobs.get(claim.words))[1]
    assert not any(WORDS.encode() in leaf for leaf in strict.archive.leaves())
    summary = open_claim(Envelope.decode(strict.blobs.get(statements(strict, made)["vsa"])))
    assert isinstance(summary, VerificationSummary)
    assert summary.waived


def test_somebody_else_must_approve(strict: Home) -> None:
    """The author's approval opens nothing; another person's does, and the worker is given the waivers."""
    made = create(strict, "loans@2", waiving=wanted(strict))
    approve(strict, made.root.hex, name="grace")
    with pytest.raises(ApprovalNeeded):
        deploy_release(strict, made.root.hex)
    approve(strict, made.root.hex, name="alan")
    deploy_release(strict, made.root.hex)
    plan = current_plan(strict)
    assert plan is not None
    named = set(plan.endpoints[0].champion.statements)
    assert {entry.statement for entry in waivers(strict, made.root)} <= named
    assert [False, False] == [one.over for one in status(strict).waived]


def test_after_its_end_nothing_new_is_deployed_and_what_is_live_stays(strict: Home) -> None:
    """A new place is refused; the live one goes on, status says that the time is over, and a rollback still works."""
    made = create(strict, "loans@2", waiving=wanted(strict))
    approve(strict, made.root.hex, name="alan")
    deploy_release(strict, made.root.hex)
    after = later(strict, 11)
    assert [(True, 0), (True, 0)] == [(one.over, one.days) for one in status(after).waived]
    with pytest.raises(Refused) as caught:
        deploy_release(after, made.root.hex, endpoint="other")
    assert "policy.waiver-over" == caught.value.code
    roll_back_endpoint(after, "loans")
    assert "loans@2" == roll_back_endpoint(after, "loans").entry.ref


def test_a_waiver_that_lies_nowhere_opens_nothing(strict: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict that says ``waived`` without the signed waiver is broken evidence, not leave."""
    made = create(strict, "loans@2", waiving=wanted(strict))
    approve(strict, made.root.hex, name="alan")
    monkeypatch.setattr("gatewright.operations.waive.waivers", lambda *_: ())
    with pytest.raises(Tampered) as caught:
        deploy_release(strict, made.root.hex)
    assert "operations.waiver-broken" == caught.value.code


@pytest.mark.parametrize(
    ("waiving", "code"),
    [
        ({"by": "ada"}, "policy.not-waivable"),
        ({"days": 31}, "policy.not-waivable"),
        ({"days": -1}, "policy.not-waivable"),
        ({"by": "nobody"}, "operations.no-user"),
    ],
)
def test_what_the_policy_does_not_let_is_refused(strict: Home, waiving: dict[str, object], code: str) -> None:
    """The owner, a longer time, a time that is over, an unknown person: refused, and nothing is released."""
    records = sum(1 for _ in strict.archive.leaves())
    with pytest.raises(GatewrightError) as caught:
        create(strict, "loans@2", waiving=wanted(strict, **waiving))  # type: ignore[arg-type]
    assert code == caught.value.code
    assert records == sum(1 for _ in strict.archive.leaves())


def test_a_waiver_names_one_rule_that_does_not_hold(strict: Home) -> None:
    """A check with two violated rules, a rule that holds and no rule at all are told apart."""
    for name, count in (("performance.metrics", 2), ("performance.slices", 0), ("nonsense", 0)):
        with pytest.raises(Misuse, match=f"names {count} rules") as caught:
            create(strict, "loans@2", waiving=wanted(strict, name))
        assert ACCURACY in caught.value.refusal.why


def test_one_waiver_of_two_still_denies(strict: Home) -> None:
    """The rule that nobody waived denies, and that is recorded."""
    with pytest.raises(Refused) as caught:
        create(strict, "loans@2", waiving=wanted(strict, ACCURACY))
    assert "operations.verdict-denies" == caught.value.code
    assert ACCURACY not in caught.value.refusal.why
    assert ROC_AUC in caught.value.refusal.why


def test_without_words_nothing_is_waived(strict: Home) -> None:
    """A waiver says why."""
    with pytest.raises(Misuse):
        create(strict, "loans@2", waiving=replace(wanted(strict), words=" "))


def test_the_default_policy_lets_nothing_be_waived(live: Home, tmp_path: Path) -> None:
    """Without ``[[waivers]]`` the same wish is refused."""
    policy = tmp_path / "policy.toml"
    text = live.policy_path.read_text("utf-8") + STRICT.partition("[[waivers]]")[0]
    policy.write_text(text, "utf-8")
    with pytest.raises(Refused) as caught:
        create(live, "loans@2", policy_file=policy, waiving=wanted(live, ACCURACY, by="ada"))
    assert "policy.not-waivable" == caught.value.code
