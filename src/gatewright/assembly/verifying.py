"""Verification with what the base installation has: no SQLAlchemy, no private key of the signer."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from gatewright.adapters.durable_files import HomeLock
from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.ledger_file import read_ledger
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly.settings import HOME_FOLDER, find_root, passphrase
from gatewright.deployments.plan import PLAN_FILE_BYTES, ReleaseRef, TrafficPlan, read_plan
from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.receipts import PredictionRecord, Receipt
from gatewright.ledger.segments import scan, verify_segment
from gatewright.operations import verify
from gatewright.operations.answers import Saved, request_in, saved_in
from gatewright.operations.files import read_file
from gatewright.operations.log_folder import read_kept, verify_log
from gatewright.operations.released import export
from gatewright.operations.verify import Verified
from gatewright.ports import Blobs
from gatewright.releases.trust import TrustRoot
from gatewright.releases.verification import VerifiedRelease

TRUST_FILE = "trust.json"
WORKERS_FOLDER = "workers"
TRUST_BYTES = 65_536
PASSPHRASE_NEEDED = "keys.passphrase-needed"  # noqa: S105 - the code of a refusal, no secret
CAME_ALONG = "The keys came with the evidence: compare the fingerprint with the one the owner gave you."


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Whom a verification believes: the public keys, where they lie, and what a person should know of that.

    ``home`` says that they are this home's own; ``compared`` that they have the fingerprint which the
    caller expected; ``came_along`` that they lie in the evidence itself.
    """

    root: TrustRoot
    place: Path
    home: bool
    compared: bool
    came_along: bool

    @property
    def sentence(self) -> str:
        """Whose keys, by the fingerprint that people compare."""
        whose = " (of this home)" if self.home else ""
        same = ", which is the expected one" if self.compared else ""
        return f"Trusted keys: {self.root.origin}, fingerprint {self.root.fingerprint().hex}{same}{whose}."

    @property
    def warning(self) -> str:
        """What weakens the verification, or nothing."""
        return CAME_ALONG if self.came_along and not self.compared else ""

    def facts(self) -> JsonObject:
        """The same for machines."""
        return {
            "origin": self.root.origin,
            "fingerprint": self.root.fingerprint().hex,
            "compared": self.compared,
            "warning": self.warning,
        }


def trusted(place: Path | None, *, evidence: Path | None = None, fingerprint: str = "") -> Trusted:
    """The public keys to believe: those named, or the home's; Tampered unless they have ``fingerprint``.

    ``fingerprint`` is the whole one or at least its first 16 hexadecimal characters.
    """
    expected = _fingerprint(fingerprint)
    file = _trust_place(place)
    root = _trust(file)
    found = root.fingerprint().hex
    if not found.startswith(expected):
        raise Tampered(
            "assembly.other-fingerprint",
            "The keys are not those you expect.",
            why=f"Their fingerprint is {found}.",
            next="Ask the owner for trust.json and its fingerprint, by two different ways.",
            place=str(file),
        )
    return Trusted(
        root=root,
        place=file,
        home=place is None,
        compared=bool(expected),
        came_along=place is not None and evidence is not None and _came_along(file, evidence),
    )


def _fingerprint(text: str) -> str:
    expected = "".join(text.lower().removeprefix("sha256:").replace(":", " ").split())
    if text and not re.fullmatch(r"[0-9a-f]{16,64}", expected):
        raise Misuse(
            "assembly.fingerprint",
            f"{text[:80]!r} is no fingerprint.",
            next="Give the 64 hexadecimal characters that the owner gave you, or at least the first 16.",
        )
    return expected


def _came_along(file: Path, evidence: Path) -> bool:
    """Whether the keys lie in the evidence: inside its folder, beside its file, or in an exported release."""
    keys, proof = file.resolve(), evidence.resolve()
    within = proof in keys.parents if proof.is_dir() else proof.parent == keys.parent
    return within or verify.is_export(keys.parent)


def verify_path(
    path: Path, trust: Path | Trusted | None, *, request: Path | None = None, kept: Sequence[Path] = ()
) -> Verified:
    """Verify one release folder, log, ledger, receipt or saved answer against a trust root given apart, or the home's.

    ``request`` is the JSON request that an answer belongs to, to compare its inputs; ``kept`` are
    checkpoints that a log must extend.
    """
    kind = verify.what_is(path)
    whom = trust if isinstance(trust, Trusted) else trusted(trust, evidence=path)
    if request is not None and kind != "receipt":
        raise Misuse(
            "assembly.request",
            f"A request belongs to an answer; {path} is a {kind}.",
            next="Name the saved answer first: gatewright verify ANSWER --request REQUEST",
        )
    if kept and kind != "log":
        raise Misuse(
            "assembly.kept",
            f"A kept checkpoint is compared with a log; {path} is a {kind}.",
            next="Name the folder that 'gatewright evidence log' wrote.",
        )
    if kind == "release":
        return verify.release_folder(path, whom.root)
    if kind == "log":
        return verify_log(path, whom.root, kept=[read_kept(each) for each in kept])
    if kind == "ledger":
        found = read_ledger(path)
        return verify.ledger(found.leaves, found.checkpoint, found.disagreements, whom.root)
    folder = whom.place.parent
    saved = saved_in(read_file(path, limit=verify.RECEIPT_BYTES))
    if verify.is_export(folder):
        known: VerifiedRelease | None = verify.exported(folder, whom.root)[0]
    else:
        known = _own_release(saved, whom, needed=request is not None) if whom.home else None
    return verify.receipt(
        saved,
        whom.root,
        _certificates(folder),
        request=None if request is None else request_in(read_file(request, limit=verify.RECEIPT_BYTES)),
        known=known,
    )


def _own_release(saved: Saved, whom: Trusted, *, needed: bool) -> VerifiedRelease | None:
    """The release that answered, where this home made it and its ledger can be read here; verified as an export is.

    Where it is not ``needed``, a home whose keys are encrypted and no passphrase given is as none.
    """
    if find_spec("sqlalchemy") is None:
        return None
    from gatewright.assembly.homes import read_home  # noqa: PLC0415 - needs the studio

    root = PredictionRecord.decode(Receipt.parse(saved.token).leaf).release
    if not needed and _data_key(whom.place.parent) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="gatewright-release-") as place, read_home(whom.place) as home:
        try:
            folder = export(home, root.hex, Path(place) / "export")
        except Misuse:
            return None
        return verify.exported(folder, whom.root)[0]


def verify_home(start: Path, whom: Trusted | None = None) -> Iterable[Verified]:
    """Verify everything of a home: ledger, tables, segments, plan, stored contents, releases of the plan.

    Without the passphrase of encrypted keys what is stored in plain is verified, and then Misuse
    says what was not.
    """
    folder = find_root(start, os.environ) / HOME_FOLDER
    trust = _trust(folder / TRUST_FILE) if whom is None else whom.root
    key = _data_key(folder)
    with HomeLock(folder / "lock"):  # the collector moves segments while it holds the lock
        found = read_ledger(folder / "ledger.db")
        digests = _segments(folder, trust)
        published = _published(folder)
    yield verify.ledger(found.leaves, found.checkpoint, found.disagreements, trust)
    yield verify.projections(found.leaves, found.documents)
    yield verify.sealed_segments(found.leaves, digests)
    _require_recorded(published, found.documents.get(("plan", "now")))
    plan = read_plan(published, trust) if published else None
    if plan is not None:
        yield _verified_plan(plan, Instant(time.time_ns()))
    if key is None:
        raise Misuse(
            "assembly.partly-verified",
            "Not verified: the stored contents and the releases in them, which need the passphrase.",
            why="The keys of this home are encrypted, and no passphrase was given.",
            next="Set GATEWRIGHT_PASSPHRASE_FILE to a file that holds it, and verify again.",
        )
    blobs = LocalBlobs(folder / "blobs", key)
    yield _verify_blobs(blobs)
    for endpoint in () if plan is None else plan.endpoints:
        for reference in endpoint.releases():
            yield _verify_reference(reference, endpoint.endpoint, trust, blobs)


def _data_key(folder: Path) -> bytes | None:
    """The key of the stored contents, or None where it is encrypted and no passphrase was given."""
    secret = passphrase(os.environ)
    try:
        return KeyFolder(folder=folder / "keys", passphrase=secret).data_key()
    except Misuse as error:
        if error.code == PASSPHRASE_NEEDED:
            return None
        raise


def _verify_blobs(blobs: LocalBlobs) -> Verified:
    count = 0
    for digest in blobs.digests():
        blobs.get(digest)
        count += 1
    return Verified(
        kind="blobs",
        sentence=f"All {count} stored contents are what their digests say.",
        facts={"blobs": count},
    )


def _published(folder: Path) -> bytes:
    place = folder / "plan.dsse"
    return read_file(place, limit=PLAN_FILE_BYTES) if os.path.lexists(place) else b""


def _require_recorded(published: bytes, pointer: bytes | None) -> None:
    """The plan that workers read is the one that the ledger recorded last."""
    recorded = None if pointer is None else Digest(canonical.decode(pointer)["plan"])
    if (Digest.of(published) if published else None) != recorded:
        raise Tampered(
            "assembly.plan-not-recorded",
            "The published traffic plan is not the one that the ledger recorded last.",
            why="It was removed or replaced, or a process died before it published the newest.",
            next="Any command that changes something publishes the recorded plan again, unless the ledger is older.",
            place="plan.dsse",
        )


def _verified_plan(plan: TrafficPlan, now: Instant) -> Verified:
    """What holds of a signed plan; one that is past its time is named as that, and is nobody's forgery."""
    expired = plan.expires is not None and plan.expires <= now
    until = ""
    if plan.expires is not None:
        day = str(plan.expires)[:10]
        until = f" It expired on {day}: no worker answers by it." if expired else f" It is good until {day}."
    return Verified(
        kind="plan",
        sentence=f"Traffic plan {plan.number} is signed by both release keys.{until}",
        facts={
            "number": plan.number,
            "endpoints": [str(one.endpoint) for one in plan.endpoints],
            "expires": None if plan.expires is None else str(plan.expires),
            "expired": expired,
        },
    )


def _verify_reference(reference: ReleaseRef, endpoint: str, trust: TrustRoot, blobs: Blobs) -> Verified:
    verified = verify.planned(reference, endpoint, trust, blobs)
    return Verified(
        kind="release",
        sentence=f"{reference.model}@{reference.version} on {endpoint} is release {verified.root.short}, decided for it.",
        facts={
            "endpoint": endpoint,
            "root": verified.root.hex,
            "model": f"{reference.model}@{reference.version}",
        },
    )


def _segments(folder: Path, trust: TrustRoot) -> Mapping[str, Digest]:
    """The sealed segments whose signatures hold, by id: the digests of their files."""
    workers = verify.certified_workers(trust, _certificates(folder))
    digests: dict[str, Digest] = {}
    for path in sorted((folder / "segments").rglob("*.sealed")):
        content = read_file(path)
        found = scan(content)
        verify_segment(found, workers)
        digests[found.header.segment] = Digest.of(content)
    return digests


def _trust_place(place: Path | None) -> Path:
    """The file of public keys to believe: exactly the one named, ``trust.json`` of a folder, or the home's."""
    if place is not None:
        return place / TRUST_FILE if place.is_dir() else place
    try:
        return find_root(Path.cwd(), os.environ) / HOME_FOLDER / TRUST_FILE
    except Misuse as error:
        raise Misuse(
            error.code,
            "There is no home here whose keys could be trusted, and none were named.",
            next="Name the folder that holds the owner's trust.json: --trust FOLDER",
        ) from None


def _trust(place: Path) -> TrustRoot:
    if not place.is_file():
        raise Misuse(
            "assembly.no-trust",
            f"There is no {place.name} in {place.parent}.",
            next="Name the folder that holds the owner's trust.json: --trust FOLDER",
        )
    return TrustRoot.decode(read_file(place, limit=TRUST_BYTES))


def _certificates(folder: Path) -> Iterable[bytes]:
    return [
        read_file(path, limit=verify.STATEMENT_BYTES)
        for path in sorted((folder / WORKERS_FOLDER).glob("*.dsse.json"))
    ]
