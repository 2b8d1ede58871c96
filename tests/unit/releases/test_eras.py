"""What keys of now, retired keys and revoked ones prove."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import GatewrightError, Tampered
from gatewright.kernel.instants import Instant
from gatewright.releases.bundle import sealed_bundle
from gatewright.releases.heads import open_head
from gatewright.releases.judgements import Revocation, RevocationReason
from gatewright.releases.statement import Countersignature, WorkerKey
from gatewright.releases.trust import RevokedWorker, TrustRoot
from gatewright.releases.verification import require_deployable, verify_release
from gatewright.releases.worker_keys import certify, newest, require_counts, verify_worker_key
from unit.releases.key_sets import DAY, ORIGIN, KeySet
from unit.releases.workshop import ENDPOINT, NOW, Made, digests, ed, resources, sealed_bytes

OLD = KeySet()
NEW = OLD.with_new("release", "log")
LATER = Instant(NOW.ns + DAY)
RETIRED = NEW.trust(2, past=(OLD.era(until=LATER),))
REVOKED = NEW.trust(2, past=(OLD.era("log", "release", until=LATER),))
WORKER = WorkerKey(public=ed().public, valid_from=NOW, origin=ORIGIN, valid_until=Instant(NOW.ns + 90 * DAY))


def released(keys: KeySet, *more: KeySet) -> Made:
    """A release signed and decided by some keys; ``more`` vouch for it again."""
    files = resources()
    made = Made(files=files, bundle=sealed_bundle(digests(files), keys.release))
    for each in (keys, *more):
        made = made.beside(
            sealed_bytes(Countersignature(root=made.root), *each.releases),
            sealed_bytes(made.decision(), *each.releases),
        )
    return made


def proves(made: Made, trust: TrustRoot) -> str:
    """The code of the first thing that does not hold, or nothing."""
    try:
        found = verify_release(
            resources=made.files, bundle=made.bundle, statements=made.statements, trust=trust
        )
        require_deployable(found, made.statements, trust, ENDPOINT)
    except GatewrightError as error:
        return error.code
    return ""


def test_retired_keys_go_on_proving() -> None:
    """A release of retired keys holds as one of the keys of now does."""
    assert ["", ""] == [proves(released(keys), RETIRED) for keys in (OLD, NEW)]


def test_revoked_keys_prove_what_was_vouched_for_again() -> None:
    """A release of revoked keys holds only where the keys of now vouch for it."""
    assert "releases.revoked-key" == proves(released(OLD), REVOKED)
    assert "" == proves(released(OLD, NEW), REVOKED)


def test_half_a_pair_vouches_for_nothing() -> None:
    """One key of now, or one of now and one retired, do not vouch."""
    made = released(OLD)
    for signers in ((NEW.release,), (NEW.release_pq,), (NEW.release, OLD.release_pq)):
        again = made.beside(sealed_bytes(Countersignature(root=made.root), *signers))
        assert "releases.revoked-key" == proves(again, REVOKED)


def test_a_retired_key_decides_nothing_afterwards() -> None:
    """A decision dated after its keys were retired does not count."""
    files = resources()
    made = Made(files=files, bundle=sealed_bundle(digests(files), OLD.release))
    late = replace(made.decision(), time=Instant(LATER.ns + 1))
    made = made.beside(
        sealed_bytes(Countersignature(root=made.root), *OLD.releases), sealed_bytes(late, *OLD.releases)
    )
    assert "releases.no-decision" == proves(made, RETIRED)


def test_what_keys_sign_after_their_time_does_not_count() -> None:
    """A decision dated after the keys in force expired does not count."""
    expired = replace(NEW.trust(2, past=(OLD.era(),)), expires=NOW)
    files = resources()
    made = Made(files=files, bundle=sealed_bundle(digests(files), NEW.release))
    late = replace(made.decision(), time=Instant(NOW.ns + 1))
    made = made.beside(
        sealed_bytes(Countersignature(root=made.root), *NEW.releases), sealed_bytes(late, *NEW.releases)
    )
    assert "releases.no-decision" == proves(made, expired)


def test_a_release_made_after_its_keys_were_retired_does_not_hold() -> None:
    """Its own date says when it was made, in place of the countersignature's, which bears none."""
    retired = NEW.trust(2, past=(OLD.era(until=Instant(NOW.ns - 1)),))
    assert ["releases.made-later", ""] == [proves(released(keys), retired) for keys in (OLD, NEW)]
    expired = replace(NEW.trust(2), expires=Instant(NOW.ns - 1))
    assert "releases.made-later" == proves(released(NEW), expired)


@pytest.mark.parametrize(("after", "code"), [(0, "releases.revoked"), (1, "releases.unsigned")])
def test_retired_keys_revoke_no_release_afterwards(after: int, code: str) -> None:
    """A revocation counts by its own date: one of retired keys dated later is nobody's."""
    made = released(OLD)
    time = Instant(LATER.ns + after)
    claim = Revocation(root=made.root, reason=RevocationReason.UNSAFE, words=Digest.of(b"words"), time=time)
    assert code == proves(made.beside(sealed_bytes(claim, *OLD.releases)), RETIRED)


@pytest.mark.parametrize("size", [3, 4])
def test_retired_log_keys_speak_for_no_later_record(size: int) -> None:
    """A head of retired log keys over more records than the log had then is refused."""
    if size == 3:
        assert 3 == open_head(OLD.head(size), RETIRED).checkpoint.size
        return
    with pytest.raises(Tampered) as caught:
        open_head(OLD.head(size), RETIRED)
    assert "releases.head-beyond" == caught.value.code


def test_a_head_of_revoked_keys_that_nobody_cosigned_is_unproven() -> None:
    """Whoever compares knows that such a head may be anybody's."""
    assert open_head(OLD.head(), REVOKED, revoked_too=True).unproven
    assert not open_head(OLD.head(), RETIRED, revoked_too=True).unproven


def test_a_key_that_stood_in_several_eras_is_revoked_in_all() -> None:
    """Release keys that outlived a log key are revoked by the later era, too."""
    middle = OLD.with_new("log")
    last = middle.with_new("release")
    trust = last.trust(3, past=(OLD.era(), middle.era("release")))
    assert [False, True] == [pair.revoked for pair in trust.release_pairs]
    assert "releases.revoked-key" == proves(released(OLD), trust)


@pytest.mark.parametrize(("trust", "revoked"), [(RETIRED, False), (REVOKED, True)])
def test_heads_of_the_past(trust: TrustRoot, *, revoked: bool) -> None:
    """A head of retired log keys is believed, one of revoked ones only to compare it."""
    assert open_head(NEW.head(), trust).era is None
    if revoked:
        with pytest.raises(Tampered) as caught:
            open_head(OLD.head(), trust)
        assert "releases.head-revoked" == caught.value.code
    assert (OLD.log.public, revoked) == (
        getattr(open_head(OLD.head(), trust, revoked_too=True).era, "log", None),
        open_head(OLD.head(), trust, revoked_too=True).revoked,
    )


def test_a_head_needs_both_log_keys() -> None:
    """A head with one signature of a mixed pair is nobody's."""
    mixed = replace(NEW, log_pq=OLD.log_pq)
    with pytest.raises(Tampered):
        open_head(mixed.head(), RETIRED)


@pytest.mark.parametrize(
    ("keys", "trust", "code"),
    [
        (NEW, RETIRED, ""),
        (OLD, RETIRED, ""),
        (OLD, REVOKED, "releases.unsigned"),
        (KeySet(), RETIRED, "releases.unsigned"),
    ],
)
def test_certificates_of_the_past(keys: KeySet, trust: TrustRoot, code: str) -> None:
    """Retired keys vouch for the workers of their time, revoked ones and strangers for nobody."""
    try:
        found = verify_worker_key(certify(WORKER, keys.releases), trust)
        assert WORKER == found
        said = ""
    except Tampered as error:
        said = error.code
    assert code == said


def test_certificates_of_every_origin_of_the_home_count() -> None:
    """A home that goes on under another name keeps its workers."""
    trust = NEW.trust(2, past=(OLD.era(origin="gatewright/before"),))
    before = replace(WORKER, origin="gatewright/before")
    assert before == verify_worker_key(certify(before, NEW.releases), trust)


@pytest.mark.parametrize(
    ("moved", "recorded", "code"),
    [
        (0, None, ""),
        (-1, None, "releases.worker-time"),
        (91 * DAY, None, "releases.worker-time"),
    ],
)
def test_a_worker_signs_in_the_time_of_its_certificate(moved: int, recorded: int | None, code: str) -> None:
    """What a worker signed outside that time does not count."""
    assert code == counts(NEW.trust(), moved, recorded)


@pytest.mark.parametrize(
    ("recorded", "code"), [(6, ""), (7, "releases.worker-revoked"), (None, "releases.worker-revoked")]
)
def test_a_revoked_worker_counts_by_its_place_in_the_log(recorded: int | None, code: str) -> None:
    """Only segments among the first records of the log count, whatever time a record states."""
    gone = RevokedWorker(key=WORKER.public.id, time=LATER, records=7)
    assert code == counts(replace(NEW.trust(), revoked_workers=(gone,)), 1, recorded)


def counts(trust: TrustRoot, moved: int, recorded: int | None) -> str:
    """The code of why a record of the worker does not count, or nothing."""
    try:
        require_counts(WORKER, Instant(NOW.ns + moved), trust, recorded=recorded)
    except Tampered as error:
        return error.code
    return ""


def test_the_newest_worker_that_is_not_revoked_is_in_use() -> None:
    """Of several certified keys the one certified last signs; a revoked one never does."""
    second = replace(WORKER, public=ed().public, valid_from=LATER)
    gone = RevokedWorker(key=second.public.id, time=LATER, records=7)
    assert second == newest((WORKER, second), NEW.trust())
    assert WORKER == newest((second, WORKER), replace(NEW.trust(), revoked_workers=(gone,)))
    assert newest((), NEW.trust()) is None
