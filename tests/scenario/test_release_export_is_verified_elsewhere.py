"""An auditor with an exported release, the owner's trust.json and no home verifies it on another machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scenario.conftest import NewHome
from scenario.world import COMMAND_S, Ran, command, inside


@pytest.fixture
def elsewhere(new_home: NewHome, tmp_path: Path) -> Path:
    """A folder that holds an export and, apart from it, the trust root; no home near it."""
    home = new_home("live")
    home.do("release", "export", "loans", "--to", str(tmp_path / "written"))
    place = tmp_path / "elsewhere"
    place.mkdir()
    shutil.copytree(tmp_path / "written", place / "loans-1")
    shutil.copy(home.folder / "trust.json", place / "from-the-owner.json")
    return place


def _verify(place: Path) -> Ran:
    return inside(place, "verify", "loans-1", "--trust", "from-the-owner.json", "--json")


def test_the_exported_folder_verifies_without_the_home(elsewhere: Path) -> None:
    """Root, model and every statement are confirmed by a process that has only the two things sent."""
    done = command(elsewhere, "verify", "loans-1", "--trust", "from-the-owner.json", "--json")
    assert 0 == done.code, done.out + done.err
    (found,) = done.document
    assert "loans@1" == found["facts"]["model"]
    kinds = {"Countersignature", "Approval", "DeploymentDecision", "BillOfMaterials", "VerificationSummary"}
    assert kinds == set(found["facts"]["statements"])
    assert {
        "model.onnx",
        "signature.json",
        "report.json",
        "verdict.json",
        "policy.toml",
        "release.json",
    } == set(found["facts"]["files"])


def test_the_public_tool_accepts_it(elsewhere: Path) -> None:
    """``model_signing verify``, which this project did not write, accepts the bundle, and not a changed model."""
    verify = (
        "verify", "key", "loans-1/release", "--signature", "loans-1/model.sig", "--public_key", "loans-1/release.pub"
    )  # fmt: skip
    accepted = _public_tool(elsewhere, *verify)
    assert 0 == accepted.code, accepted.out + accepted.err
    model = elsewhere / "loans-1" / "release" / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\x00")
    assert 0 != _public_tool(elsewhere, *verify).code


def test_a_flipped_byte_in_any_file_is_named(elsewhere: Path) -> None:
    """One changed byte in any exported file, one file after the other, ends with exit code 3 and its name."""
    folder = elsewhere / "loans-1"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) >= 12
    for path in files:
        original = path.read_bytes()
        at = len(original) // 2
        path.write_bytes(original[:at] + bytes((original[at] ^ 1,)) + original[at + 1 :])
        ran = _verify(elsewhere)
        path.write_bytes(original)
        assert (3, True) == (ran.code, path.name in ran.said), f"{path.name}: {ran.out}"
    assert 0 == _verify(elsewhere).code


def test_a_missing_or_added_file_is_named(elsewhere: Path) -> None:
    """A file taken out of the signed folder, or put into it, is found."""
    signed = elsewhere / "loans-1" / "release"
    (signed / "extra.txt").write_text("hello")
    added = _verify(elsewhere)
    assert (3, True) == (added.code, "extra.txt" in added.said), added.out
    (signed / "extra.txt").unlink()
    (signed / "report.json").unlink()
    gone = _verify(elsewhere)
    assert (3, True) == (gone.code, "report.json" in gone.said), gone.out


def test_another_owner_s_trust_is_not_enough(elsewhere: Path, new_home: NewHome) -> None:
    """Verified against the keys of somebody else the release does not hold, whatever lies beside them."""
    stranger = new_home("nothing")
    stranger.do("init", "--owner", "mallory")
    shutil.copy(stranger.folder / "trust.json", elsewhere / "stranger.json")
    shutil.copy(elsewhere / "from-the-owner.json", elsewhere / "trust.json")
    ran = inside(elsewhere, "verify", "loans-1", "--trust", "stranger.json", "--json")
    assert 3 == ran.code, ran.out


def _public_tool(folder: Path, *arguments: str) -> Ran:
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)
