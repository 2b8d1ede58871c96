"""Verification with what the base installation has: no SQLAlchemy, no private key of the signer."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from gatewright.adapters.durable_files import HomeLock
from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.ledger_file import read_ledger, require_whole
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly.kept_keys import require_keys, require_people, require_settings
from gatewright.assembly.settings import HOME_FOLDER, find_root, passphrase
from gatewright.assembly.trusting import home_trust, settled_trust
from gatewright.deployments.plan import PLAN_FILE_BYTES, ReleaseRef, TrafficPlan, read_plan
from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.log_receipts import LOG_RECEIPT_BYTES
from gatewright.ledger.receipts import PredictionRecord, Receipt
from gatewright.ledger.segments import scan, verify_segment
from gatewright.operations import ledger_verification, receipt_verification, release_verification, verify
from gatewright.operations.answers import Saved, request_in, saved_in
from gatewright.operations.files import read_file
from gatewright.operations.forks import put_back
from gatewright.operations.log_folder import read_kept, verify_log
from gatewright.operations.log_pass import Progress, say_nothing
from gatewright.operations.log_promises import held_against
from gatewright.operations.log_receipts import verify_proof
from gatewright.operations.released import export
from gatewright.operations.trust_files import FIRST_FILE, STEPS_FOLDER, follow, read_trust_file, versions
from gatewright.operations.verify import Verified
from gatewright.operations.verify_revocations import revocations
from gatewright.operations.witnessed import notes_beside, witnessed_home
from gatewright.ports import Blobs
from gatewright.releases.fields import held
from gatewright.releases.heads import Head, open_head
from gatewright.releases.trust import TRUST_BYTES, TrustRoot
from gatewright.releases.verification import VerifiedRelease

TRUST_FILE = "trust.json"
WORKERS_FOLDER = "workers"
KEY_MISSING = "keys.missing"
PASSPHRASE_NEEDED = "keys.passphrase-needed"  # noqa: S105 - the code of a refusal, no secret
CAME_ALONG = "The keys came with the evidence: compare the fingerprint with the one the owner gave you."


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Whom a verification believes: the public keys, where they lie, and what a person should know of that.

    ``home`` says that they are this home's own; ``compared`` that they have the fingerprint which the
    caller expected; ``came_along`` that they lie in the evidence itself.

    ``since`` is the version that has the expected fingerprint, or that was given, where the keys follow
    from an older one.
    """

    root: TrustRoot
    place: Path
    home: bool
    compared: bool
    came_along: bool
    since: int | None = None

    @property
    def sentence(self) -> str:
        """Whose keys, by the fingerprint that people compare."""
        whose = " (of this home)" if self.home else ""
        same = ", which is the expected one" if self.compared else ""
        if self.since is not None:
            known = "the expected one" if self.compared else "the one you gave"
            same = f" (version {self.root.version}), which follows by signed steps from version {self.since}, {known}"
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
            "version": self.root.version,
            "compared": self.compared,
            "since": self.since,
            "warning": self.warning,
        }


def trusted(place: Path | None, *, evidence: Path | None = None, fingerprint: str = "") -> Trusted:
    """The public keys to believe: those named, or the home's; Tampered unless they have ``fingerprint``.

    ``fingerprint`` is the whole one or at least its first 16 hexadecimal characters. That of an older
    version is followed through the signed steps in ``trust/`` beside ``trust.json``. Where the evidence brings
    newer keys with the signed steps that lead to them, they are followed; Tampered where they do not.
    """
    expected = _fingerprint(fingerprint)
    file = _trust_place(place)
    root = _trust(file)
    since = _followed(file, root, expected)
    later = root if place is None or evidence is None else _later(root, evidence)
    if later != root and since is None:
        since = root.version
    return Trusted(
        root=later,
        place=file,
        home=place is None,
        compared=bool(expected),
        came_along=place is not None and evidence is not None and _came_along(file, evidence),
        since=since,
    )


def _later(root: TrustRoot, evidence: Path) -> TrustRoot:
    """The newer public keys that lie in the evidence, where signed steps lead to them; else those given.

    Whoever brings the evidence cannot make such a step: the root keys of each version before signed it.
    """
    beside = evidence / TRUST_FILE
    if not beside.is_file() or read_trust_file(beside).version <= root.version:
        return root
    return follow(root, evidence)


def _followed(file: Path, root: TrustRoot, expected: str) -> int | None:
    """The older version whose fingerprint is the expected one; None where it is that of the keys themselves.

    Raises Tampered where no version has it, and where the steps beside the file do not lead to it.
    """
    steps = file.name == TRUST_FILE and (file.parent / STEPS_FOLDER / FIRST_FILE).is_file()
    known = list(versions(file.parent)) if steps else [root]
    if root.fingerprint().hex.startswith(expected):
        return None
    since = next((each.version for each in known if each.fingerprint().hex.startswith(expected)), None)
    if since is None:
        raise Tampered(
            "assembly.other-fingerprint",
            "The keys are not those you expect.",
            why=f"Their fingerprint is {root.fingerprint().hex} (version {root.version}), and no earlier version "
            "that they follow from has the one you gave.",
            next="Where yours is newer, this folder is old, or was put back: ask the owner for the newest trust.json "
            "and trust/, and for the fingerprint by another way.",
            place=str(file),
        )
    return since


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
    path: Path,
    trust: Path | Trusted | None,
    *,
    request: Path | None = None,
    kept: Sequence[Path] = (),
    say: Progress = say_nothing,
) -> Verified:
    """Verify one release folder, log, ledger, receipt or saved answer against a trust root given apart, or the home's.

    ``request`` is the JSON request that an answer belongs to, to compare its inputs; ``kept`` are
    checkpoints that a log must extend. ``say`` is told how far the reading of a log is.
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
        return release_verification.release_folder(path, whom.root)
    if kind == "log":
        return verify_log(path, whom.root, kept=[read_kept(each) for each in kept], say=say)
    if kind == "proof":
        content = read_file(path, limit=LOG_RECEIPT_BYTES)
        return verify_proof(content, whom.root, certificates(whom.place.parent))
    if kind == "ledger":
        found = read_ledger(path)
        told = ledger_verification.ledger(found.leaves, found.checkpoint, found.disagreements, whom.root)
        ledger_verification.require_newest_keys((leaf for leaf, _ in found.leaves), whom.root)
        return told
    folder = whom.place.parent
    saved = saved_in(read_file(path, limit=receipt_verification.RECEIPT_BYTES))
    if verify.is_export(folder):
        known: VerifiedRelease | None = release_verification.exported(folder, whom.root)[0]
    else:
        known = _own_release(saved, whom, needed=request is not None) if whom.home else None
    return receipt_verification.receipt(
        saved,
        whom.root,
        certificates(folder),
        request=None
        if request is None
        else request_in(read_file(request, limit=receipt_verification.RECEIPT_BYTES)),
        known=known,
    )


def verify_promise(path: Path, log: Path, whom: Trusted, say: Progress) -> Iterator[Verified]:
    """Hold the promise of a saved answer or receipt against an exported log; both are verified first."""
    if verify.what_is(path) != "receipt" or verify.what_is(log) != "log":
        raise Misuse(
            "assembly.promise",
            "A saved answer is held against an exported log.",
            next="Name both: gatewright verify ANSWER --log FOLDER",
        )
    yield verify_path(path, whom)
    yield verify_log(log, whom.root, say=say)
    token = saved_in(read_file(path, limit=receipt_verification.RECEIPT_BYTES)).token
    yield held_against(token, log, whom.root)


def _own_release(saved: Saved, whom: Trusted, *, needed: bool) -> VerifiedRelease | None:
    """The release that answered, where this home made it and its ledger can be read here; verified as an export is.

    Where it is not ``needed``, a home whose keys are encrypted and no passphrase given is as none.
    """
    if find_spec("sqlalchemy") is None:
        return None
    from gatewright.assembly.homes import read_home  # noqa: PLC0415 - needs the studio

    root = PredictionRecord.decode(Receipt.parse(saved.token).leaf).release
    if not needed and data_key(whom.place.parent) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="gatewright-release-") as place, read_home(whom.place) as home:
        try:
            folder = export(home, root.hex, Path(place) / "export")
        except Misuse:
            return None
        return release_verification.exported(folder, whom.root)[0]


def verify_home(start: Path, whom: Trusted | None = None) -> Iterable[Verified]:
    """Verify everything of a home: ledger, tables, segments, plan, stored contents, releases of the plan.

    Without the passphrase of encrypted keys what is stored in plain is verified, and then Misuse
    says what was not.
    """
    folder = find_root(start, os.environ) / HOME_FOLDER
    yield from verify_kept(folder, home_trust(folder) if whom is None else whom.root)


def verify_kept(folder: Path, trust: TrustRoot) -> Iterable[Verified]:
    """The same of a home's folder, wherever it lies.

    Keys and ledger are read as of one moment, under the home's lock: those of now must follow from
    ``trust`` by signed steps, for a change of them may have come since it was read.
    """
    key = data_key(folder)
    with HomeLock(folder / "lock"):  # the collector moves segments while it holds the lock
        trust = _now(folder, trust)
        known = list(versions(folder))
        found = read_ledger(folder / "ledger.db")
        require_whole(folder / "ledger.db", origin=trust.origin, key=trust.log)
        digests = _segments(folder, trust)
        published = _published(folder)
        beside = notes_beside(folder)  # while nobody appends: none of them is of a later head
    _require_now(held("checkpoint", partial(open_head, trust=trust), found.checkpoint), trust)
    yield put_back(
        ledger_verification.ledger(found.leaves, found.checkpoint, found.disagreements, trust), found.leaves
    )
    history = ledger_verification.key_history(known, found.leaves, trust)
    if trust.version > 1:
        yield history
    yield from witnessed_home(beside, found.leaves, found.checkpoint, trust)
    yield ledger_verification.projections(found.leaves, found.documents)
    yield ledger_verification.sealed_segments(found.leaves, digests)
    _require_recorded(published, found.documents.get(("plan", "now")))
    _require_private(folder, trust, _people(found.documents))
    plan = read_plan(published, trust) if published else None
    if plan is not None:
        yield _verified_plan(plan, Instant(time.time_ns()))
    if key is None and not (folder / "keys" / "data.key").exists():
        raise Misuse(
            "assembly.partly-verified",
            "Not verified: the stored contents and the releases in them, which need the private keys.",
            why="The folder keys/ of this home is not here.",
            next="Put it back from where you keep a copy, and verify again.",
        )
    if key is None:
        raise Misuse(
            "assembly.partly-verified",
            "Not verified: the stored contents and the releases in them, which need the passphrase.",
            why="The keys of this home are encrypted, and no passphrase was given.",
            next="Set GATEWRIGHT_PASSPHRASE_FILE to a file that holds it, and verify again.",
        )
    blobs = LocalBlobs(folder / "blobs", key, also=next_data_keys(folder))
    yield _verify_blobs(blobs)
    yield from revocations(found.documents, plan, trust, blobs)
    for endpoint in () if plan is None else plan.endpoints:
        for reference in endpoint.releases():
            yield _verify_reference(reference, endpoint.endpoint, trust, blobs)


def _now(folder: Path, trust: TrustRoot) -> TrustRoot:
    """The public keys of a home whose lock is held, which follow from those known before; Tampered where they do not."""
    now = settled_trust(folder)
    return now if now == trust else follow(trust, folder)


def _require_private(folder: Path, trust: TrustRoot, people: Mapping[str, str]) -> None:
    """The settings and the private keys in the folder are those of the public keys, as of one moment of their own."""
    with HomeLock(folder / "lock"):
        now = _now(folder, trust)
        require_settings(folder, now)
        require_keys(folder, now, verify.certified_workers(now, certificates(folder)))
    require_people(KeyFolder(folder=folder / "keys", passphrase=passphrase(os.environ)), people)


def _people(documents: Mapping[tuple[str, str], bytes]) -> Mapping[str, str]:
    """The public key of each person, by principal, as verified tables have it."""
    users = {key: canonical.decode(each) for (kind, key), each in documents.items() if kind == "users"}
    return {principal: str(document["key"]) for principal, document in users.items()}


def next_data_keys(folder: Path) -> tuple[bytes, ...]:
    """The key that is becoming the data key, where a change of it was begun; needs what :func:`data_key` needs."""
    return KeyFolder(folder=folder / "keys", passphrase=passphrase(os.environ)).next_data_keys()


def data_key(folder: Path) -> bytes | None:
    """The key of the stored contents; None where it is not here, or encrypted and no passphrase was given."""
    secret = passphrase(os.environ)
    try:
        return KeyFolder(folder=folder / "keys", passphrase=secret).data_key()
    except Misuse as error:
        if error.code in (PASSPHRASE_NEEDED, KEY_MISSING):
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


def _require_now(head: Head, trust: TrustRoot) -> None:
    """A home's own ledger is signed with the keys of now: one signed with earlier ones is a copy put back."""
    if head.era is not None:
        raise Tampered(
            "assembly.head-older",
            "The ledger's checkpoint is signed with log keys that this home does not use any more.",
            why=f"They were retired on {str(head.era.until)[:19]}Z, after {head.era.records:,} records.",
            next=f"Restore the newest ledger.db; the public keys are of version {trust.version}.",
            place="checkpoint",
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
    workers = verify.certified_workers(trust, certificates(folder))
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
    try:
        return TrustRoot.decode(read_file(place, limit=TRUST_BYTES))
    except BadInput as error:
        found = error.refusal
        where = f"{place.name}: {found.place}" if found.place else place.name
        raise BadInput(found.code, found.what, why=found.why, next=found.next, place=where) from None


def certificates(folder: Path) -> Iterable[bytes]:
    """The certificates of worker keys that lie beside the public keys, not yet believed."""
    return [
        read_file(path, limit=verify.STATEMENT_BYTES)
        for path in sorted((folder / WORKERS_FOLDER).glob("*.dsse.json"))
    ]
