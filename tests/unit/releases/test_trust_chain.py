"""The signed steps between versions of a trust root: what an attacker of a key distribution would try."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput, GatewrightError, Tampered
from gatewright.kernel.instants import Instant
from gatewright.releases.envelope import sealed
from gatewright.releases.trust import RevokedWorker, TrustRoot
from gatewright.releases.trust_chain import next_trust, seal_step, walk
from unit.releases.key_sets import DAY, KeySet
from unit.releases.workshop import LOG_KEY, NOW, RELEASE_KEY, RELEASE_PQ_KEY, TRUST

settings.load_profile("settled")

KEYS = KeySet()
FIRST = KEYS.trust()
STRANGERS = KeySet()
NEW_LOG = KEYS.with_new("log")
ROTATED = NEW_LOG.trust(2, past=(KEYS.era(),))
NEW_ROOT = KEYS.with_new("root")
GONE = RevokedWorker(key="a" * 32, time=NOW, records=3)


def test_a_proper_step_is_taken() -> None:
    """A version signed by both root keys of the one before is the next one."""
    assert ROTATED == next_trust(FIRST, seal_step(ROTATED, KEYS.roots))


def test_a_root_is_replaced_by_both_pairs() -> None:
    """New root keys come in where the old and the new pair signed."""
    after = NEW_ROOT.trust(2)
    assert after == next_trust(FIRST, seal_step(after, (*KEYS.roots, *NEW_ROOT.roots)))


def test_a_walk_leads_over_every_version() -> None:
    """Whoever holds the first version gets to the last, and the next step is signed by the newest root."""
    second = NEW_ROOT.trust(2)
    last = NEW_ROOT.with_new("release")
    third = last.trust(3, past=(NEW_ROOT.era(),))
    steps = (seal_step(second, (*KEYS.roots, *NEW_ROOT.roots)), seal_step(third, NEW_ROOT.roots))
    assert third == walk(FIRST, steps)


@pytest.mark.parametrize(
    ("after", "signers"),
    [
        pytest.param(STRANGERS.trust(2, past=(KEYS.era(),)), STRANGERS.roots, id="arbitrary new keys"),
        pytest.param(ROTATED, KEYS.releases, id="signed by the release keys"),
        pytest.param(ROTATED, (KEYS.root,), id="signed by one root key only"),
        pytest.param(ROTATED, (KEYS.root_pq,), id="signed by the other root key only"),
        pytest.param(NEW_ROOT.trust(2), KEYS.roots, id="root replaced, old signatures only"),
        pytest.param(NEW_ROOT.trust(2), NEW_ROOT.roots, id="root replaced, new signatures only"),
        pytest.param(replace(ROTATED, version=3), KEYS.roots, id="a version skipped"),
        pytest.param(FIRST, KEYS.roots, id="the same version again"),
        pytest.param(
            replace(ROTATED, made=Instant(NOW.ns - DAY)), KEYS.roots, id="made before the version it follows"
        ),
        pytest.param(replace(ROTATED, past=()), KEYS.roots, id="an era left out of the past"),
        pytest.param(replace(ROTATED, past=(STRANGERS.era(),)), KEYS.roots, id="a past of other keys"),
        pytest.param(
            replace(ROTATED, past=(STRANGERS.era(), KEYS.era())), KEYS.roots, id="an era put into the past"
        ),
        pytest.param(
            KEYS.trust(2, origin="gatewright/other"), KEYS.roots, id="another origin without its past"
        ),
    ],
)
def test_a_step_that_does_not_follow_is_refused(after: TrustRoot, signers: Sequence[Any]) -> None:
    """Keys come in only by a step from the version before, which keeps the past."""
    with pytest.raises(Tampered) as caught:
        next_trust(FIRST, seal_step(after, signers))
    assert caught.value.refusal.place.startswith("trust/2")


def test_what_was_revoked_stays_revoked() -> None:
    """Neither the mark on an era nor a revoked worker key is ever taken back."""
    before = replace(NEW_LOG.trust(2, past=(KEYS.era("log"),)), revoked_workers=(GONE,))
    for after in (
        replace(before, version=3, past=(KEYS.era(),)),
        replace(before, version=3, revoked_workers=()),
        replace(before, version=3, revoked_workers=(replace(GONE, records=9),)),
    ):
        with pytest.raises(Tampered):
            next_trust(before, seal_step(after, KEYS.roots))


def test_a_mark_may_be_added_later() -> None:
    """Keys that were retired may be revoked when it turns out that somebody else holds them."""
    after = replace(NEW_LOG.trust(3), past=(KEYS.era("log"),))
    assert after == next_trust(ROTATED, seal_step(after, KEYS.roots))


@pytest.mark.parametrize("payload_type", ["application/vnd.in-toto+json", ""])
def test_another_payload_is_no_step(payload_type: str) -> None:
    """What the root keys signed as something else is no step, whatever it holds."""
    with pytest.raises(Tampered):
        next_trust(FIRST, sealed(payload_type, ROTATED.encode(), KEYS.roots).encode())


def test_two_versions_of_one_number_are_two_fingerprints() -> None:
    """Equivocation by the root keys themselves cannot be prevented; the fingerprints tell it."""
    one, other = ROTATED, replace(ROTATED, expires=Instant(NOW.ns + 9 * DAY))
    taken = [next_trust(FIRST, seal_step(each, KEYS.roots)) for each in (one, other)]
    assert taken[0].version == taken[1].version
    assert taken[0].fingerprint() != taken[1].fingerprint()


def test_a_home_of_format_1_gets_root_keys_from_its_release_keys() -> None:
    """Without root keys the release pair signs the step that brings them in, together with them."""
    keys = KeySet(release=RELEASE_KEY, release_pq=RELEASE_PQ_KEY, log=LOG_KEY)
    era = replace(keys.era(), log_pq=None)
    after = keys.trust(2, past=(era,))
    assert after == next_trust(TRUST, seal_step(after, (*keys.releases, *keys.roots)))
    for signers in (keys.roots, keys.releases):
        with pytest.raises(Tampered):
            next_trust(TRUST, seal_step(after, signers))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda keys: {"root": keys["release"]}, id="one key in two places"),
        pytest.param(lambda keys: {"log-pq": keys["root-pq"]}, id="another algorithm"),
        pytest.param(lambda keys: {"../log": keys["log"]}, id="a role that climbs"),
        pytest.param(lambda keys: {"witness": keys["log"]}, id="an unknown role"),
        pytest.param(lambda _: {"root": ""}, id="no key"),
    ],
)
def test_impossible_keys_are_refused(change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Every role has one key of its algorithm and its own."""
    value = json.loads(FIRST.encode())
    value["keys"] |= change(value["keys"])
    with pytest.raises(BadInput):
        TrustRoot.decode(canonical.encode(value))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"version": -1},
        {"version": "2"},
        {"quorum": 1},
        {"past": [{}]},
        {"revoked-workers": [{"key": "a", "records": 1, "time": str(NOW)}] * 2},
        {"witnesses": ["x"]},
        {"expires": ""},
        {"extra": 1},
    ],
)
def test_impossible_fields_are_refused(change: dict[str, Any]) -> None:
    """A trust root is read in its one form, or not at all."""
    with pytest.raises(BadInput):
        TrustRoot.decode(canonical.encode({**json.loads(FIRST.encode()), **change}))


def test_a_revoked_key_never_comes_back() -> None:
    """Keys that stand revoked in the past cannot be in force, nor can one of a pair."""
    with pytest.raises(BadInput, match="revoked"):
        KEYS.trust(2, past=(KEYS.era("release"),))
    mixed = replace(KEYS.with_new("release"), release_pq=KEYS.release_pq)
    with pytest.raises(BadInput, match="revoked"):
        mixed.trust(2, past=(KEYS.era("release"),))


@given(
    st.lists(st.sampled_from(["release", "log", "both"]), max_size=3),
    st.lists(st.sampled_from(["", "release", "log"]), min_size=3, max_size=3),
    st.integers(0, 2**40),
)
def test_every_history_reads_back_and_walks(parts: list[str], marks: list[str], records: int) -> None:
    """Law: a trust root reads back as itself, and any run of proper rotations walks from the first to the last."""
    keys, versions, steps, past = KEYS, [FIRST], [], []
    for number, (part, mark) in enumerate(zip(parts, marks, strict=False), 2):
        changed = ("release", "log") if part == "both" else (part,)
        past.append(keys.era(*([mark] if mark in changed else []), records=records))
        keys = keys.with_new(*changed)
        versions.append(keys.trust(number, past=tuple(past)))
        steps.append(seal_step(versions[-1], keys.roots))
    assert versions == [TrustRoot.decode(each.encode()) for each in versions]
    assert versions[-1] == walk(FIRST, steps)
    for start in range(len(versions)):
        assert versions[-1] == walk(versions[start], steps[start:])


@given(st.binary(max_size=200), st.integers(0, 10**6))
def test_no_changed_byte_is_a_step(noise: bytes, place: int) -> None:
    """A step with any byte changed, and any noise, is refused and never half believed."""
    step = bytearray(seal_step(ROTATED, KEYS.roots))
    place %= len(step)
    step[place] ^= 1
    for data in (bytes(step), noise):
        with pytest.raises(GatewrightError):
            next_trust(FIRST, data)
