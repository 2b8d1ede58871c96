"""Yesterday's backup beside today's plan, witness and people: refused until a person records it (R12)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from anomaly.home_verbs import seal_a_segment
from gatewright.kernel import canonical
from scenario.conftest import NewHome
from scenario.world import Home

BACKUP = ("backup", "../home.backup", "--key-file", "../backup.key", "--with-keys")


def backed_up(home: Home) -> None:
    """A backup of the home, beside it."""
    home.do(*BACKUP)


def restored(home: Home) -> Home:
    """A home made from that backup."""
    home.do("restore", "../home.backup", "--to", "../restored", "--key-file", "../backup.key")
    return Home(root=home.root.parent / "restored", api_key=home.api_key)


def put_back(home: Home, ledger: bytes) -> None:
    """The ledger alone, as it was before."""
    for ending in ("-wal", "-shm"):
        (home.folder / f"ledger.db{ending}").unlink(missing_ok=True)
    (home.folder / "ledger.db").write_bytes(ledger)


def ledger_of(home: Home) -> bytes:
    """The ledger as it is, with nothing left in its write-ahead log."""
    assert not (home.folder / "ledger.db-wal").exists() or not (home.folder / "ledger.db-wal").stat().st_size
    return (home.folder / "ledger.db").read_bytes()


def recover(home: Home) -> dict[str, object]:
    """Record it."""
    found: dict[str, object] = home.do("recover", "--as", "ada", "--reason", "The disk was lost.")
    return found


def test_a_backup_restores_to_the_same_home(new_home: NewHome) -> None:
    """A restored home has every record, table, blob and key of the one that was backed up, and verifies."""
    home = new_home("live")
    backed_up(home)
    before = home.digest()
    twin = restored(home)
    after = twin.digest()
    mark = {".gatewright/restored.json"}
    left_out = {name for name in before if not name.startswith(".gatewright/")} - {
        "gatewright.toml",
        "policy.toml",
    }
    assert before.keys() - left_out == after.keys() - mark
    same = before.keys() - left_out - {".gatewright/ledger.db"}
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    assert home.documents() == twin.documents()
    twin.do("verify")


def test_a_home_whose_keys_are_elsewhere_says_to_bring_them(new_home: NewHome) -> None:
    """Restored without keys it never asks for new ones: it says where the copy belongs; with the copy it goes on."""
    home = new_home("live")
    home.do("backup", "../home.backup", "--key-file", "../backup.key")
    twin = restored(home)
    for words in (("status",), ("key", "add", "loans"), ("recover", "--as", "ada", "--reason", "lost")):
        ran = twin.run(*words)
        assert (2, "keys.missing") == (ran.code, ran.error["code"]), words
        assert "Put your copy of .gatewright/keys into" in ran.error["next"]
        assert "user add" not in ran.said
        assert "init" not in ran.said
    shutil.rmtree(twin.folder / "keys", ignore_errors=True)
    shutil.copytree(home.folder / "keys", twin.folder / "keys")
    look = recover(twin)["look"]
    assert isinstance(look, list)
    fingerprint = twin.do("status")["fingerprint"]
    assert any("Verifiers" in each and fingerprint in each for each in look)
    assert not any("Witnesses" in each for each in look)
    (restored_then,) = [
        each
        for each in twin.do("history", "--between", "2 days ago", "now")["changes"]
        if each["kind"] == "home.restored"
    ]
    assert "put back to" in restored_then["what"]
    assert restored_then["what"].endswith("/2")


def test_a_restored_home_records_nothing_until_a_person_says_so(new_home: NewHome) -> None:
    """Every command that would append is refused, readers go on; once recorded, everything goes on under a new origin."""
    home = new_home("live")
    backed_up(home)
    origin = home.do("status")["origin"]
    twin = restored(home)
    before = twin.digest()
    for words in (
        ("user", "add", "grace"),
        ("stop", "loans"),
        ("rollback", "loans"),
        ("release", "create", "loans@2"),
    ):
        ran = twin.run(*words)
        assert (1, "operations.home-put-back") == (ran.code, ran.error["code"])
        assert "recover" in ran.said
    assert before == twin.digest()
    assert "put back" in twin.do("status")["put_back"]
    told = recover(twin)
    assert [f"{origin}/2", 0] == [told["continues"], told["known"]]
    assert told["plan_number"] == 1_002
    assert twin.do("status")["origin"] == f"{origin}/2"
    twin.do("user", "add", "grace")
    twin.do("deploy", "loans@1", "--to", "other")
    twin.rebuilt()
    assert "" == twin.do("status")["put_back"]
    ledger = next(one for one in twin.do("verify") if one["kind"] == "ledger")
    assert origin == ledger["facts"]["missing"][0]["origin"]
    again = twin.run("recover", "--as", "ada", "--reason", "x")
    assert (2, "operations.not-put-back") == (again.code, again.error["code"])


def test_a_witness_that_saw_more_stops_every_append(new_home: NewHome) -> None:
    """What a witness cosigned and the ledger lacks is named, record by record, before and after it is recorded."""
    home = new_home("live")
    records = home.do("status")["records"]
    said = {
        "origin": home.do("status")["origin"],
        "witness": "w.example",
        "size": records + 7,
        "checkpoint": "",
    }
    (home.folder / "fork.json").write_bytes(canonical.encode(said))
    ran = home.run("user", "add", "grace")
    assert (3, "operations.home-put-back") == (ran.code, ran.error["code"])
    assert f"records {records} to {records + 6}" in ran.said
    told = recover(home)
    assert records + 7 == told["known"]
    assert f"records {records} to {records + 6}" in home.do("verify")[0]["sentence"]
    assert not (home.folder / "fork.json").exists()


def test_a_kept_head_of_a_longer_log_stops_every_append(new_home: NewHome) -> None:
    """A ledger put back behind a head of its own that was kept outside the database is found out."""
    home = new_home("live")
    old = ledger_of(home)
    home.do("user", "add", "grace")
    home.do("evidence", "log", "--to", "../log")
    put_back(home, old)
    (home.folder / "witnessed").mkdir(exist_ok=True)
    shutil.copy(home.root.parent / "log" / "checkpoint", home.folder / "witnessed" / "checkpoint")
    ran = home.run("user", "add", "alan")
    assert (3, "operations.home-put-back") == (ran.code, ran.error["code"])
    home.broken = True


def test_the_log_of_a_home_that_was_put_back_says_what_it_lacks(new_home: NewHome) -> None:
    """An exported log names the missing records, and a checkpoint kept of them is told what became of it."""
    home = new_home("live")
    backed_up(home)
    twin = restored(home)
    size = home.do("status")["records"]
    home.do("user", "add", "grace")
    home.do("evidence", "log", "--to", "../before")
    recover(twin)
    twin.do("evidence", "log", "--to", "../after")
    (told,) = twin.do("verify", "../after", "--trust", "../after")
    assert f"whatever was recorded from record {size} on is missing" in told["sentence"]
    ran = twin.run("verify", "../after", "--trust", "../after", "--kept", "../before/checkpoint")
    assert (3, "operations.log-put-back") == (ran.code, ran.error["code"])
    assert f"record {size} is not in this one" in ran.said


def test_what_was_taken_back_since_does_not_come_to_life_again(new_home: NewHome) -> None:
    """A revoked key stays revoked, an endpoint that stood differently is stopped, and plan numbers only go up."""
    home = new_home("live")
    extra = home.do("key", "add", "loans", "--name", "shop")
    old = ledger_of(home)
    home.do("key", "revoke", "loans", extra["id"])
    home.do("key", "add", "loans", "--name", "later")
    newest = home.do("status")["plan_number"]
    put_back(home, old)
    ran = home.run("user", "add", "grace")
    assert (3, "operations.plan-ahead") == (ran.code, ran.error["code"])
    assert "gatewright recover" in ran.said
    told = recover(home)
    assert ["loans"] == told["stopped"]
    keys = home.do("key", "list", "loans")
    assert extra["id"] not in {each["id"] for each in keys}
    now = home.do("status")
    assert now["endpoints"][0]["stopped"]
    assert newest < now["plan_number"]
    home.do("resume", "loans")
    home.rebuilt()


def test_segments_that_the_ledger_does_not_know_are_collected_again(new_home: NewHome) -> None:
    """Prediction records that were sealed after the backup are entered again, never dropped."""
    home = new_home("live")
    backed_up(home)
    seal_a_segment(home.root)
    assert 0 == home.run("collect").code
    twin = restored(home)
    for path in (home.folder / "segments" / "collected").iterdir():
        (twin.folder / "segments" / "collected").mkdir(exist_ok=True)
        shutil.copy(path, twin.folder / "segments" / "collected" / path.name)
    assert 1 == recover(twin)["segments"]
    twin.do("collect")
    assert home.do("status")["predictions"] == twin.do("status")["predictions"]
    twin.rebuilt()


def test_a_restore_is_whole_or_not_at_all(new_home: NewHome) -> None:
    """Into a home, from a damaged backup, or with the wrong key: refused, and nothing is there afterwards."""
    home = new_home("opened")
    backed_up(home)
    backup = home.root.parent / "home.backup"
    ran = home.run("restore", str(backup), "--to", ".", "--key-file", "../backup.key")
    assert (2, "operations.file-exists") == (ran.code, ran.error["code"])
    content = bytearray(backup.read_bytes())
    content[-1_000] ^= 1
    backup.write_bytes(content)
    ran = home.run("restore", str(backup), "--to", "../elsewhere", "--key-file", "../backup.key")
    assert (3, "storage.backup-damaged") == (ran.code, ran.error["code"])
    assert not (home.root.parent / "elsewhere").exists()
    assert [] == list(home.root.parent.glob(".*"))


def test_a_backup_without_keys_says_so(new_home: NewHome) -> None:
    """Without ``--with-keys`` no private key is in the backup; what could not be verified is named."""
    home = new_home("live")
    made = home.do("backup", "../home.backup", "--key-file", "../backup.key")
    assert not made["keys"]
    told = home.do("restore", "../home.backup", "--to", "../restored", "--key-file", "../backup.key")
    twin = Home(root=home.root.parent / "restored")
    assert not (twin.folder / "keys").exists()
    assert "stored contents" in told["not_verified"]
    shutil.copytree(home.folder / "keys", twin.folder / "keys")
    recover(twin)
    twin.rebuilt()


def test_a_backup_never_replaces_a_file_and_never_lies_in_the_home(new_home: NewHome) -> None:
    """Both are wrong use, and nothing is written."""
    home = new_home("opened")
    backed_up(home)
    ran = home.run(*BACKUP)
    assert (2, "storage.exists") == (ran.code, ran.error["code"])
    ran = home.run("backup", ".gatewright/b", "--key-file", "../backup.key")
    assert (2, "assembly.backup-inside") == (ran.code, ran.error["code"])


def test_a_link_in_the_home_is_not_followed(new_home: NewHome, tmp_path: Path) -> None:
    """A link among the stored files ends the backup: what it leads to is no part of the home."""
    home = new_home("opened")
    (tmp_path / "outside").write_text("secret", "utf-8")
    (home.folder / "blobs" / "link").symlink_to(tmp_path / "outside")
    ran = home.run(*BACKUP)
    assert (3, "assembly.not-a-stored-file") == (ran.code, ran.error["code"])
    assert not (home.root.parent / "home.backup").exists()
    (home.folder / "blobs" / "link").unlink()


def test_a_passphrase_closes_and_opens_a_backup(new_home: NewHome, tmp_path: Path) -> None:
    """The passphrase of a backup is its own, in a file."""
    home = new_home("opened")
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery staple\n", "utf-8")
    home.do("backup", "../home.backup", "--passphrase-file", str(secret))
    ran = home.run("restore", "../home.backup", "--to", "../r", "--key-file", str(secret))
    assert 2 == ran.code
    home.do("restore", "../home.backup", "--to", "../r", "--passphrase-file", str(secret))


@pytest.mark.parametrize("stage", ["opened", "live"])
def test_scrubbing_a_home_that_holds_changes_nothing(new_home: NewHome, stage: str) -> None:
    """A pass over a sound home records nothing, and says when it ended."""
    home = new_home(stage)
    kinds = home.kinds()
    told = home.do("scrub")
    assert [] == told["damaged"]
    assert told["pieces"] > 3
    assert kinds == home.kinds()
    assert home.do("status")["scrubbed"]["finished"]


def test_damage_is_recorded_shown_and_recorded_as_repaired(new_home: NewHome) -> None:
    """A flipped bit is an alarm: a record, red in ``status``, exit code 3; put right, that is recorded too."""
    home = new_home("live")
    blob = max((home.folder / "blobs").rglob("??*/*"), key=lambda path: path.stat().st_size)
    content = blob.read_bytes()
    blob.write_bytes(content[:-9] + bytes((content[-9] ^ 1,)) + content[-8:])
    ran = home.run("scrub")
    assert 3 == ran.code
    (damage,) = ran.document["damaged"]
    assert blob.relative_to(home.folder).as_posix() == damage["place"]
    assert blob.parent.name + blob.name == damage["expected"]
    assert "storage.damaged" == home.kinds()[-1]
    assert [damage["place"]] == [each["place"] for each in home.do("status")["damaged"]]
    assert 3 == home.run("verify").code
    assert 3 == home.run("scrub").code
    assert 1 == home.kinds().count("storage.damaged")
    blob.write_bytes(content)
    assert [damage["place"]] == home.do("scrub")["repaired"]
    assert "storage.repaired" == home.kinds()[-1]
    assert [] == home.do("status")["damaged"]


def test_what_was_revoked_since_is_told_until_keys_were_rotated(new_home: NewHome) -> None:
    """Revoked keys come to life with a copy of the home: ``recover`` names them, ``status`` goes on saying so."""
    home = new_home("live")
    before = home.root.parent / "before"
    shutil.copytree(home.folder, before)
    records = home.do("status")["records"]
    home.do("key", "rotate", "release", "--compromised")
    steps = home.root.parent / "steps"
    shutil.copytree(home.folder / "trust", steps)
    shutil.rmtree(home.folder)
    shutil.copytree(before, home.folder)
    shutil.copytree(steps, home.folder / "trust", dirs_exist_ok=True)
    said = {
        "origin": home.do("status")["origin"],
        "witness": "w.example",
        "size": records + 2,
        "checkpoint": "",
    }
    (home.folder / "fork.json").write_bytes(canonical.encode(said))
    look = recover(home)["look"]
    assert isinstance(look, list)
    assert [each for each in look if "the release keys were revoked" in each]
    assert [each for each in look if "gatewright release revoke" in each]
    assert "in force again" in home.do("status")["look"]
    home.do("key", "rotate", "release", "--compromised")
    assert "" == home.do("status")["look"]
    home.rebuilt()
