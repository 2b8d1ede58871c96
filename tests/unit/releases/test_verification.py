"""The five steps of verification, and the deployment decision."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import GatewrightError, Refused, Tampered
from gatewright.releases.bundle import sealed_bundle
from gatewright.releases.envelope import IN_TOTO_PAYLOAD, sealed
from gatewright.releases.manifest import MANIFEST, MODEL, POLICY, REPORT, RESOURCES, SIGNATURE, VERDICT
from gatewright.releases.statement import (
    Approval,
    ApprovalReference,
    Countersignature,
    Role,
    Statement,
)
from gatewright.releases.verification import (
    STATEMENTS,
    VerifiedRelease,
    require_deployable,
    verify_release,
)
from unit.releases.workshop import (
    ENDPOINT,
    NOW,
    RELEASE_KEY,
    RELEASE_PQ_KEY,
    STRANGER,
    STRANGER_PQ,
    TRUST,
    Made,
    MemorySigner,
    digests,
    made,
    manifest,
    resources,
    sealed_bytes,
    signature,
    signed,
)

HONEST = made()


def verified(release: Made) -> VerifiedRelease:
    """Verify a release against the test's trust root."""
    return verify_release(
        resources=release.files, bundle=release.bundle, statements=release.statements, trust=TRUST
    )


def place_of(release: Made) -> str:
    """Where verification finds tampering."""
    with pytest.raises(Tampered) as caught:
        verified(release)
    return caught.value.refusal.place


def with_file(name: str, data: bytes) -> Made:
    """A release with one file replaced before an honest signature."""
    return signed({**resources(), name: data})


def test_honest_release_verifies() -> None:
    """What was released is returned: root, manifest, signature and the exact model bytes."""
    found = verified(HONEST)
    assert HONEST.root == found.root
    assert manifest(b"model bytes") == found.manifest
    assert signature() == found.signature
    assert HONEST.files[MODEL] == found.model
    assert digests(HONEST.files) == found.resources
    assert "allow" == found.verdict


def test_same_bytes_are_returned_that_were_hashed() -> None:
    """The model that may be served is the very object that was hashed, not a second reading."""
    assert HONEST.files[MODEL] is verified(HONEST).model


@given(st.sampled_from(RESOURCES), st.data())
@settings(max_examples=60)
def test_any_changed_byte_is_found_in_its_file(name: str, data: st.DataObject) -> None:
    """Step 2: one changed bit in any file is tampering, and the file is named."""
    changed = bytearray(HONEST.files[name])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    files = {**HONEST.files, name: bytes(changed)}
    assert name == place_of(Made(files=files, bundle=HONEST.bundle, statements=HONEST.statements))


@pytest.mark.parametrize("name", RESOURCES)
def test_missing_file_is_named(name: str) -> None:
    """Step 1: a missing file is tampering, even when everything left is signed."""
    assert name == place_of(signed({key: data for key, data in HONEST.files.items() if key != name}))


@pytest.mark.parametrize("name", ["extra.bin", "../model.onnx", "MODEL.ONNX", ""])
def test_extra_file_is_named(name: str) -> None:
    """Step 1: a file that is no part of a release is tampering, even when it is signed."""
    assert name == place_of(signed({**HONEST.files, name: b"x"}))


def test_bundle_of_another_key_is_refused() -> None:
    """Step 2: a bundle that somebody else signed does not count."""
    bundle = sealed_bundle(digests(HONEST.files), STRANGER)
    with pytest.raises(Tampered, match="another key"):
        verified(Made(files=HONEST.files, bundle=bundle, statements=HONEST.statements))


@pytest.mark.parametrize("bundle", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_unreadable_bundle_is_tampering(bundle: bytes) -> None:
    """Step 2: a bundle that cannot be read is evidence that does not hold."""
    assert place_of(Made(files=HONEST.files, bundle=bundle)).startswith("bundle")


@pytest.mark.parametrize(
    "signers",
    [(), (RELEASE_KEY,), (STRANGER_PQ,), (STRANGER, STRANGER_PQ)],
    ids=["none", "p256", "pq", "both"],
)
def test_countersignature_by_the_trusted_key_is_required(signers: tuple[MemorySigner, ...]) -> None:
    """Step 3: without a countersignature by the trusted ML-DSA-65 key there is no release."""
    found = (sealed_bytes(Countersignature(root=HONEST.root), *signers),) if signers else ()
    assert "statements" == place_of(Made(files=HONEST.files, bundle=HONEST.bundle, statements=found))


def test_decision_is_no_countersignature() -> None:
    """Step 3: another statement by the ML-DSA-65 key does not stand in for the countersignature."""
    found = (sealed_bytes(HONEST.decision()),)
    assert "statements" == place_of(Made(files=HONEST.files, bundle=HONEST.bundle, statements=found))


def test_unknown_statement_beside_a_release_is_refused() -> None:
    """Step 3: a statement that is not understood may be a revocation, and is not passed over."""
    statement = Statement(
        predicate_type="urn:gatewright:recall:v1", subjects={"release": HONEST.root}, predicate={}
    )
    envelope = sealed_like(statement)
    assert "statements[1]: predicateType" == place_of(HONEST.beside(envelope))


def sealed_like(statement: Statement) -> bytes:
    """An envelope of any statement by both release keys."""
    return sealed(IN_TOTO_PAYLOAD, statement.encode(), (RELEASE_KEY, RELEASE_PQ_KEY)).encode()


def test_too_many_statements_are_refused() -> None:
    """Step 3: the number of statements is bounded before any is read."""
    assert "" == place_of(HONEST.beside(*([b""] * STATEMENTS)))


def test_manifest_about_another_model_is_named() -> None:
    """Step 4: a manifest of another model's digest is tampering, though signed."""
    assert "release.json: model" == place_of(with_file(MANIFEST, manifest(b"another").encode()))


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE, REPORT, VERDICT])
@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\x80\x04", b'{"a":1,"a":2}'])
def test_unreadable_documents_are_named(name: str, data: bytes) -> None:
    """Steps 4 and 5: a document that cannot be read is tampering, though signed."""
    assert place_of(with_file(name, data)).startswith(name)


def test_report_about_another_model_is_named() -> None:
    """Step 5: a report of another model is tampering, though signed."""
    report = canonical.encode({"model": Digest.of(b"another").hex})
    assert "report.json: model" == place_of(with_file(REPORT, report))


@pytest.mark.parametrize(("field", "name"), [("report", REPORT), ("policy", POLICY)])
def test_verdict_about_other_pieces_is_named(field: str, name: str) -> None:
    """Step 5: a verdict on another report or under another policy is tampering, though signed."""
    verdict = canonical.decode(HONEST.files[VERDICT])
    verdict[field] = Digest.of(b"another").hex
    assert f"verdict.json: {field}" == place_of(with_file(VERDICT, canonical.encode(verdict)))
    assert name in HONEST.files


def test_mixed_pieces_of_two_releases_are_found() -> None:
    """Step 5: the report of one honest release in another is found, though all of it is signed."""
    other = resources(b"another model")
    assert "report.json: model" == place_of(with_file(REPORT, other[REPORT]))


def test_denial_is_a_refusal() -> None:
    """Step 5: a verdict that denies is a refusal, not tampering."""
    with pytest.raises(Refused, match="denies"):
        verified(made(decision="deny"))


@pytest.mark.parametrize("decision", ["", "ALLOW", "allowed", "unknown"])
def test_unknown_decision_never_passes(decision: str) -> None:
    """Step 5: a decision that is not one of the three is tampering."""
    assert "verdict.json: decision" == place_of(made(decision=decision))


@pytest.mark.parametrize("decision", [True, None, 1, ["allow"]])
def test_decision_that_is_no_text_never_passes(decision: object) -> None:
    """Step 5: a decision of another type is tampering."""
    verdict = {**canonical.decode(HONEST.files[VERDICT]), "decision": decision}
    assert "verdict.json: decision" == place_of(with_file(VERDICT, canonical.encode(verdict)))


def test_decision_lets_a_release_serve() -> None:
    """A decision by both release keys about root and endpoint lets the release serve there."""
    statements = (*HONEST.statements, sealed_bytes(HONEST.decision()))
    assert HONEST.decision() == require_deployable(verified(HONEST), statements, TRUST, ENDPOINT)


def test_newest_decision_is_returned() -> None:
    """Of several decisions for one endpoint the one with the highest plan number is returned."""
    several = tuple(sealed_bytes(HONEST.decision(plan=plan)) for plan in (3, 9, 4))
    assert 9 == require_deployable(verified(HONEST), several, TRUST, ENDPOINT).plan


def not_deployable(release: Made, *statements: bytes, endpoint: str = ENDPOINT) -> GatewrightError:
    """Why the statements do not let the release serve."""
    with pytest.raises(Tampered) as caught:
        require_deployable(verified(release), statements, TRUST, endpoint)
    return caught.value


@pytest.mark.parametrize(
    "signers", [(RELEASE_KEY,), (RELEASE_PQ_KEY,), (STRANGER, STRANGER_PQ), (RELEASE_KEY, STRANGER_PQ)]
)
def test_decision_needs_both_release_keys(signers: tuple[MemorySigner, ...]) -> None:
    """One release key alone decides nothing."""
    error = not_deployable(HONEST, sealed_bytes(HONEST.decision(), *signers))
    assert "releases.no-decision" == error.code


def test_two_half_signed_decisions_are_not_one() -> None:
    """Two envelopes with one signature each do not add up to one with both."""
    halves = (
        sealed_bytes(HONEST.decision(), RELEASE_KEY),
        sealed_bytes(HONEST.decision(), RELEASE_PQ_KEY),
    )
    assert "releases.no-decision" == not_deployable(HONEST, *halves).code


@pytest.mark.parametrize("endpoint", ["other", "", "Breast-Cancer", "breast-cancer "])
def test_decision_holds_for_its_endpoint_only(endpoint: str) -> None:
    """A decision about one endpoint says nothing of another."""
    error = not_deployable(HONEST, sealed_bytes(HONEST.decision()), endpoint=endpoint)
    assert "releases.no-decision" == error.code


def test_no_statement_is_no_decision() -> None:
    """Without any statement nothing is deployable."""
    assert "releases.no-decision" == not_deployable(HONEST).code


def test_needed_approval_must_be_named() -> None:
    """Where the verdict needs approval, a decision that names none is tampering."""
    waiting = made(decision="needs-approval")
    error = not_deployable(waiting, sealed_bytes(waiting.decision()))
    assert ("releases.no-approval", "statements[0]: approvals") == (error.code, error.refusal.place)
    named = (ApprovalReference(envelope=Digest.of(b"e"), key_id="k"),)
    decided = waiting.decision(approvals=named)
    found = require_deployable(verified(waiting), (sealed_bytes(decided),), TRUST, ENDPOINT)
    assert named == found.approvals


def test_decision_on_another_verdict_is_tampering() -> None:
    """A decision that rests on another verdict than the release's is tampering."""
    other = made(decision="needs-approval").decision()
    mixed = HONEST.decision()
    forged = type(mixed)(
        root=mixed.root, endpoint=ENDPOINT, verdict=other.verdict, approvals=(), plan=1, time=NOW
    )
    assert "statements[0]: verdict" == not_deployable(HONEST, sealed_bytes(forged)).refusal.place


def test_approvals_by_strangers_do_no_harm() -> None:
    """A statement by a key that the trust root does not know is read, and counts for nothing here."""
    approval = Approval(root=HONEST.root, principal="p", role=Role.OWNER, verdict=Digest.of(b"v"), time=NOW)
    assert HONEST.root == verified(HONEST.beside(sealed_bytes(approval, STRANGER))).root


@given(st.dictionaries(st.sampled_from((*RESOURCES, "x")), st.binary(max_size=40)), st.binary(max_size=200))
@settings(max_examples=60)
def test_arbitrary_bytes_never_verify(files: Mapping[str, bytes], bundle: bytes) -> None:
    """Whatever bytes are handed in, verification ends in a reasoned refusal."""
    with pytest.raises(Tampered):
        verify_release(resources=files, bundle=bundle, statements=(bundle,), trust=TRUST)
