"""An auditor with the log as files and the owner's keys verifies it on another machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gatewright.ledger.notes import NoteKey, signed_by
from scenario.conftest import NewHome
from scenario.world import Home, command, inside


@pytest.fixture
def owner(new_home: NewHome) -> Home:
    """A home with a live model, whose log was exported to ``log``."""
    home = new_home("live")
    home.do("evidence", "log", "--to", "log")
    return home


@pytest.fixture
def elsewhere(owner: Home, tmp_path: Path) -> Path:
    """A folder that holds the log and, apart from it, the trust root; no home near it."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    shutil.copytree(owner.root / "log", place / "log")
    shutil.copy(owner.folder / "trust.json", place / "from-the-owner.json")
    return place


def test_the_log_verifies_without_the_home(owner: Home, elsewhere: Path) -> None:
    """Every record of the home is confirmed by a process that has only the two things sent."""
    fingerprint = owner.do("status")["fingerprint"]
    done = command(
        elsewhere,
        "verify",
        "log",
        "--trust",
        "from-the-owner.json",
        "--fingerprint",
        fingerprint[:16],
        "--json",
    )
    assert 0 == done.code, done.out + done.err
    (found,) = done.document
    assert ("log", len(owner.kinds())) == (found["kind"], found["facts"]["records"])
    assert found["trust"]["compared"]


def test_a_changed_record_is_named(elsewhere: Path) -> None:
    """One changed letter in an entry ends with exit code 3 and the number and kind of the record."""
    (bundle,) = (elsewhere / "log" / "tile" / "entries").rglob("*.p/*")
    bundle.write_bytes(bundle.read_bytes().replace(b"release.approved", b"release.approvex"))
    ran = inside(elsewhere, "verify", "log", "--trust", "from-the-owner.json", "--json")
    assert (3, "ledger.record-changed") == (ran.code, ran.error["code"])
    assert "release.approvex" in ran.error["place"]


def test_a_log_grows_and_extends_what_was_kept(owner: Home, elsewhere: Path) -> None:
    """Exported again after more records, the folder holds them, and extends the checkpoint that was kept; its key is named."""
    before = len(owner.kinds())
    owner.do("user", "add", "grace")
    made = owner.do("evidence", "log", "--to", "log")
    assert (before, before + 1) == (made["before"], made["records"])
    (key,) = signed_by((owner.root / "log" / "checkpoint").read_bytes(), [NoteKey.parse(made["key"])])
    assert made["key"] == key.text()
    ran = owner.do("verify", "log", "--kept", str(elsewhere / "log"))
    assert 1 == ran[0]["facts"]["kept"]
    rolled_back = inside(
        elsewhere,
        "verify",
        "log",
        "--trust",
        "from-the-owner.json",
        "--kept",
        str(owner.root / "log" / "checkpoint"),
    )
    assert 3 == rolled_back.code
    assert "shorter than it was" in rolled_back.out + rolled_back.err


def test_an_older_home_does_not_overwrite_the_log(owner: Home, tmp_path: Path) -> None:
    """A home that was put back to an earlier state is told so by the folder, which stays as it was."""
    saved = tmp_path / "saved"
    shutil.copytree(owner.root, saved)
    owner.do("user", "add", "grace")
    owner.do("evidence", "log", "--to", "log")
    head = (owner.root / "log" / "checkpoint").read_bytes()
    ran = inside(saved, "evidence", "log", "--to", str(owner.root / "log"), "--json")
    assert (3, "operations.log-not-a-beginning") == (ran.code, ran.error["code"])
    assert head == (owner.root / "log" / "checkpoint").read_bytes()


def test_kept_checkpoints_go_with_logs_only(owner: Home) -> None:
    """``--kept`` with anything but a log is wrong use, and says what to name."""
    for words in (("verify", "--kept", "log"), ("verify", str(owner.folder / "ledger.db"), "--kept", "log")):
        ran = owner.run(*words)
        assert 2 == ran.code
        assert "log" in ran.error["next"].lower()
