"""in-toto statements and the claims they carry."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.kernel.instants import Instant
from gatewright.releases.envelope import Envelope, sealed
from gatewright.releases.in_toto import Statement
from gatewright.releases.judgements import Revocation, RevocationReason, Role, Waiver
from gatewright.releases.statement import (
    APPROVAL,
    COUNTERSIGNATURE,
    DEPLOYMENT_DECISION,
    WORKER_KEY,
    Approval,
    ApprovalReference,
    Claim,
    Countersignature,
    DeploymentDecision,
    WorkerKey,
    decode_claim,
    encode_claim,
    open_claim,
    sealed_claim,
    to_statement,
)
from gatewright.releases.summaries import VerificationSummary
from unit.releases.workshop import LOG_KEY, NOW, RELEASE_KEY

_digests = st.binary(min_size=32, max_size=32).map(Digest.from_raw)
_instants = st.integers(0, 4_000_000_000 * 10**9).map(Instant)
_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
_names = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
_references = st.builds(ApprovalReference, envelope=_digests, key_id=_texts)
_claims: st.SearchStrategy[Claim] = st.one_of(
    st.builds(Countersignature, root=_digests),
    st.builds(
        Approval,
        root=_digests,
        principal=_texts,
        role=st.sampled_from(Role),
        verdict=_digests,
        time=_instants,
        comment=st.none() | _digests,
    ),
    st.builds(
        DeploymentDecision,
        root=_digests,
        endpoint=_names,
        verdict=_digests,
        approvals=st.lists(_references, max_size=3).map(tuple),
        plan=st.integers(0, 2**53 - 1),
        time=_instants,
        decision=st.just("allow"),
    ),
    st.builds(WorkerKey, public=st.just(LOG_KEY.public), valid_from=_instants, origin=_texts),
    st.builds(
        Revocation, root=_digests, reason=st.sampled_from(RevocationReason), words=_digests, time=_instants
    ),
    st.builds(
        Waiver,
        root=_digests,
        rule=_texts,
        principal=_texts,
        role=st.sampled_from(Role),
        words=_digests,
        until=_instants,
        time=_instants,
    ),
    st.builds(
        VerificationSummary,
        root=_digests,
        origin=_texts,
        version=_texts,
        time=_instants,
        model=_names,
        model_version=st.integers(1, 9_999),
        tier=st.sampled_from(("low", "high")),
        policy=_digests,
        report=_digests,
        verdict=_digests,
        waived=st.booleans(),
    ),
)
ROOT, VERDICT = Digest.of(b"root"), Digest.of(b"verdict")
APPROVED = Approval(root=ROOT, principal="p-1", role=Role.OWNER, verdict=VERDICT, time=NOW)
DECIDED = DeploymentDecision(root=ROOT, endpoint="e", verdict=VERDICT, approvals=(), plan=1, time=NOW)
FIRST_CERTIFIED = WorkerKey(public=LOG_KEY.public, valid_from=NOW, origin="o")
CERTIFIED = replace(FIRST_CERTIFIED, valid_until=Instant(NOW.ns + 1))


@given(_claims)
@settings(max_examples=150)
def test_claims_round_trip(claim: Claim) -> None:
    """Every claim reads back as itself, from one form."""
    payload = encode_claim(claim)
    assert claim == decode_claim(payload)
    assert payload == encode_claim(decode_claim(payload))


@given(
    st.builds(
        Statement,
        predicate_type=_texts,
        subjects=st.dictionaries(_texts, _digests, min_size=1, max_size=4),
        predicate=st.dictionaries(_texts, st.none() | st.booleans() | _texts, max_size=3),
    )
)
@settings(max_examples=100)
def test_statements_round_trip(statement: Statement) -> None:
    """A statement of any predicate type reads back as itself."""
    assert statement == Statement.decode(statement.encode())


@pytest.mark.parametrize(
    ("claim", "predicate_type"),
    [
        (Countersignature(root=ROOT), COUNTERSIGNATURE),
        (APPROVED, APPROVAL),
        (DECIDED, DEPLOYMENT_DECISION),
        (CERTIFIED, WORKER_KEY),
        (FIRST_CERTIFIED, "urn:gatewright:worker-key:v1"),
    ],
)
def test_form_is_in_toto_version_1(claim: Claim, predicate_type: str) -> None:
    """The bytes are an in-toto Statement v1 with our predicate type and one SHA-256 subject."""
    value = canonical.decode(encode_claim(claim))
    assert "https://in-toto.io/Statement/v1" == value["_type"]
    assert predicate_type == value["predicateType"]
    assert ["sha256"] == list(value["subject"][0]["digest"])


def _changed(claim: Claim, **fields: object) -> bytes:
    """The payload of a claim with fields of its predicate changed or, with None, left out."""
    value = canonical.decode(encode_claim(claim))
    merged = {**value["predicate"], **fields}
    value["predicate"] = {key: found for key, found in merged.items() if found is not None}
    return canonical.encode(value)


@pytest.mark.parametrize(
    ("claim", "fields", "place"),
    [
        (Countersignature(root=ROOT), {"extra": 1}, "extra"),
        (APPROVED, {"role": "king"}, "role"),
        (APPROVED, {"role": None}, "role"),
        (APPROVED, {"principal": ""}, "principal"),
        (APPROVED, {"principal": "x" * 129}, "principal"),
        (APPROVED, {"verdict": "AB" * 32}, "verdict"),
        (APPROVED, {"time": "2026-03-03"}, "time"),
        (APPROVED, {"comment": 7}, "comment"),
        (DECIDED, {"decision": "deny"}, "decision"),
        (DECIDED, {"decision": ""}, "decision"),
        (DECIDED, {"plan": -1}, "plan"),
        (DECIDED, {"plan": True}, "plan"),
        (DECIDED, {"plan": 1.5}, "plan"),
        (DECIDED, {"endpoint": "Not A Name"}, "endpoint"),
        (DECIDED, {"approvals": {}}, "approvals"),
        (DECIDED, {"approvals": [{"envelope": ROOT.hex}]}, "key"),
        (DECIDED, {"approvals": ["x"]}, ""),
        (CERTIFIED, {"key": RELEASE_KEY.public.text()}, "key"),
        (CERTIFIED, {"key": "x"}, ""),
        (CERTIFIED, {"valid-until": str(NOW)}, "valid-until"),
    ],
)
def test_bad_fields_are_refused_by_name(claim: Claim, fields: dict[str, object], place: str) -> None:
    """A missing, unknown or ill-typed field is refused, and named."""
    with pytest.raises(BadInput) as caught:
        decode_claim(_changed(claim, **fields))
    assert place == caught.value.refusal.place


def test_unknown_predicate_type_is_refused() -> None:
    """A statement that is not understood is refused: it may be a revocation."""
    unknown = Statement(predicate_type="urn:gatewright:recall:v1", subjects={"release": ROOT}, predicate={})
    with pytest.raises(BadInput, match="not known here"):
        decode_claim(unknown.encode())


@pytest.mark.parametrize("subjects", [{"other": ROOT}, {"release": ROOT, "more": VERDICT}])
def test_claims_have_one_named_subject(subjects: dict[str, Digest]) -> None:
    """A claim about a release has the release as its one subject."""
    statement = Statement(predicate_type=COUNTERSIGNATURE, subjects=subjects, predicate={})
    with pytest.raises(BadInput, match="one subject"):
        decode_claim(statement.encode())


def test_worker_key_statement_is_about_its_key() -> None:
    """A worker-key statement whose subject is another key is refused."""
    found = to_statement(CERTIFIED)
    moved = Statement(
        predicate_type=found.predicate_type, subjects={"worker-key": ROOT}, predicate=found.predicate
    )
    with pytest.raises(BadInput, match="not the worker key"):
        decode_claim(moved.encode())


def test_subject_named_twice_is_refused() -> None:
    """Two subjects of one name cannot hide one another."""
    value = canonical.decode(encode_claim(Countersignature(root=ROOT)))
    value["subject"] = [*value["subject"], {"digest": {"sha256": VERDICT.hex}, "name": "release"}]
    with pytest.raises(BadInput, match="each once"):
        Statement.decode(canonical.encode(value))


def test_envelope_opens_only_with_the_in_toto_type() -> None:
    """A claim sealed under another payload type is not opened."""
    good = sealed_claim(APPROVED, (RELEASE_KEY,))
    assert APPROVED == open_claim(Envelope.decode(good.encode()))
    with pytest.raises(BadInput, match="not an in-toto statement"):
        open_claim(sealed("application/json", good.payload, (RELEASE_KEY,)))
