"""Verifying an evidence pack with the very file that travels in it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from gatewright.assembly.verifying import trusted
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.operations import evidence_answers
from gatewright.operations.evidence_verifier import Broken, Missing, now
from gatewright.operations.files import read_file
from gatewright.operations.receipt_verification import RECEIPT_BYTES
from gatewright.operations.verify import Verified

MANIFEST = "manifest.json"
VERIFIER = "verify_evidence.py"
FINGERPRINT = re.compile(r"[0-9a-f]{16,64}")


def is_pack(path: Path) -> bool:
    """Whether a path is an evidence pack, by content: a zip file, or the folder it was unpacked to."""
    if path.is_dir():
        return (path / MANIFEST).is_file() and (path / VERIFIER).is_file()
    return path.is_file() and (path.suffix == ".zip" or zipfile.is_zipfile(path))


def verify_pack(
    path: Path,
    fingerprint: str,
    *,
    answer: Path | None = None,
    request: Path | None = None,
    kept: Sequence[Path] = (),
) -> Iterator[Verified]:
    """What holds of a pack, one sentence after the other.

    Raises Tampered at the first thing that does not hold, and Misuse, at the end, for a part that could
    not be verified because something is missing.
    """
    if not FINGERPRINT.fullmatch(fingerprint):
        raise Misuse(
            "assembly.fingerprint",
            f"{fingerprint[:80]!r} is no fingerprint.",
            next="Give the 64 hexadecimal characters that the owner gave you, or at least the first 16.",
        )
    if len(kept) > 1:
        raise Misuse("assembly.kept", "A pack is compared with one kept checkpoint in a call.")
    files = [
        b"" if each is None else read_file(each, limit=RECEIPT_BYTES) or b" "
        for each in (answer, request, *kept)
    ]
    answered, asked, before = (*files, b"")[:3]
    try:
        for line in evidence_answers.verify(path, fingerprint, answered, asked, before):
            kind, _, _ = line.partition(" ")
            kind = "not judged" if line == evidence_answers.NOT_JUDGED else kind.rstrip(":").lower()
            yield Verified(kind=f"pack: {kind}", sentence=line)
    except Missing as error:
        raise Misuse("assembly.pack-missing", str(error)) from None
    except Broken as error:
        raise _broken(str(error.args[0]), str(error.args[1])) from None
    except Exception as error:  # noqa: BLE001 - what cannot be read does not hold, whatever the reason
        raise _broken(f"It cannot be read ({type(error).__name__}).", now.at) from None
    if now.unverified:
        raise Misuse(
            "assembly.partly-verified",
            f"Not verified: {'; '.join(dict.fromkeys(now.unverified))}.",
            why="Everything else in the pack holds.",
        )


def _broken(what: str, place: str) -> Tampered:
    return Tampered(
        "assembly.pack-broken",
        f"The evidence pack does not hold: {what}",
        next="Do not rely on it; keep it as evidence, and ask the owner for a new one.",
        place=place,
    )


def expected_fingerprint(path: Path, trust: Path | None, fingerprint: str) -> str:
    """The fingerprint to verify a pack with: the one given, or that of the keys named, or of this home's."""
    if fingerprint:
        return "".join(fingerprint.lower().removeprefix("sha256:").replace(":", " ").split())
    try:
        return trusted(trust, evidence=path).root.fingerprint().hex
    except Misuse as error:
        raise Misuse(
            error.code,
            "A pack is verified with the fingerprint of its owner's keys, and none was given.",
            why="The keys lie in the pack; whoever makes a pack can put keys of their own into it.",
            next="Ask the owner for it by another way: gatewright verify PACK --fingerprint HEX",
        ) from None
