"""Verifying an exported release, offline: its files, its bundle, the statements beside it.

Raises Tampered, naming the first thing that does not hold by the name of its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.operations.bill_verification import require_bill
from gatewright.operations.files import digest_file, read_file
from gatewright.operations.trust_files import TRUST_FILE
from gatewright.operations.verify import BUNDLE_FILE, STATEMENT_BYTES, Verified
from gatewright.releases.judgements import Waiver
from gatewright.releases.manifest import MODEL, RESOURCES
from gatewright.releases.statement import Approval, Countersignature, DeploymentDecision
from gatewright.releases.trust import TrustRoot
from gatewright.releases.verification import (
    ReadStatement,
    VerifiedRelease,
    read_statements,
    require_not_revoked,
    verify_release,
)
from gatewright.releases.worker_keys import verify_worker_key

RESOURCE_BYTES = 64 * 1024**2
BUNDLE_PLACES = {"", "bundle", "dsseEnvelope", "mediaType", "verificationMaterial"}


def release_folder(folder: Path, trust: TrustRoot) -> Verified:
    """Verify what ``release export`` wrote: every file of it, each problem by the name of its file.

    Raises Refused for a release that holds and was revoked.
    """
    verified, claims = exported(folder, trust)
    require_not_revoked(verified)
    unvouched = sum(
        1 for one in claims if not one.signed_by and one.envelope.digest not in _rested_on(claims)
    )
    beside = (
        f" {unvouched} more beside it are of keys that the trusted ones do not vouch for."
        if unvouched
        else ""
    )
    return Verified(
        kind="release",
        sentence=f"{verified.manifest.name}@{verified.manifest.version} is release {verified.root.short}: "
        f"{len(verified.resources)} files, signed by both release keys; {len(claims) - unvouched} statements "
        f"about it hold.{beside}{_waived_rules(claims)}",
        facts=_release_facts(verified, claims),
    )


def _waived_rules(claims: Sequence[ReadStatement]) -> str:
    """Which rules the release does not satisfy and somebody waived, and until when."""
    waivers = [one.claim for one in claims if isinstance(one.claim, Waiver)]
    return "".join(f" A rule was waived until {str(one.until)[:10]}: {one.rule}." for one in waivers)


def exported(folder: Path, trust: TrustRoot) -> tuple[VerifiedRelease, Sequence[ReadStatement]]:
    """The release in an exported folder, and the statements about it, all verified."""
    signed = folder / "release"
    files = {
        path.relative_to(signed).as_posix(): path for path in sorted(signed.rglob("*")) if not path.is_dir()
    }
    model = files.pop(MODEL, None)
    statements = {
        f"statements/{path.name}": read_file(path, limit=STATEMENT_BYTES)
        for path in sorted((folder / "statements").glob("*"))
    }
    try:
        verified = verify_release(
            resources={name: _resource(name, path) for name, path in files.items()},
            bundle=read_file(folder / BUNDLE_FILE, limit=STATEMENT_BYTES),
            statements=list(statements.values()),
            trust=trust,
            model=None if model is None else digest_file(model),
        )
    except Tampered as error:
        raise _named(error, list(statements)) from None
    claims = read_statements(list(statements.values()), root=verified.root, keys=trust.counting_keys)
    try:
        _require_vouched(claims, trust)
    except Tampered as error:
        raise _named(error, list(statements)) from None
    _require_public_files(folder, trust)
    try:
        require_bill(folder, verified, claims, trust)
    except Tampered as error:
        raise _named(error, list(statements)) from None
    return verified, claims


def _resource(name: str, path: Path) -> bytes:
    """The bytes of a release's file; one of another name is refused by it, unread."""
    return read_file(path, limit=RESOURCE_BYTES) if name in RESOURCES else b""


def _named(error: Tampered, statements: Sequence[str]) -> Tampered:
    """The same problem, with the name of the exported file that has it."""
    place = error.refusal.place
    for index, name in enumerate(statements):
        place = place.replace(f"statements[{index}]", name)
    if place.partition(".")[0].partition("[")[0] in BUNDLE_PLACES:
        place = f"{BUNDLE_FILE}: {place}"
    refusal = error.refusal
    return Tampered(refusal.code, refusal.what, why=refusal.why, next=refusal.next, place=place)


def _rested_on(claims: Sequence[ReadStatement]) -> set[Digest]:
    """The envelopes of approvals that the deployment decisions among the claims name."""
    decisions = [one.claim for one in claims if isinstance(one.claim, DeploymentDecision)]
    return {rests_on.envelope for decision in decisions for rests_on in decision.approvals}


def _require_vouched(claims: Sequence[ReadStatement], trust: TrustRoot) -> None:
    """Each approval that a deployment decision rests on is beside it, byte for byte.

    The people's own keys are not in the trust root: the decision, signed by the release keys, says
    which envelopes counted. What only the release keys may say must carry both their signatures: with
    one of them taken away, a decision would no longer bind its approvals.
    """
    for one in claims:
        if isinstance(one.claim, Countersignature | DeploymentDecision) and not trust.vouches(one.signed_by):
            raise Tampered(
                "operations.half-signed",
                f"The statement {type(one.claim).__name__} beside the release does not carry both release keys' signatures.",
                why="A signature was taken away, or somebody else wrote it.",
                next="Ask for a new export.",
                place=one.place,
            )
    beside = {one.envelope.digest for one in claims if isinstance(one.claim, Approval)}
    for one in claims:
        if isinstance(one.claim, DeploymentDecision) and trust.vouches(one.signed_by, one.claim.time):
            for rests_on in one.claim.approvals:
                if rests_on.envelope not in beside:
                    raise Tampered(
                        "operations.approval-changed",
                        "An approval on which the deployment rests is missing or was changed.",
                        why=f"The decision names the envelope {rests_on.envelope}.",
                        next="Ask for a new export.",
                        place=f"statements/approval-{rests_on.key_id[:12]}.dsse.json",
                    )


def _require_public_files(folder: Path, trust: TrustRoot) -> None:
    """The public keys and certificates that travel with a release are the trusted ones, where they are there."""
    own = {pair.keys[0].pem() for pair in trust.release_pairs}
    for name, known in (("release.pub", own.__contains__), (TRUST_FILE, partial(_of_this_home, trust=trust))):
        place = folder / name
        if place.exists() and not known(read_file(place, limit=STATEMENT_BYTES)):
            raise Tampered(
                "operations.other-keys",
                f"{name} beside the release does not hold the keys it was verified with.",
                next="Use the trust.json that you received from the owner by another way.",
                place=name,
            )
    for place in sorted((folder / "workers").glob("*")):
        try:
            verify_worker_key(read_file(place, limit=STATEMENT_BYTES), trust)
        except (Tampered, BadInput) as error:
            raise Tampered(
                "operations.certificate",
                "A worker's certificate beside the release does not hold.",
                why=error.refusal.sentence(),
                place=f"workers/{place.name}",
            ) from None


def _of_this_home(data: bytes, trust: TrustRoot) -> bool:
    """Whether a file of public keys is the trusted one, or that of an earlier version of it."""
    try:
        found = TrustRoot.decode(data)
    except BadInput:
        return False
    if found.version >= trust.version:
        return found == trust
    past = {(era.origin, era.release_keys, era.log) for era in trust.past}
    return (found.origin, found.release_keys, found.log) in past | {
        (trust.origin, trust.release_keys, trust.log)
    }


def _release_facts(verified: VerifiedRelease, claims: Sequence[ReadStatement]) -> JsonObject:
    return {
        "root": verified.root.hex,
        "model": f"{verified.manifest.name}@{verified.manifest.version}",
        "files": {name: digest.hex for name, digest in verified.resources.items()},
        "verdict": verified.verdict,
        "statements": [type(one.claim).__name__ for one in claims],
    }
