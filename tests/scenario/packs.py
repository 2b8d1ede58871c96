"""Packs to tamper with: a zip file as its files, put together again as an attacker without keys would."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from gatewright.adapters.key_files import KeyFolder
from gatewright.kernel import canonical
from gatewright.operations.evidence_answers import main
from gatewright.releases.envelope import IN_TOTO_PAYLOAD, Envelope, sealed
from scenario.world import BETTER, Home, classifier, write_loans

Files = dict[str, bytes]


def unpacked(pack: Path) -> Files:
    """The files of a pack, by name."""
    with zipfile.ZipFile(pack) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def listed(files: Mapping[str, bytes], home: Path | None = None) -> Files:
    """The same files, with a manifest that lists them as they are now.

    With ``home`` (a home's folder) the manifest is signed anew, as only the owner can.
    """
    manifest = canonical.decode(files["manifest.json"])
    others = {name: data for name, data in files.items() if not name.startswith("manifest.")}
    manifest["files"] = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in others.items()
    }
    found = {
        **others,
        "manifest.json": canonical.encode(manifest),
        "manifest.dsse.json": files["manifest.dsse.json"],
    }
    if home is not None:
        keys = KeyFolder(folder=home / "keys", passphrase=None)
        statement = canonical.decode(Envelope.decode(files["manifest.dsse.json"]).payload)
        statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(found["manifest.json"]).hexdigest()
        signers = (keys.release, keys.release_pq)
        found["manifest.dsse.json"] = sealed(IN_TOTO_PAYLOAD, canonical.encode(statement), signers).encode()
    return found


def packed(files: Mapping[str, bytes], place: Path) -> Path:
    """A zip file of these files, as plain as the product writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in sorted(files):
            opened.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), files[name], zipfile.ZIP_DEFLATED)
    place.write_bytes(out.getvalue())
    return place


def document(data: bytes) -> dict[str, object]:
    """A JSON object."""
    found: dict[str, object] = json.loads(data)
    return found


FOR_PEOPLE = frozenset({"README.txt", "crypto.cdx.json", "index.html", "verify_evidence.py"})
"""What the owner signs as it is, and no verifier judges."""


def without_record(files: Files, number: int) -> Files:
    """The files without one line of the records."""
    lines = files["log/records.jsonl"].splitlines(keepends=True)
    return {**files, "log/records.jsonl": b"".join(lines[:number] + lines[number + 1 :])}


def tamperings(files: Files, home: Path) -> Iterator[tuple[str, Files]]:
    """Every single change of a pack, by name: each must be found.

    A byte of each file, a file taken away, a record dropped; as a stranger does it, who can list the
    files anew, and as the owner, who can also sign the list.
    """
    for name, data in files.items():
        at = len(data) // 2
        flipped = {**files, name: data[:at] + bytes(each ^ 1 for each in data[at : at + 1]) + data[at + 1 :]}
        left = {other: content for other, content in files.items() if other != name}
        if data:
            yield f"{name} flipped", flipped
        yield f"{name} removed", left
        if not name.startswith("manifest."):
            yield f"{name} removed, listed", listed(left)
            judged = name not in FOR_PEOPLE
            if data:
                yield f"{name} flipped, listed", listed(flipped)
            if judged and data:
                yield f"{name} flipped, signed", listed(flipped, home)
            if judged and not name.startswith(("people/", "workers/", "answers/")):
                yield f"{name} removed, signed", listed(left, home)
    for number in range(len(files["log/records.jsonl"].splitlines())):
        yield f"record {number} dropped, signed", listed(without_record(files, number), home)


def made_pack(place: Path) -> tuple[Path, Path, str]:
    """A pack of a small home with two releases: the file, the home's folder, the fingerprint."""
    home = Home(root=place / "home")
    home.root.mkdir()
    home.do("init", "--owner", "ada")
    write_loans(home.root / "train.csv", 300, 1)
    write_loans(home.root / "test.csv", 400, 2)
    home.do("data", "add", "loans", "--train", "train.csv", "--test", "test.csv", "--target", "repaid")
    for number, model in enumerate((classifier(), classifier(BETTER)), 1):
        (home.root / f"v{number}.onnx").write_bytes(model)
        home.do("model", "add", f"v{number}.onnx", "--name", "loans", "--trained-on", "loans")
        home.do("check", f"loans@{number}")
        home.do("release", "create", f"loans@{number}")
        home.do("approve", f"loans@{number}", "--as", "ada")
        home.do("deploy", f"loans@{number}")
    made = home.do("evidence", "export", "loans", "--from", "2020-01-01", "--out", str(place / "loans.zip"))
    return place / "loans.zip", home.folder, str(made["fingerprint"])


def found_of(pack: Path, home: Path, fingerprint: str, place: Path) -> Iterator[tuple[str, int]]:
    """Each tampering of a pack by name, and the exit code of its verifier."""
    for what, changed in tamperings(unpacked(pack), home):
        with contextlib.redirect_stdout(io.StringIO()):
            code = main([str(packed(changed, place / "changed.zip")), "--fingerprint", fingerprint])
        yield what, code
