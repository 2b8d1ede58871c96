"""Attacks on what stands beside a release: revocations, waivers, verification summaries.

- AU-06, CVE-2026-44309 (gitsign): one signed text that two parsers read differently.
- AU-07, CVE-2026-44310 (gitsign): zero signatures, empty thresholds.
- Mix-and-match: a true statement about another release; a true one taken away; a false one put there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Refused, Tampered
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.releases.envelope import IN_TOTO_PAYLOAD, Envelope, require, sealed
from gatewright.releases.in_toto import Statement
from gatewright.releases.judgements import Revocation, RevocationReason, Role, Waiver
from gatewright.releases.manifest import POLICY, REPORT, VERDICT
from gatewright.releases.statement import (
    Approval,
    ApprovalReference,
    Claim,
    Countersignature,
    encode_claim,
    open_claim,
    sealed_claim,
)
from gatewright.releases.summaries import VerificationSummary
from gatewright.releases.verification import require_deployable, verify_release
from unit.releases.workshop import (
    ENDPOINT,
    NOW,
    RELEASE_KEY,
    RELEASE_PQ_KEY,
    SIGNERS,
    STRANGER,
    STRANGER_PQ,
    TRUST,
    Made,
    MemorySigner,
    digests,
    made,
    resources,
    sealed_bytes,
    signed,
)

ONE, TWO = made(b"first model"), made(b"second model")
RULE = "performance.slices must be passed"


def summary(of: Made) -> VerificationSummary:
    """The honest summary of a release of the workshop."""
    found = digests(of.files)
    return VerificationSummary(
        root=of.root,
        origin=TRUST.origin,
        version="1",
        time=NOW,
        model=Name("breast-cancer"),
        model_version=2,
        tier=Name("low"),
        policy=found[POLICY],
        report=found[REPORT],
        verdict=found[VERDICT],
    )


def revocation(of: Made) -> Revocation:
    """A revocation of a release."""
    return Revocation(root=of.root, reason=RevocationReason.WRONG, words=Digest.of(b"words"), time=NOW)


def waiver(of: Made, rule: str = RULE) -> Waiver:
    """A waiver of one rule for a release."""
    return Waiver(
        root=of.root,
        rule=rule,
        principal="p-1",
        role=Role.APPROVER,
        words=Digest.of(b"words"),
        until=Instant(NOW.ns + 1),
        time=NOW,
    )


def waived() -> Made:
    """A release whose verdict shows one rule as waived, without any waiver beside it."""
    files = resources(b"third model", "needs-approval")
    verdict = canonical.decode(files[VERDICT])
    listed = {
        "principal": "p-1",
        "role": "approver",
        "rule": RULE,
        "time": str(NOW),
        "until": str(Instant(NOW.ns + 1)),
    }
    files[VERDICT] = canonical.encode({**verdict, "waivers": [listed]})
    return signed(files)


CLAIMS: tuple[Claim, ...] = (
    Countersignature(root=ONE.root),
    Approval(root=ONE.root, principal="p-1", role=Role.OWNER, verdict=ONE.root, time=NOW),
    ONE.decision(),
    revocation(ONE),
    waiver(ONE),
    summary(ONE),
)
EACH = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: type(claim).__name__)


def deploy(release: Made) -> None:
    """Verify a release with all that is beside it, and find its decision, as a worker does."""
    found = verify_release(
        resources=release.files, bundle=release.bundle, statements=release.statements, trust=TRUST
    )
    require_deployable(found, release.statements, TRUST, ENDPOINT)


def refusal(call: Callable[[], object]) -> str:
    """The code of the refusal that a call ends in."""
    with pytest.raises(GatewrightError) as caught:
        call()
    assert isinstance(caught.value, Refused | Tampered | BadInput)
    return caught.value.code


DECIDED = ONE.beside(sealed_bytes(ONE.decision()))


def test_what_the_attacks_start_from_is_accepted() -> None:
    """The honest release with decision and summary, and the waived one with its waiver, are accepted."""
    deploy(DECIDED.beside(sealed_bytes(summary(ONE))))
    third = waived()
    verify_release(
        resources=third.files,
        bundle=third.bundle,
        statements=third.beside(sealed_bytes(waiver(third))).statements,
        trust=TRUST,
    )


# Mix-and-match


def test_a_revoked_release_is_refused_wherever_it_lies() -> None:
    """With its revocation beside it no decision lets it answer, and verification tells of it."""
    revoked = DECIDED.beside(sealed_bytes(revocation(ONE)))
    assert "releases.revoked" == refusal(lambda: deploy(revoked))
    found = verify_release(
        resources=revoked.files, bundle=revoked.bundle, statements=revoked.statements, trust=TRUST
    )
    assert revocation(ONE) == found.revoked


@pytest.mark.parametrize("signer", SIGNERS, ids=["classical", "post-quantum"])
def test_half_of_a_revocation_revokes(signer: MemorySigner) -> None:
    """Taking one of the two signatures away does not bring the release back."""
    assert "releases.revoked" == refusal(
        lambda: deploy(DECIDED.beside(sealed_bytes(revocation(ONE), signer)))
    )


def test_a_strangers_revocation_is_named_not_obeyed_and_not_passed_over() -> None:
    """A revocation that no key of the home signed is tampering: the release is neither revoked nor fine."""
    for signers in ((STRANGER,), (STRANGER, STRANGER_PQ)):
        bad = DECIDED.beside(sealed_bytes(revocation(ONE), *signers))
        assert "releases.unsigned" == refusal(partial(deploy, bad))


@EACH
def test_a_statement_of_another_release_is_named(claim: Claim) -> None:
    """A true statement about one release beside another one, of every kind, is refused."""
    beside = TWO.beside(sealed_bytes(TWO.decision()), sealed_bytes(claim))
    assert "releases.other-root" == refusal(lambda: deploy(beside))


@pytest.mark.parametrize(
    "change",
    [
        {"policy": Digest.of(b"other")},
        {"report": Digest.of(b"other")},
        {"verdict": Digest.of(b"other")},
        {"tier": Name("high")},
        {"model": Name("other")},
        {"model_version": 3},
        {"waived": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_summary_that_contradicts_the_verdict_is_tampering(change: dict[str, object]) -> None:
    """Signed by both keys or not: what the summary says is what the root binds, in every part."""
    claim = replace(summary(ONE), **change)  # type: ignore[arg-type]
    assert "releases.summary" == refusal(lambda: deploy(DECIDED.beside(sealed_bytes(claim))))


@pytest.mark.parametrize("signers", [(RELEASE_KEY,), (RELEASE_PQ_KEY,), (STRANGER, STRANGER_PQ)])
def test_a_summary_needs_both_keys(signers: Sequence[MemorySigner]) -> None:
    """With one key of the home, or a stranger's two, it is named."""
    bad = DECIDED.beside(sealed_bytes(summary(ONE), *signers))
    assert "releases.unsigned" == refusal(lambda: deploy(bad))


def test_waivers_and_verdict_agree_in_both_directions() -> None:
    """A waived rule without its waiver, a waiver of another rule, and one that the verdict does not name are refused."""
    third = waived()
    other = third.beside(sealed_bytes(waiver(third)), sealed_bytes(waiver(third, "another rule")))
    later = replace(waiver(third), until=Instant(NOW.ns + 2))
    half = third.beside(sealed_bytes(waiver(third), RELEASE_KEY))
    for made_, code in (
        (third, "releases.no-waiver"),
        (other, "releases.other-waiver"),
        (third.beside(sealed_bytes(later)), "releases.other-waiver"),
        (half, "releases.unsigned"),
        (DECIDED.beside(sealed_bytes(waiver(ONE))), "releases.other-waiver"),
    ):
        assert code == refusal(partial(deploy, made_))


def test_a_deployment_after_the_waivers_end_is_named() -> None:
    """A decision that was signed once the waiver was over does not let the release answer."""
    third = waived()
    whole = third.beside(sealed_bytes(waiver(third)))
    late = replace(
        third.decision(approvals=(ApprovalReference(envelope=third.root, key_id="k"),)),
        time=Instant(NOW.ns + 1),
    )
    deploy(whole.beside(sealed_bytes(replace(late, time=NOW))))
    assert "releases.waiver-over" == refusal(lambda: deploy(whole.beside(sealed_bytes(late))))


def test_a_failed_summary_is_not_read() -> None:
    """A summary that says FAILED stands beside no release: its form is refused."""
    document = json.loads(encode_claim(summary(ONE)))
    document["predicate"]["verificationResult"] = "FAILED"
    payload = canonical.encode(document)
    bad = DECIDED.beside(sealed(IN_TOTO_PAYLOAD, payload, SIGNERS).encode())
    assert "releases.statement" == refusal(lambda: deploy(bad))


# AU-06: one text, two readings


@EACH
@pytest.mark.parametrize("way", ["duplicate", "spaces", "order", "escape", "extra", "subjects", "number"])
def test_au06_only_one_form_is_read(claim: Claim, way: str) -> None:
    """Duplicate keys, spaces, another order, escapes, further fields or subjects: signed or not, refused."""
    good = encode_claim(claim)
    document = json.loads(good)
    forms = {
        "duplicate": good.replace(b'"_type":', b'"_type":"x","_type":', 1),
        "spaces": json.dumps(document, sort_keys=True).encode(),
        "order": json.dumps(dict(reversed(document.items())), separators=(",", ":")).encode(),
        "escape": good.replace(b"release", b"r\\u0065lease", 1),
        "extra": canonical.encode({**document, "predicate": {**document["predicate"], "zz": 1}}),
        "subjects": canonical.encode({**document, "subject": [*document["subject"], *document["subject"]]}),
        "number": good + b" ",
    }
    payload = forms[way]
    assert payload != good
    with pytest.raises(BadInput):
        open_claim(sealed(IN_TOTO_PAYLOAD, payload, SIGNERS))


@EACH
def test_au06_the_envelope_has_one_form(claim: Claim) -> None:
    """The same for the envelope: duplicate keys, URL-safe or unpadded base64, spaces are refused."""
    good = sealed_claim(claim, SIGNERS).encode()
    payload = json.loads(good)["payload"]
    for bad in (
        good.replace(b'"payload":', b'"payload":"","payload":', 1),
        good.replace(payload.encode(), payload.rstrip("=").encode() + b"\\n", 1),
        json.dumps(json.loads(good)).encode(),
        good + b"\n",
        good.replace(payload.encode(), base64.urlsafe_b64encode(b"\xff\xfe" + base64.b64decode(payload)), 1),
    ):
        with pytest.raises(BadInput):
            Envelope.decode(bad)


# AU-07: nothing required, nothing signed


@EACH
def test_au07_zero_signatures_are_refused(claim: Claim) -> None:
    """An envelope without signatures is not read; one with none that counts proves nothing."""
    document = json.loads(sealed_claim(claim, SIGNERS).encode())
    document["signatures"] = []
    with pytest.raises(BadInput):
        Envelope.decode(canonical.encode(document))
    assert "releases.unsigned" == refusal(
        lambda: require(sealed_claim(claim, (STRANGER,)), [RELEASE_KEY.public])
    )


@EACH
def test_au07_an_empty_threshold_is_refused(claim: Claim) -> None:
    """Asking for no key at all is a refusal, not a success."""
    assert "releases.unsigned" == refusal(lambda: require(sealed_claim(claim, SIGNERS), []))


@EACH
def test_au07_an_empty_signature_is_refused(claim: Claim) -> None:
    """An empty signature under the right key's id does not hold."""
    document = json.loads(sealed_claim(claim, SIGNERS).encode())
    document["signatures"][0]["sig"] = ""
    assert "releases.signature" == refusal(
        lambda: require(Envelope.decode(canonical.encode(document)), [RELEASE_KEY.public])
    )


@pytest.mark.parametrize(
    "kind", ["urn:gatewright:revocation:v2", "https://slsa.dev/verification_summary/v2", ""]
)
def test_unknown_predicate_types_stop_verification(kind: str) -> None:
    """A statement of a kind that is not understood is not passed over: it may be a revocation."""
    payload = Statement(predicate_type=kind, subjects={"release": ONE.root}, predicate={}).encode()
    bad = DECIDED.beside(sealed(IN_TOTO_PAYLOAD, payload, SIGNERS).encode())
    assert "releases.predicate-type" == refusal(lambda: deploy(bad))
