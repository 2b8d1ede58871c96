"""Every statement of ours, judged by the public in-toto and DSSE libraries.

Sources: ``in-toto-attestation`` 0.9.3 (Statement v1 and the SLSA predicates as protocol buffers),
``securesystemslib`` 1.6.0 (DSSE). The latter hashes before it verifies ML-DSA, as TUF's TAP 21 has it and
DSSE has not, so it judges the P-256 signature; ours judges both.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.vsa.v1 import vsa_pb2  # type: ignore[import-untyped]
from in_toto_attestation.v1 import statement_pb2  # type: ignore[import-untyped]
from in_toto_attestation.v1.statement import (  # type: ignore[import-untyped]
    Statement as TheirStatement,
)
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.releases.envelope import Envelope, require
from gatewright.releases.judgements import Revocation, RevocationReason, Role, Waiver
from gatewright.releases.statement import (
    Approval,
    ApprovalReference,
    Claim,
    Countersignature,
    DeploymentDecision,
    WorkerKey,
    sealed_claim,
)
from gatewright.releases.summaries import VerificationSummary
from unit.releases.workshop import LOG_KEY, NOW, RELEASE_KEY, RELEASE_PQ_KEY, STRANGER

ROOT, OTHER = Digest.of(b"root"), Digest.of(b"other")
SUMMARY = VerificationSummary(
    root=ROOT,
    origin="gatewright/1 ä",
    version="0.4.0",
    time=NOW,
    model=Name("loans"),
    model_version=2,
    tier=Name("high"),
    policy=Digest.of(b"policy"),
    report=Digest.of(b"report"),
    verdict=Digest.of(b"verdict"),
)
CLAIMS: tuple[Claim, ...] = (
    Countersignature(root=ROOT),
    Approval(root=ROOT, principal="p-1", role=Role.APPROVER, verdict=OTHER, time=NOW, comment=OTHER),
    DeploymentDecision(
        root=ROOT,
        endpoint="loans",
        verdict=OTHER,
        approvals=(ApprovalReference(envelope=OTHER, key_id="k"),),
        plan=3,
        time=NOW,
    ),
    WorkerKey(public=LOG_KEY.public, valid_from=NOW, origin="gatewright/1"),
    Revocation(root=ROOT, reason=RevocationReason.UNSAFE, words=OTHER, time=NOW),
    Waiver(
        root=ROOT, rule="x must be y", principal="p-1", role=Role.OWNER, words=OTHER, until=Instant(NOW.ns + 1), time=NOW
    ),
    SUMMARY,
)  # fmt: skip
CLAIM = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: type(claim).__name__)


def sealed(claim: Claim) -> Any:
    """The JSON of the envelope that both release keys signed."""
    return json.loads(sealed_claim(claim, (RELEASE_KEY, RELEASE_PQ_KEY)).encode())


def their_key(signer: Any = RELEASE_KEY) -> SSlibKey:
    """A P-256 key of ours as their library holds it."""
    return SSlibKey.from_crypto(load_pem_public_key(signer.public.pem()), keyid=signer.public.id)


@CLAIM
def test_their_library_verifies_our_envelopes(claim: Claim) -> None:
    """The DSSE library finds the P-256 signature over its own encoding of the payload."""
    found = TheirEnvelope.from_dict(sealed(claim))
    assert {RELEASE_KEY.public.id} == set(found.verify([their_key()], 1))
    require(
        Envelope.decode(sealed_claim(claim, (RELEASE_KEY, RELEASE_PQ_KEY)).encode()), (RELEASE_PQ_KEY.public,)
    )


@CLAIM
def test_their_library_refuses_what_we_refuse(claim: Claim) -> None:
    """Another payload, another type and a stranger's key are refused by it, too."""
    found = TheirEnvelope.from_dict(sealed(claim))
    for change in ({"payload": found.payload + b" "}, {"payload_type": "application/json"}):
        other = TheirEnvelope.from_dict(sealed(claim))
        for name, value in change.items():
            setattr(other, name, value)
        with pytest.raises(VerificationError):
            other.verify([their_key()], 1)
    with pytest.raises(VerificationError):
        found.verify([their_key(STRANGER)], 1)


@CLAIM
def test_their_library_reads_our_statements(claim: Claim) -> None:
    """The payload is an in-toto Statement v1 without a field too many, and passes its validation."""
    parsed = json_format.Parse(TheirEnvelope.from_dict(sealed(claim)).payload, statement_pb2.Statement())
    statement = TheirStatement.copy_from_pb(parsed)
    if isinstance(claim, Countersignature):  # its predicate says nothing more than its type does
        parsed.predicate["root"] = "asked"
        statement = TheirStatement.copy_from_pb(parsed)
    statement.validate()
    subject = LOG_KEY.public.der if isinstance(claim, WorkerKey) else b"root"
    assert [Digest.of(subject).hex] == [one.digest["sha256"] for one in statement.pb.subject]


def test_the_summary_has_the_published_shape() -> None:
    """The predicate parses as the published VSA, but for two fields that are judged here."""
    # verifier.version, of SLSA 1.1, is newer than the parser, and the parser has verifiedLevels as
    # one text, where the specification has a list.
    payload = json.loads(TheirEnvelope.from_dict(sealed(SUMMARY)).payload)
    assert "https://slsa.dev/verification_summary/v1" == payload["predicateType"]
    predicate = payload["predicate"]
    assert {"gatewright": "0.4.0"} == predicate["verifier"].pop("version")
    assert ["SLSA_BUILD_LEVEL_0", "POLICY_TIER_HIGH"] == predicate.pop("verifiedLevels")
    parsed = json_format.ParseDict(predicate, vsa_pb2.VerificationSummary())
    assert "urn:gatewright:verifier:gatewright%2F1%20%C3%A4" == parsed.verifier.id
    assert f"pkg:generic/loans@2?checksum=sha256:{ROOT.hex}" == parsed.resource_uri
    assert NOW.ns == parsed.time_verified.ToNanoseconds()
    assert ("PASSED", "1.1") == (parsed.verification_result, parsed.slsa_version)
    assert {"sha256": Digest.of(b"policy").hex} == dict(parsed.policy.digest)
    assert all(one.uri.startswith("urn:gatewright:") for one in (parsed.policy, *parsed.input_attestations))
    assert [Digest.of(b"report").hex, Digest.of(b"verdict").hex] == [
        one.digest["sha256"] for one in parsed.input_attestations
    ]
