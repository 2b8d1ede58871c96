"""What was released: finding a release, what stands about it, and writing it for the outside."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse
from gatewright.operations import catalogue
from gatewright.operations.bill import BILL_STATEMENT, plain_bill
from gatewright.operations.bill_verification import BILL_FILE
from gatewright.operations.catalogue import ApprovalEntry, Release, WaiverEntry, find
from gatewright.operations.files import file_failures, sync_names
from gatewright.operations.home import Home
from gatewright.operations.revocations import revoked
from gatewright.operations.signing import vouched
from gatewright.operations.trust_files import trust_files
from gatewright.releases.verification import signer_of

ROOT_PREFIX = 8
"""Fewest characters of a root that name it."""


def release(home: Home, text: str, *, newest: bool = False) -> Release:
    """The release that a root's beginning, a model version or a model name names.

    A name means its newest version. Of several releases of one version the newest that has all its
    approvals is meant, else (and whenever ``newest`` is asked for) the newest; one that was revoked is
    meant only where there is no other.
    """
    roots = [key for key, _ in home.archive.scan("releases", text.removeprefix("sha256:"))]
    if len(text) >= ROOT_PREFIX and len(roots) == 1:
        return _at(home, roots[0])
    documents = [
        document
        for _, document in home.archive.scan("releases")
        if text in (document["ref"], str(document["ref"]).partition("@")[0])
    ]
    made = [
        catalogue.read(Release, document)
        for document in sorted(documents, key=lambda document: int(str(document["seq"])))
    ]
    if not made:
        raise Misuse(
            "operations.no-release",
            f"There is no release {text!r} in this home.",
            next=f"Make one: gatewright release create {text}",
        )
    version = max(int(found.ref.partition("@")[2]) for found in made)
    wanted = [found for found in made if found.ref.endswith(f"@{version}")]
    wanted = [found for found in wanted if revoked(home, found.root) is None] or wanted
    ready = [found for found in wanted if len(approvals(home, found.root)) >= found.approvals_needed]
    return wanted[-1] if newest or not ready else ready[-1]


def _at(home: Home, root: str) -> Release:
    found = find(home, "releases", root, Release)
    assert found is not None  # noqa: S101 - the key was just read from the same projections
    return found


def releases(home: Home) -> tuple[Release, ...]:
    """Every release."""
    return tuple(catalogue.every(home, "releases", Release))


def approvals(home: Home, root: Digest) -> tuple[ApprovalEntry, ...]:
    """The approvals recorded for a root."""
    return tuple(catalogue.every(home, "approvals", ApprovalEntry, f"{root.hex}/"))


def waivers(home: Home, root: Digest) -> tuple[WaiverEntry, ...]:
    """The waivers recorded for a root."""
    return tuple(catalogue.every(home, "waivers", WaiverEntry, f"{root.hex}/"))


def approvers(home: Home, root: Digest) -> int:
    """How many people approved a root; whoever waived a rule of it does not count."""
    authors = {entry.principal for entry in waivers(home, root)}
    return len({entry.principal for entry in approvals(home, root)} - authors)


def export(home: Home, text: str, folder: Path) -> Path:
    """Write a release for the outside: the folder, its bundle, the statements and the trust root.

    ``FOLDER/release/`` holds exactly the signed files; ``model.sig``, ``release.pub``,
    ``bom.cdx.json``, ``trust.json``, ``workers/`` and ``statements/`` lie beside it.
    """
    found = release(home, text)
    require_new(folder)
    files: dict[str, bytes] = {
        f"release/{name}": home.blobs.get(digest) for name, digest in found.resources.items()
    }
    files["model.sig"] = home.blobs.get(found.bundle)
    files["release.pub"] = signer_of(home.blobs.get(found.bundle), home.trust).pem()
    files.update(trust_files(home.folder))
    for certificate in sorted((home.folder / "workers").glob("*.dsse.json")):
        files[f"workers/{certificate.name}"] = certificate.read_bytes()
    bill = plain_bill(home, found)
    if bill is not None:
        files[BILL_FILE] = bill
    for name, digest in statements(home, found).items():
        files[f"statements/{name}.dsse.json"] = home.blobs.get(digest)
    _write_folder(home, folder, files)
    return folder


def require_new(folder: Path) -> None:
    """Raise Misuse where a folder, or a file of that name, already holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file, not a folder"
        raise Misuse("operations.file-exists", f"{folder} {what}.", next="Name a new folder.")


def _write_folder(home: Home, folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a new folder: all of them, or no folder."""
    with drafted(folder) as draft:
        for name, content in files.items():
            place = draft / name
            place.parent.mkdir(parents=True, exist_ok=True)
            home.write(place, content)


@contextmanager
def drafted(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name as the last step: whole and durable, or not there."""
    whole = folder.resolve()
    draft = whole.with_name(f".{whole.name}.part")
    with file_failures("write the folder", folder):
        shutil.rmtree(draft, ignore_errors=True)  # what a killed try left
        try:
            draft.mkdir(parents=True)
            yield draft
            for each in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
                sync_names(each)
            draft.rename(whole)  # an empty folder of that name gives way
            sync_names(whole.parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def statements(home: Home, found: Release) -> Mapping[str, Digest]:
    """Every statement about a root, by a telling name."""
    about = {"countersignature": found.countersignature}
    for entry in approvals(home, found.root):
        about[f"approval-{entry.key[:12]}"] = entry.statement
    for waiver in waivers(home, found.root):
        about[f"waiver-{waiver.statement.hex[:12]}"] = waiver.statement
    for key, document in home.archive.scan("decisions", f"{found.root.hex}/"):
        about[f"decision-{key.partition('/')[2]}"] = Digest(str(document["decision"]))
    if found.bom is not None:
        about[BILL_STATEMENT] = found.bom
    if found.summary is not None:
        about["vsa"] = found.summary
    taken_back = revoked(home, found.root)
    if taken_back is not None:
        about["revocation"] = taken_back.statement
    return {name: vouched(home, digest) for name, digest in about.items()}


def planned_statements(home: Home, found: Release) -> tuple[Digest, ...]:
    """Those statements about a root that a plan names: what a worker needs to prove the release."""
    kinds = ("countersignature", "approval", "waiver")
    return tuple(
        digest for name, digest in statements(home, found).items() if name.partition("-")[0] in kinds
    )
