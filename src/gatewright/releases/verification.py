"""Verification of a release: five steps, in order; the first thing that does not hold is named.

1. Hash every resource; exactly the named ones must be there; compute the root.
2. The bundle is signed by a trusted P-256 key, in force or of the past, over exactly these resources.
3. A countersignature about the same root is signed by the ML-DSA-65 key beside it; where these two
   were revoked, by both keys of a pair that counts.
4. ``release.json`` and ``signature.json`` are readable, and the first names this model's digest, and
   a time at which its keys signed.
5. The report is about this model; the verdict is about this report under this policy, and does not
   deny; and what else stands beside the release agrees with it (``agreement.py``).

Then, for an endpoint: :func:`require_deployable` finds an allowing deployment decision about this
root, signed by both release keys, and refuses a release that was revoked.

Everything that does not hold raises :class:`~gatewright.kernel.errors.Tampered` with its place; a
verdict that denies raises :class:`~gatewright.kernel.errors.Refused`. All bytes are given, hashed
once, here, and returned: what is verified is what is served.

Not here: whether a decision is the newest one (the signed traffic plan says so), and who may
approve (the policy says so).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refused, Tampered
from gatewright.models.signature import ModelSignature
from gatewright.models.signature_format import decode_signature
from gatewright.releases.agreement import Beside, require_agreement, revocation_among
from gatewright.releases.bundle import Bundle, decode_bundle, made_by, root_of_resources, verify_bundle
from gatewright.releases.envelope import Envelope, verify
from gatewright.releases.fields import Fields, held
from gatewright.releases.judgements import Revocation
from gatewright.releases.keys import PublicKey
from gatewright.releases.manifest import (
    MANIFEST,
    MODEL,
    POLICY,
    REPORT,
    RESOURCES,
    SIGNATURE,
    VERDICT,
    ReleaseManifest,
)
from gatewright.releases.statement import (
    Claim,
    Countersignature,
    DeploymentDecision,
    WorkerKey,
    open_claim,
)
from gatewright.releases.trust import ReleasePair, TrustRoot

STATEMENTS = 1_024
BUNDLE_PLACE = "bundle"

ALLOW = "allow"
DENY = "deny"
NEEDS_APPROVAL = "needs-approval"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRelease:
    """A release that passed all five steps, with the bytes that may be served.

    ``verdict`` is ``allow`` or ``needs-approval``; ``resources`` maps each file to its digest. ``model``
    is empty where only its digest was given. ``revoked`` is the revocation that stands beside it.
    """

    root: Digest
    manifest: ReleaseManifest
    signature: ModelSignature
    model: bytes
    verdict: str
    resources: Mapping[str, Digest]
    revoked: Revocation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadStatement:
    """A statement beside a release: its claim, and which of the asked keys signed it."""

    place: str
    envelope: Envelope
    claim: Claim
    signed_by: tuple[PublicKey, ...]


def read_statements(
    statements: Sequence[bytes], *, root: Digest, keys: Sequence[PublicKey]
) -> tuple[ReadStatement, ...]:
    """Read the statements kept beside a release; each must be readable and about this root.

    A statement that is not understood or about something else raises :class:`Tampered`, as does a
    signature that names one of ``keys`` and does not hold.
    """
    if len(statements) > STATEMENTS:
        raise Tampered("releases.statements", f"There are more than {STATEMENTS:,} statements.")
    found = []
    for index, data in enumerate(statements):
        place = f"statements[{index}]"
        envelope = held(place, Envelope.decode, data)
        signed_by = held(place, partial(verify, keys=keys), envelope)
        claim = held(place, open_claim, envelope)
        if isinstance(claim, WorkerKey) or claim.root != root:
            raise Tampered(
                "releases.other-root",
                "A statement beside the release is not about this release.",
                why=f"Its subject is not the root {root}.",
                next="Keep each statement beside the release that it is about.",
                place=place,
            )
        found.append(ReadStatement(place=place, envelope=envelope, claim=claim, signed_by=signed_by))
    return tuple(found)


def verify_release(
    *,
    resources: Mapping[str, bytes],
    bundle: bytes,
    statements: Sequence[bytes],
    trust: TrustRoot,
    model: Digest | None = None,
) -> VerifiedRelease:
    """Take a release through the five steps of the module's docstring.

    ``model`` is the digest of a model that the caller hashed where it lies, in place of its bytes in
    ``resources``: the release is verified as any other, and carries no bytes that could serve.
    """
    # 1. Hash every resource, compute the root.
    digests = {name: Digest.of(data) for name, data in resources.items()}
    if model is not None:
        digests.setdefault(MODEL, model)
    _require_names(digests)
    root = root_of_resources(digests)

    # 2. The bundle, by a trusted P-256 key, over exactly these resources.
    opened = held(BUNDLE_PLACE, decode_bundle, bundle)
    pair = _pair_of(opened, trust)
    if verify_bundle(opened, digests, pair.keys[0]) != root:
        raise Tampered(
            "releases.root", "The bundle's root is not the root of these files.", place=BUNDLE_PLACE
        )

    # 3. The ML-DSA-65 countersignature about the same root.
    beside = read_statements(statements, root=root, keys=trust.counting_keys)
    _require_countersignature(beside, pair, trust)

    # 4. The manifest and the model's signature.
    manifest = held(MANIFEST, ReleaseManifest.decode, resources[MANIFEST])
    _require_same(digests[MODEL], manifest.model, place=f"{MANIFEST}: model", of=MODEL)
    _require_made_in_time(manifest, pair, trust)
    signature = held(SIGNATURE, decode_signature, resources[SIGNATURE])

    # 5. The report about this model, the verdict about this report under this policy.
    report = held(REPORT, _document, resources[REPORT])
    _require_same(digests[MODEL], held(REPORT, report.digest, "model"), place=f"{REPORT}: model", of=MODEL)
    verdict = held(VERDICT, _document, resources[VERDICT])
    for field, name in (("report", REPORT), ("policy", POLICY)):
        _require_same(
            digests[name], held(VERDICT, verdict.digest, field), place=f"{VERDICT}: {field}", of=name
        )
    signed = [_beside(one, trust) for one in beside]
    require_agreement(signed, manifest=manifest, digests=digests, verdict=verdict)

    return VerifiedRelease(
        root=root,
        manifest=manifest,
        signature=signature,
        model=bytes(resources.get(MODEL, b"")),
        verdict=_require_no_denial(verdict),
        resources=digests,
        revoked=revocation_among(one.claim for one in beside),
    )


def _pair_of(bundle: Bundle, trust: TrustRoot) -> ReleasePair:
    """The release pair whose P-256 key signed a bundle; the one in force where none did."""
    pairs = trust.release_pairs
    return next((each for each in pairs if made_by(bundle, each.keys[0])), pairs[0])


def signer_of(bundle: bytes, trust: TrustRoot) -> PublicKey:
    """The release key that a bundle is to be verified with: the one in force, or one of the past."""
    return _pair_of(held(BUNDLE_PLACE, decode_bundle, bundle), trust).keys[0]


def _beside(one: ReadStatement, trust: TrustRoot) -> Beside:
    """Who answers for a statement: keys that might still sign at the time that it bears."""
    time = getattr(one.claim, "time", None)
    return Beside(
        place=one.place,
        claim=one.claim,
        by_one=any(time is None or trust.counts(key, time) for key in one.signed_by),
        by_both=trust.vouches(one.signed_by, time),
    )


def _require_names(resources: Mapping[str, Digest]) -> None:
    for name in sorted(set(resources) ^ set(RESOURCES)):
        extra = name in resources
        raise Tampered(
            "releases.files",
            f"The file {name[:120]!r} {'is not part of a release' if extra else 'is missing'}.",
            why=f"A release is exactly {', '.join(RESOURCES)}.",
            place=name[:120],
        )


def _require_countersignature(
    statements: Sequence[ReadStatement], pair: ReleasePair, trust: TrustRoot
) -> None:
    found = [one.signed_by for one in statements if isinstance(one.claim, Countersignature)]
    if pair.revoked and not any(map(trust.vouches, found)):
        raise Tampered(
            "releases.revoked-key",
            "The release was signed with keys that were revoked since, and nobody vouched for it again.",
            why="Somebody else may hold them: the bundle alone does not say that the owner made it.",
            next="Ask the owner for a new export; it carries a countersignature by the keys of now.",
            place="statements",
        )
    if not any(pair.keys[1] in signed_by or trust.vouches(signed_by) for signed_by in found):
        raise Tampered(
            "releases.no-countersignature",
            "No countersignature by the trusted ML-DSA-65 key stands beside the release.",
            why="A release counts only when both release keys signed its root.",
            place="statements",
        )


def _require_made_in_time(manifest: ReleaseManifest, pair: ReleasePair, trust: TrustRoot) -> None:
    """A countersignature bears no date: the release says when it was made, and its keys signed until they were retired."""
    if pair.revoked or trust.counts(pair.keys[0], manifest.created):
        return
    raise Tampered(
        "releases.made-later",
        "The release was made after its keys had stopped signing.",
        why=f"It says that it was made on {str(manifest.created)[:19]}Z.",
        next="Ask the owner how that came about.",
        place=f"{MANIFEST}: created",
    )


def _document(data: bytes) -> Fields:
    return Fields.read(canonical.decode_any(data), of="the document", code="releases.document")


def _require_same(actual: Digest, named: Digest, *, place: str, of: str) -> None:
    if actual != named:
        raise Tampered(
            "releases.mixed",
            f"The release names another {of} than the one it holds.",
            why=f"It names {named} and holds {actual}: pieces of different releases were mixed.",
            place=place,
        )


def _require_no_denial(verdict: Fields) -> str:
    decision = verdict.value.get("decision")
    if decision == DENY:
        raise Refused(
            "releases.denied",
            "The policy's verdict denies this release.",
            next=f"Read the reasons in {VERDICT}.",
            place=f"{VERDICT}: decision",
        )
    if decision not in (ALLOW, NEEDS_APPROVAL):
        raise Tampered(
            "releases.verdict",
            "The verdict's decision is not one that is known.",
            place=f"{VERDICT}: decision",
        )
    return str(decision)


def require_deployable(
    verified: VerifiedRelease, statements: Sequence[bytes], trust: TrustRoot, endpoint: str
) -> DeploymentDecision:
    """Return the allowing decision for this endpoint with the highest plan number.

    It must be about this root, signed by both release keys, and rest on the verdict in the
    release; where that verdict needs approval, on at least one approval. Raises :class:`Tampered`, and
    :class:`Refused` where the release was revoked.
    """
    beside = read_statements(statements, root=verified.root, keys=trust.counting_keys)
    require_not_revoked(verified)
    standing = [
        one
        for one in beside
        if isinstance(one.claim, DeploymentDecision)
        and one.claim.endpoint == endpoint
        and trust.vouches(one.signed_by, one.claim.time)
    ]
    decisions = []
    for one in standing:
        decision = one.claim
        assert isinstance(decision, DeploymentDecision)  # noqa: S101 - chosen just above
        _require_same(
            verified.resources[VERDICT], decision.verdict, place=f"{one.place}: verdict", of=VERDICT
        )
        if verified.verdict == NEEDS_APPROVAL and not decision.approvals:
            raise Tampered(
                "releases.no-approval",
                "The verdict asks for approval, and the deployment decision names none.",
                place=f"{one.place}: approvals",
            )
        decisions.append(decision)
    if not decisions:
        raise Tampered(
            "releases.no-decision",
            f"No deployment decision allows this release at the endpoint {endpoint[:80]!r}.",
            why="A release serves only where a decision about its root, signed by both release keys, says so.",
            next="Deploy it with 'gatewright deploy'.",
            place="statements",
        )
    return max(decisions, key=lambda decision: decision.plan)


def require_not_revoked(verified: VerifiedRelease) -> None:
    """Raise :class:`Refused` where a release was revoked."""
    found = verified.revoked
    if found is not None:
        manifest = verified.manifest
        raise Refused(
            "releases.revoked",
            f"{manifest.name}@{manifest.version} ({verified.root.short}) was revoked on {str(found.time)[:19]}Z "
            f"({found.reason}).",
            why="Its owner took it back for ever; what it answered before stays proven.",
            next="Ask the owner for another release.",
            place="statements",
        )
