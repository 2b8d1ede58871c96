"""Making an evidence pack: one zip file about one endpoint and a span of time, to be verified without the home.

It holds what :mod:`gatewright.operations.evidence_verifier` reads, which travels in it: the records of
the span without a gap and the older ones they rest on, under one signed head; the keys and their
history; the plans, releases and statements; a page for people. The same home and the same arguments
make the same files but for ``manifest.dsse.json``: names are sorted, and times in the zip are fixed.
"""

from __future__ import annotations

import os
import zipfile
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.proofs import range_root
from gatewright.operations.answers import saved_in
from gatewright.operations.catalogue import Release
from gatewright.operations.cbom import crypto_bom
from gatewright.operations.evidence_answers import verifier_source, verify
from gatewright.operations.evidence_gathering import SEALED, Gathered, gather
from gatewright.operations.evidence_telling import page_of
from gatewright.operations.evidence_verifier import now
from gatewright.operations.files import file_failures, read_file
from gatewright.operations.home import Home
from gatewright.operations.log_receipts import prove
from gatewright.operations.receipt_verification import RECEIPT_BYTES
from gatewright.operations.released import statements
from gatewright.operations.signing import release_signers
from gatewright.operations.trust_files import trust_files
from gatewright.releases.envelope import IN_TOTO_PAYLOAD, sealed
from gatewright.releases.in_toto import Statement
from gatewright.reports.evidence_page import README, write_page

PACK_KIND = "gatewright.evidence-pack"
PACK_FORMAT = 1
PACK_STATEMENT = "urn:gatewright:evidence-pack:v1"
ANSWERS = 1_000

_MOMENT = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644 << 16
_STATEMENTS = ("statement", "countersignature", "bom", "summary")
"""Fields of records about a release that name a statement."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was made: ``records`` without a gap and ``others`` beside them; ``witnesses`` that saw the head."""

    file: Path
    bytes: int
    files: int
    records: int
    others: int
    releases: int
    predictions: int
    witnesses: int
    quorum: int


def export(
    home: Home,
    endpoint: str,
    span: tuple[Instant, Instant],
    out: Path,
    *,
    answers: Sequence[Path] = (),
    say: Say = lambda _: None,
) -> Packed:
    """Write the pack of an endpoint for a span to a new file: whole, or not at all.

    ``answers`` are saved answers that go into it, each with the proof that the log kept it. Raises
    Misuse for a file that is there, an impossible span, an endpoint that nothing was deployed on.
    """
    if os.path.lexists(out):
        raise Misuse("operations.file-exists", f"{out} is there already.", next="Name a new file.")
    say("Gathering records")
    found = gather(home, endpoint, *span)
    say("Gathering releases")
    files = {
        **_log_files(found),
        **_key_files(found),
        **_release_files(found),
        **_answer_files(home, answers),
    }
    files["crypto.cdx.json"] = crypto_bom(home, found.told)
    files["README.txt"] = README.encode()
    files["verify_evidence.py"] = verifier_source().encode()
    files["index.html"] = write_page(page_of(found, files)).encode()
    files["manifest.json"] = _manifest(found, files)
    files["manifest.dsse.json"] = _signed(home, files["manifest.json"])
    size = _write(out, files, say, home.trust.fingerprint().hex)
    counted = [each for each in found.records if each.draft.kind == SEALED]
    return Packed(
        file=out,
        bytes=size,
        files=len(files),
        records=len(found.records),
        others=len(found.others),
        releases=len(found.releases),
        predictions=sum(int(str(each.draft.body["records"])) for each in counted),
        witnesses=len(found.head.cosigned),
        quorum=home.trust.quorum,
    )


def write_verifier(out: Path) -> Digest:
    """Write the one-file verifier of this version to a new file; returns its digest. Raises Misuse for one that is there."""
    content = verifier_source().encode()
    if os.path.lexists(out) or not out.parent.is_dir():
        raise Misuse(
            "operations.file-exists",
            f"{out} is there already, or its folder is not.",
            next="Name a new file.",
        )
    with file_failures("write the verifier", out), out.open("xb") as target:
        target.write(content)
    return Digest.of(content)


# ---- the files ---------------------------------------------------------------------------------------


def _log_files(found: Gathered) -> dict[str, bytes]:
    others = sorted(found.others, key=lambda each: each.seq)
    known = sorted({*range(found.first, found.stop), *(each.seq for each in others)})
    rest = [each.hex() for each in _completing(found.home, known, 0, found.head.checkpoint.size)]
    return {
        "log/checkpoint": found.note,
        "log/records.jsonl": b"".join(each.encode() + b"\n" for each in found.records),
        "log/others.jsonl": b"".join(each.encode() + b"\n" for each in others),
        "log/proofs.json": canonical.encode({"hashes": rest}),
    }


def _completing(home: Home, known: Sequence[int], low: int, high: int) -> Iterator[bytes]:
    """The hashes of the subtrees without a known record, from left to right, that complete the others to the root.

    ``known`` are sorted numbers from ``low`` up to ``high``.
    """
    if len(known) == high - low:
        return
    if not known:
        yield range_root(home.archive.subtree, low, high)
        return
    middle = low + (1 << ((high - low - 1).bit_length() - 1))
    at = bisect_left(known, middle)
    yield from _completing(home, known[:at], low, middle)
    yield from _completing(home, known[at:], middle, high)


def _key_files(found: Gathered) -> dict[str, bytes]:
    files = dict(trust_files(found.home.folder))
    for certificate in sorted((found.home.folder / "workers").glob("*.dsse.json")):
        files[f"workers/{certificate.name}"] = certificate.read_bytes()
    named = {f"people/{each}": _opening(found, each) for each in found.people}
    return {**files, **{name: opening for name, opening in named.items() if opening is not None}}


def _opening(found: Gathered, principal: str) -> bytes | None:
    """What opens the commitment to a person's name; None for one who was forgotten, or is nobody of this home."""
    document = found.home.document("users", principal)
    commitments = None if document is None else document["commitments"]
    if not isinstance(commitments, Mapping):
        return None
    with suppress(BadInput):
        return found.home.blobs.get(Digest(str(commitments["profile"])))
    return None


def _release_files(found: Gathered) -> dict[str, bytes]:
    home = found.home
    files = {f"plans/{each.plan.number}.dsse.json": home.blobs.get(each.digest) for each in found.plans}
    for release in found.releases:
        base = f"releases/{release.root.hex}"
        for name, digest in release.resources.items():
            files[f"{base}/release/{name}"] = home.blobs.get(digest)
        files[f"{base}/model.sig"] = home.blobs.get(release.bundle)
        beside = {digest: name for name, digest in statements(home, release).items()}
        for digest in _named(found, release):
            beside.setdefault(digest, f"named-{digest.hex[:12]}")
        for digest, name in beside.items():
            files[f"{base}/statements/{name}.dsse.json"] = home.blobs.get(digest)
    return files


def _named(found: Gathered, release: Release) -> Iterator[Digest]:
    """The statements about a release as records and plans name them: the first forms of those signed again, too."""
    for record in (*found.records, *found.others):
        body = record.draft.body
        if record.draft.kind.startswith("release.") and body.get("root") == release.root.hex:
            yield from (Digest(str(body[name])) for name in _STATEMENTS if body.get(name))
    for each in found.plans:
        here = each.plan.endpoint(found.endpoint)
        for reference in () if here is None else here.releases():
            if reference.root == release.root:
                yield from reference.statements


def _answer_files(home: Home, answers: Sequence[Path]) -> dict[str, bytes]:
    if len(answers) > ANSWERS:
        raise Misuse("operations.too-many-answers", f"A pack carries at most {ANSWERS:,} answers.")
    files = {}
    for number, place in enumerate(answers, 1):
        content = read_file(place, limit=RECEIPT_BYTES)
        files[f"answers/{number:04d}.answer.json"] = content
        files[f"answers/{number:04d}.proof.json"] = prove(home, saved_in(content)).encode()
    return files


def _manifest(found: Gathered, files: Mapping[str, bytes]) -> bytes:
    listed: JsonObject = {
        name: {"bytes": len(data), "sha256": Digest.of(data).hex} for name, data in files.items()
    }
    return canonical.encode(
        {
            "counts": {
                "others": len(found.others),
                "records": len(found.records),
                "releases": len(found.releases),
            },
            "endpoint": found.endpoint,
            "files": listed,
            "first": found.first,
            "format": PACK_FORMAT,
            "from": str(found.start),
            "kind": PACK_KIND,
            "stop": found.stop,
            "to": str(found.end),
        }
    )


def _signed(home: Home, manifest: bytes) -> bytes:
    """The statement of both release keys that this is the manifest: so every file is signed. Raises Misuse for expired keys."""
    statement = Statement(
        predicate_type=PACK_STATEMENT,
        subjects={"manifest.json": Digest.of(manifest)},
        predicate={"time": str(home.now())},
    )
    return sealed(IN_TOTO_PAYLOAD, statement.encode(), release_signers(home)).encode()


def _require_holds(pack: Path, fingerprint: str) -> None:
    """Verify a pack as whoever gets it will; raises Tampered for one that does not hold."""
    try:
        for _ in verify(pack, fingerprint, b"", b"", b""):
            pass
    except Exception as error:  # whatever it is, nobody could verify the pack
        raise Tampered(
            "operations.pack-broken",
            f"The pack would not hold: {error.args[0] if error.args else type(error).__name__}",
            why="It was verified before it was to be handed out, and was not written.",
            next="Verify the ledger: gatewright verify",
            place=now.at,
        ) from error


def _write(out: Path, files: Mapping[str, bytes], say: Say, fingerprint: str) -> int:
    """The zip file: under another name until it is whole, on the disk, and verified. Returns its size."""
    draft = out.with_name(f".{out.name}.part")
    with file_failures("write the pack", out):
        try:
            with draft.open("wb") as target:
                with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, allowZip64=False) as packed:
                    say(f"Writing {len(files)} files")
                    for name in sorted(files):
                        entry = zipfile.ZipInfo(name, _MOMENT)
                        entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, _FILE_MODE
                        entry.create_system = 3
                        packed.writestr(entry, files[name])
                target.flush()
                os.fsync(target.fileno())
            say("Verifying")
            _require_holds(draft, fingerprint)
            os.link(draft, out)  # unlike a rename, never over a file that came meanwhile
            return out.stat().st_size
        except zipfile.LargeZipFile:
            raise Misuse(
                "operations.pack-too-large",
                "The pack would be larger than 4 GiB.",
                next="Choose a shorter span.",
            ) from None
        finally:
            draft.unlink(missing_ok=True)
