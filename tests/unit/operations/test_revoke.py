"""Revoking: one act, recorded whole, after which the release answers nowhere and comes back nowhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gatewright.deployments.deployment import Beside, Seat
from gatewright.deployments.plan import EndpointPlan, read_plan
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import GatewrightError, Misuse, Refused
from gatewright.ledger.commitments import open_preimage
from gatewright.ledger.records import Record
from gatewright.operations import history, release, traffic
from gatewright.operations.approve import approve
from gatewright.operations.deploy import deploy_release, roll_back_endpoint
from gatewright.operations.home import Home
from gatewright.operations.plans import current_plan, renew, signed
from gatewright.operations.released import release as find
from gatewright.operations.released import statements
from gatewright.operations.revoke import WORDS_BYTES, revoke
from gatewright.operations.ship import ship
from gatewright.operations.status import status
from gatewright.releases.envelope import Envelope, require
from gatewright.releases.judgements import Revocation, RevocationReason
from gatewright.releases.statement import open_claim

WORDS = "its answers harm Bob"


def _records(home: Home) -> list[Record]:
    return [Record.decode(leaf) for leaf in home.archive.leaves()]


def _now(home: Home) -> EndpointPlan:
    plan = current_plan(home)
    assert plan is not None
    found = plan.endpoint("loans")
    assert found is not None
    return found


def test_the_champion_gives_way_in_the_same_act(live: Home) -> None:
    """Statement and plan are recorded in one append; the published plan has the previous release alone."""
    deploy_release(live, "loans@2")
    before = len(_records(live))
    done = revoke(live, "loans@2", words=WORDS, reason=RevocationReason.UNSAFE)
    records = _records(live)[before:]
    assert ["release.revoked", "endpoint.revoked"] == [each.draft.kind for each in records]
    assert 1 == len({each.time for each in records})
    plan = read_plan(live.plan_path.read_bytes(), live.trust)
    assert plan == current_plan(live)
    assert (1, None, False) == (
        _now(live).champion.version,
        _now(live).previous,
        _now(live).stopped,
    )
    assert ("loans",) == done.entry.endpoints
    assert "was revoked; loans@1 is the champion" in done.endpoints[0].what


def test_a_rollback_after_it_says_what_was_revoked(live: Home) -> None:
    """Nothing stands behind the champion that came back: the refusal names what was revoked, not that there was none."""
    deploy_release(live, "loans@2")
    revoke(live, "loans@2", words=WORDS)
    with pytest.raises(Misuse) as caught:
        roll_back_endpoint(live, "loans")
    assert "was revoked: loans@2" in caught.value.refusal.why


def test_the_statement_says_why_without_the_words(live: Home) -> None:
    """Both release keys signed the code and a commitment; the words lie encrypted and stand in no record."""
    done = revoke(live, "loans@2", words=WORDS, reason=RevocationReason.DATA)
    envelope = Envelope.decode(live.blobs.get(done.entry.statement))
    require(envelope, live.trust.release_keys)
    claim = open_claim(envelope)
    assert isinstance(claim, Revocation)
    assert (find(live, "loans@2").root, RevocationReason.DATA) == (claim.root, claim.reason)
    record = _records(live)[-1]
    assert {"words": claim.words} == dict(record.draft.commitments)
    assert WORDS.encode() == open_preimage(live.blobs.get(claim.words))[1]
    assert not any(WORDS.encode() in leaf for leaf in live.archive.leaves())


def test_what_is_not_live_needs_no_plan(live: Home) -> None:
    """A release that answers nowhere is revoked by one record, and the plan stays as it is."""
    plan = live.plan_path.read_bytes()
    done = revoke(live, "loans@2", words=WORDS)
    assert ((), ()) == (done.entry.endpoints, done.endpoints)
    assert "release.revoked" == _records(live)[-1].draft.kind
    assert plan == live.plan_path.read_bytes()


WAYS_BACK: dict[str, Callable[[Home], object]] = {
    "deploy": lambda home: deploy_release(home, "loans@2"),
    "deploy elsewhere": lambda home: deploy_release(home, "loans@2", endpoint="other"),
    "canary": lambda home: deploy_release(home, "loans@2", seat=Seat(beside=Beside.CANARY, share=100)),
    "shadow": lambda home: deploy_release(home, "loans@2", seat=Seat(beside=Beside.SHADOW)),
    "fallback": lambda home: deploy_release(home, "loans@2", seat=Seat(beside=Beside.FALLBACK)),
    "approve": lambda home: approve(home, "loans@2", name="ada"),
    "ship": lambda home: ship(home, "loans@2"),
}


@pytest.mark.parametrize("way", WAYS_BACK)
def test_nothing_brings_it_back(live: Home, way: str) -> None:
    """Every verb that would let it answer is refused, with the reason, and records nothing."""
    revoke(live, "loans@2", words=WORDS, reason=RevocationReason.WRONG)
    before = len(_records(live))
    with pytest.raises(Refused, match="revoked") as caught:
        WAYS_BACK[way](live)
    assert "operations.revoked" == caught.value.code
    assert before == len(_records(live))


def test_no_rollback_reaches_it(live: Home) -> None:
    """As the previous release it is forgotten: there is nothing to go back to."""
    deploy_release(live, "loans@2")
    revoke(live, "loans@1", words=WORDS)
    assert (2, None) == (_now(live).champion.version, _now(live).previous)
    with pytest.raises(Misuse) as caught:
        roll_back_endpoint(live, "loans")
    assert "deployments.nothing-to-roll-back-to" == caught.value.code


def test_without_a_predecessor_the_endpoint_stops_until_somebody_resumes(live: Home) -> None:
    """It cannot be resumed with the revoked champion; after another deployment it can, with nothing behind."""
    revoke(live, "loans@1", words=WORDS)
    assert (True, "revoked") == (_now(live).stopped, status(live).endpoints[0].state)
    for again in (lambda: traffic.resume(live, "loans"), lambda: deploy_release(live, "loans@1")):
        with pytest.raises(Refused) as caught:
            again()
        assert "operations.revoked" == caught.value.code
    deployed = deploy_release(live, "loans@2").entry
    assert ("first", None, True) == (deployed.state, deployed.previous_root, deployed.stopped)
    assert "" == traffic.resume(live, "loans").entry.previous_ref
    assert not _now(live).stopped
    with pytest.raises(Misuse):
        roll_back_endpoint(live, "loans")


def test_the_plan_of_a_stopped_endpoint_is_renewed(live: Home) -> None:
    """The other endpoints need their plan: an endpoint that a revocation stopped does not hinder it."""
    revoke(live, "loans@1", words=WORDS)
    deploy_release(live, "loans@2", endpoint="other")
    assert renew(live, lifetime=10**15) is not None
    assert _now(live).stopped


def test_a_plan_with_it_is_never_signed(live: Home) -> None:
    """Where all plans are signed, one that lets a revoked release answer is refused."""
    plan = current_plan(live)
    assert plan is not None
    revoke(live, "loans@1", words=WORDS)
    with pytest.raises(Refused):
        signed(live, plan)


def test_every_endpoint_that_names_it_changes_at_once(live: Home) -> None:
    """Two endpoints, one plan: both records name it, each tells its own change, and history agrees with it."""
    deploy_release(live, "loans@2")
    deploy_release(live, "loans@2", endpoint="other")
    done = revoke(live, "loans@2", words=WORDS)
    assert ("loans", "other") == done.entry.endpoints
    assert 1 == len({(each.plan, each.plan_number) for each in done.endpoints})
    assert Digest.of(live.plan_path.read_bytes()) == done.endpoints[0].plan
    then = history.at(live, live.now())
    assert {"loans": False, "other": True} == {each.endpoint: each.stopped for each in then.endpoints}
    stopped = next(each for each in then.endpoints if each.stopped)
    assert stopped.releases[0].grounds.revoked


def test_a_doubtful_name_is_refused(live: Home) -> None:
    """Where two releases of one version stand, a name does not say which: the roots do."""
    live.policy_path.write_text(live.policy_path.read_text("utf-8") + "\n# other\n")
    second = release.create(live, "loans@2")
    with pytest.raises(Misuse) as caught:
        revoke(live, "loans@2", words=WORDS)
    assert "operations.which-release" == caught.value.code
    assert second.root.hex[:12] in caught.value.refusal.next
    revoke(live, second.root.hex[:12], words=WORDS)
    assert find(live, "loans@2").root != second.root
    with pytest.raises(Misuse) as again:
        revoke(live, second.root.hex, words=WORDS)
    assert "operations.revoked-already" == again.value.code


@pytest.mark.parametrize("words", ["", "  ", "x" * (WORDS_BYTES + 1)])
def test_a_revocation_says_why(live: Home, words: str) -> None:
    """No words, and too many, are refused."""
    with pytest.raises(Misuse):
        revoke(live, "loans@2", words=words)


def test_the_export_carries_it_and_the_plan_does_not(live: Home) -> None:
    """Revocation, summary and waivers are statements of the export; a plan names what a worker needs."""
    named = set(_now(live).champion.statements)
    revoke(live, "loans@1", words=WORDS)
    about = statements(live, find(live, "loans@1"))
    assert {"revocation", "vsa"} < set(about)
    assert not named & {about["revocation"], about["vsa"]}


def test_a_full_disk_leaves_nothing_half_done(live: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the record cannot be written, the release is not revoked and goes on answering."""

    def full(*_: object) -> None:
        raise Refused("tests.full", "no space")

    before = live.plan_path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(type(live.archive), "append", full)
        with pytest.raises(GatewrightError):
            revoke(live, "loans@1", words=WORDS)
    assert before == live.plan_path.read_bytes()
    assert () == status(live).revoked
    assert revoke(live, "loans@1", words=WORDS).endpoints[0].stopped
