"""A pack is a zip file from somebody: AU-09 and bad input, through ``verify`` and through the file it carries.

Paths that climb, links, files twice or beside the manifest, contents larger than they say: nothing is
written, nothing outside is read, and the refusal is a sentence.
"""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from attack.evidence.conftest import Canary, Given, refused, unseen, verified
from gatewright.kernel.digests import Digest

LINK = (stat.S_IFLNK | 0o777) << 16
CLIMBING = (
    "../marker", "../../marker", "/gatewright-marker", "a/../../marker", "..\\marker", "C:\\marker", "answers/../../marker",
    "answers/../manifest.json", "./manifest.json", "answers//x", "answers/", "manifest.json ", "MANIFEST.JSON", "answers/\x1b[2J",
    "answers/\u202ex", "answers/" + "x" * 5_000,
)  # fmt: skip
Members = dict[str, bytes]


def _members(path: Path) -> Members:
    with zipfile.ZipFile(path) as source:
        return {name: source.read(name) for name in source.namelist()}


def _write(path: Path, members: Members, more: Callable[[zipfile.ZipFile], object] = lambda _: None) -> None:
    with zipfile.ZipFile(path, "w") as target:
        for name, content in members.items():
            target.writestr(name, content)
        more(target)


@pytest.fixture(scope="module")
def members(given: Given) -> Members:
    """What an honest pack holds."""
    return _members(given.place / "pack.zip")


@pytest.fixture
def place(given: Given, tmp_path: Path) -> Path:
    """A folder deep enough to climb out of, with the owner's keys."""
    folder = tmp_path / "a" / "b" / "auditor"
    folder.parent.mkdir(parents=True)
    return given.copy(folder)


def _files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if "__pycache__" not in path.parts}


def _alone(place: Path, verifier: bytes) -> subprocess.CompletedProcess[str]:
    """The file that the honest pack carries, run as its reader would."""
    file = place / "verify_evidence.py"
    file.write_bytes(verifier)
    trust = Digest.of((place / "owner" / "trust.json").read_bytes()).hex
    return subprocess.run(
        [sys.executable, "-I", "-B", str(file), "pack.zip", "--fingerprint", trust],
        cwd=place, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip


def _tried(place: Path, canary: Canary, members: Members) -> None:
    """Both verifiers refuse the pack, and neither leaves anything behind."""
    root = place.parents[2]
    before = _files(root) | {str((place / "verify_evidence.py").relative_to(root))}
    refused(verified(place, "pack.zip", "--trust", "owner"), canary)
    alone = _alone(place, members["verify_evidence.py"])
    assert alone.returncode in (2, 3), alone.stdout + alone.stderr
    assert "Traceback" not in alone.stderr
    assert canary.token not in alone.stdout + alone.stderr
    assert [] == unseen(alone.stdout + alone.stderr)
    assert before == _files(root)
    assert not Path("/gatewright-marker").exists()


def test_the_honest_pack_holds(place: Path, members: Members) -> None:
    """What the attacks begin from is accepted, as it was written and written again."""
    assert 0 == verified(place, "pack.zip", "--trust", "owner").code
    _write(place / "pack.zip", members)
    assert 0 == verified(place, "pack.zip", "--trust", "owner").code
    alone = _alone(place, members["verify_evidence.py"])
    assert 0 == alone.returncode, alone.stdout + alone.stderr


@pytest.mark.parametrize("name", CLIMBING)
def test_au09_paths_that_climb(place: Path, canary: Canary, members: Members, name: str) -> None:
    """A member with such a name is refused, whether or not the manifest lists it."""
    _write(place / "pack.zip", {**members, name: b"x"})
    _tried(place, canary, members)


def test_au09_the_manifest_lists_a_path_that_climbs(place: Path, canary: Canary, members: Members) -> None:
    """A manifest that lists a file outside does not lead there."""
    manifest = json.loads(members["manifest.json"])
    for key, value in manifest.items():
        if isinstance(value, dict) and "trust.json" in value:
            manifest[key] = {**value, "../secret.txt": value["trust.json"]}
        if isinstance(value, list) and value and isinstance(value[0], dict):
            manifest[key] = [*value, {**value[0], "name": "../secret.txt", "path": "../secret.txt"}]
    _write(place / "pack.zip", {**members, "manifest.json": json.dumps(manifest).encode()})
    _tried(place, canary, members)


def test_au09_a_link_in_a_pack(place: Path, canary: Canary, members: Members) -> None:
    """A member that is a symbolic link, in a file's place or beside it, is refused."""
    for name in ("trust.json", "answers/linked"):
        link = zipfile.ZipInfo(name)
        link.create_system, link.external_attr = 3, LINK
        rest = {each: content for each, content in members.items() if each != name}
        _write(place / "pack.zip", rest, lambda target, link=link: target.writestr(link, str(canary.file)))  # type: ignore[misc]
        _tried(place, canary, members)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice(place: Path, canary: Canary, members: Members) -> None:
    """Two members of one name, of which two readers could take one each, are refused."""
    for name in ("manifest.json", "trust.json"):
        _write(place / "pack.zip", members, lambda target, name=name: target.writestr(name, members[name]))  # type: ignore[misc]
        _tried(place, canary, members)


def test_a_pack_that_grows(place: Path, canary: Canary, members: Members) -> None:
    """A small file that becomes gigabytes is refused by what it says it holds, and not unpacked."""
    with zipfile.ZipFile(place / "pack.zip", "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)
        with target.open("answers/huge.json", "w", force_zip64=True) as huge:
            for _ in range(256):
                huge.write(bytes(1 << 20))
    assert (place / "pack.zip").stat().st_size < 16 << 20
    _tried(place, canary, members)


@pytest.mark.parametrize(
    "change", ["cut", "bytes before", "bytes after", "comment", "no zip", "empty zip", "one flip"]
)
def test_a_file_that_is_no_whole_pack(place: Path, canary: Canary, members: Members, change: str) -> None:
    """A pack that is cut, lies in another file, or has something beside it is refused or says what it said."""
    path = place / "pack.zip"
    whole = path.read_bytes()
    before = verified(place, "pack.zip", "--trust", "owner").document
    _write(path, members, lambda target: setattr(target, "comment", b"x" * 60_000))
    forms = {
        "cut": whole[: len(whole) // 2], "bytes before": b"#!/bin/sh\n" + whole, "bytes after": whole + b"x" * 100,
        "comment": path.read_bytes(), "no zip": b"PK\x03\x04" + bytes(100), "empty zip": b"PK\x05\x06" + bytes(18),
        "one flip": whole[:2_000] + bytes((whole[2_000] ^ 1,)) + whole[2_001:],
    }  # fmt: skip
    path.write_bytes(forms[change])
    ran = verified(place, "pack.zip", "--trust", "owner")
    if ran.code:
        refused(ran, canary)
    else:
        assert before == ran.document


def test_each_member_counts(place: Path, canary: Canary, members: Members) -> None:
    """Without any one of its files, or with any one of them changed, a pack is refused."""
    for name, content in members.items():
        rest = {each: kept for each, kept in members.items() if each != name}
        _write(place / "pack.zip", rest)
        refused(verified(place, "pack.zip", "--trust", "owner"), canary)
        _write(
            place / "pack.zip",
            {**members, name: content[:-1] + bytes((content[-1] ^ 1,)) if content else b"x"},
        )
        refused(verified(place, "pack.zip", "--trust", "owner"), canary)


def test_au08_the_page_of_a_pack_is_inert(members: Members) -> None:
    """The page runs no script, loads nothing and asks nobody, whatever stands in it."""
    page = members["index.html"].decode().lower()
    for word in (
        "<script",
        "javascript:",
        "onerror=",
        "onload=",
        "<iframe",
        "<object",
        'src="http',
        "url(http",
        "<form",
        "<base",
    ):
        assert word not in page, word
