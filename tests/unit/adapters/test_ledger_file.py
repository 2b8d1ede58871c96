"""A ledger's database is read without a trace, and no damage to it goes by."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.adapters.ledger_file import LedgerFile, _opened, database_failure, read_ledger
from gatewright.adapters.sqlite_ledger import SqliteLedger
from gatewright.kernel.errors import BadInput, DependencyFailed, GatewrightError, Misuse, Tampered
from gatewright.ledger.audit import Audit, audit
from gatewright.testing.ledger_contract import NOON, draft, latest
from gatewright.testing.signers import SeedSigner

ORIGIN = "example.com/log"
LOG = SeedSigner("log")
SIZE = 40


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed ledger of forty records."""
    path = tmp_path_factory.mktemp("original") / "ledger.db"
    with closing(SqliteLedger(path, signer=LOG, origin=ORIGIN, project=latest)) as ledger:
        for index in range(0, SIZE, 4):
            path.with_name("earlier").write_bytes(ledger.checkpoint())
            ledger.append([draft(f"model-{index + offset}") for offset in range(4)], NOON)
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy of the ledger, alone in its folder."""
    return Path(shutil.copyfile(original, tmp_path / "ledger.db"))


def audited(ledger: LedgerFile) -> Audit:
    """Audit what was read."""
    return audit(ledger.leaves, note=ledger.checkpoint, key=LOG.public, origin=ORIGIN)


def change(path: Path, statement: str, *values: object) -> None:
    """Change the database as an intruder would, leaving one file."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute(statement, values)


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(each.name for each in folder.iterdir())


def test_reading_leaves_no_trace(path: Path) -> None:
    """A ledger is read and holds; nothing is created beside it and no byte of it changes."""
    before = path.read_bytes()
    ledger = read_ledger(path)
    assert (SIZE, True) == (audited(ledger).size, audited(ledger).holds)
    assert () == ledger.disagreements
    assert (["ledger.db"], before) == (names(path.parent), path.read_bytes())


def test_a_read_only_folder_is_enough(path: Path) -> None:
    """A ledger on read-only media is read."""
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert audited(read_ledger(path)).holds
    finally:
        path.parent.chmod(0o700)


@pytest.fixture
def unfolded(original: Path, tmp_path: Path) -> Path:
    """A ledger whose last append is still in its write-ahead log, as after a crash."""
    live = Path(shutil.copyfile(original, tmp_path / "live.db"))
    reader = sqlite3.connect(live, isolation_level=None)
    with closing(SqliteLedger(live, signer=LOG, origin=ORIGIN, project=latest)) as ledger, closing(reader):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()
        ledger.append([draft("late")], NOON)
        folder = tmp_path / "crashed"
        folder.mkdir()
        shutil.copyfile(live, folder / "ledger.db")
        shutil.copyfile(live.with_name("live.db-wal"), folder / "ledger.db-wal")
    return folder / "ledger.db"


def test_a_write_ahead_log_is_read_too(unfolded: Path) -> None:
    """Records that are still in the write-ahead log are read, and nothing is changed or created."""
    before = unfolded.read_bytes()
    found = audited(read_ledger(unfolded))
    assert (SIZE + 1, True) == (found.size, found.holds)
    assert (["ledger.db", "ledger.db-wal"], before) == (names(unfolded.parent), unfolded.read_bytes())


def test_a_live_ledger_is_read(path: Path) -> None:
    """A ledger that another connection has open is read up to its last append."""
    with closing(SqliteLedger(path, signer=LOG, origin=ORIGIN, project=latest)) as ledger:
        ledger.append([draft("late")], NOON)
        assert SIZE + 1 == audited(read_ledger(path)).size


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_changed_byte_is_found_or_harmless(original: Path, data: st.DataObject) -> None:
    """With any byte of the file changed, reading and auditing refuse, list a problem, or see the same ledger."""
    honest = read_ledger(original)
    content = bytearray(original.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    changed = original.with_name("changed.db")
    changed.write_bytes(bytes(content))
    try:
        ledger = read_ledger(changed)
    except GatewrightError:
        return
    if audited(ledger).holds:
        assert [leaf for leaf, _ in honest.leaves] == [leaf for leaf, _ in ledger.leaves]


def test_a_damaged_schema_is_tampered(path: Path) -> None:
    """A table definition that is no longer text is Tampered, not an error of the language."""
    content = path.read_bytes()
    place = content.index(b"CREATE TABLE meta") + len(b"CREATE TABL")
    path.write_bytes(content[:place] + b"\xf2" + content[place + 1 :])
    with pytest.raises(Tampered):
        read_ledger(path)


def test_a_changed_byte_of_a_record_is_named(path: Path) -> None:
    """One byte changed inside the file, in a record, is named by the audit."""
    content = path.read_bytes()
    place = content.index(b'"subject":"model-17"') + len(b'"subject":"')
    path.write_bytes(content[:place] + b"n" + content[place + 1 :])
    found = audited(read_ledger(path)).problems[0]
    assert ("ledger.record-changed", "record 17") == (found.code, found.place[:9])


@pytest.mark.parametrize(
    ("statement", "code", "place"),
    [
        (
            "UPDATE nodes SET hash = zeroblob(32) WHERE level = 0 AND idx = 9",
            "ledger.stored-hash-changed",
            "record 9",
        ),
        ("DELETE FROM records WHERE seq = 39", "ledger.records-missing", "record 39"),
        ("DELETE FROM records WHERE seq = 20", "ledger.sequence", "record 20"),
        (
            "UPDATE records SET leaf = (SELECT leaf FROM records AS other WHERE other.seq = 5) WHERE seq = 6",
            "ledger.record-changed",
            "record 6",
        ),
    ],
)
def test_changes_behind_the_ledgers_back_are_named(path: Path, statement: str, code: str, place: str) -> None:
    """What an intruder does to the tables, the audit names with its place."""
    change(path, statement)
    found = audited(read_ledger(path)).problems[0]
    assert (code, place) == (found.code, found.place.partition(" (")[0])


def test_an_earlier_checkpoint_put_back_is_named(path: Path, original: Path) -> None:
    """With the signed head of before in its place, the first record that it does not cover is named."""
    earlier = original.with_name("earlier").read_bytes()
    change(path, "UPDATE checkpoints SET size = 36, note = ?", earlier)
    found = audited(read_ledger(path)).problems[0]
    assert ("ledger.records-unsigned", "record 36") == (found.code, found.place.partition(" (")[0])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET kind = 'model.removed' WHERE seq = 12",
        "UPDATE records SET subject = 'other' WHERE seq = 12",
        "UPDATE records SET time_ns = 0 WHERE seq = 12",
    ],
)
def test_a_changed_index_is_named(path: Path, statement: str) -> None:
    """A record that the search columns misstate is named, though its leaf is untouched."""
    change(path, statement)
    ledger = read_ledger(path)
    assert audited(ledger).holds
    assert ["record 12"] == [each.place.partition(" (")[0] for each in ledger.disagreements]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET leaf = 'text' WHERE seq = 1",
        "UPDATE records SET leaf = 17 WHERE seq = 1",
        "UPDATE nodes SET hash = 'text' WHERE level = 0 AND idx = 1",
        "UPDATE checkpoints SET note = 'text'",
        "DELETE FROM checkpoints",
        "DROP TABLE checkpoints",
        "DROP TABLE records",
        "DROP TABLE nodes",
        "DROP TABLE meta",
        "DELETE FROM meta",
    ],
)
def test_missing_or_mistyped_parts_are_tampered(path: Path, statement: str) -> None:
    """A ledger without one of its parts, or with text for bytes, is Tampered."""
    change(path, statement)
    with pytest.raises(Tampered):
        read_ledger(path)


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c) SELECT {} FROM c"
ROW = "x AS seq, 0 AS time_ns, 'a' AS kind, 'b' AS subject, x'00' AS leaf"


@pytest.mark.parametrize(
    "view",
    [
        ENDLESS.format(ROW),
        f"{ENDLESS.format(ROW)} WHERE x < 0",
        "SELECT 0 AS seq, 0 AS time_ns, 'a' AS kind, 'b' AS subject, zeroblob(900000000) AS leaf",
    ],
)
def test_a_database_made_of_code_is_not_read(path: Path, view: str) -> None:
    """A view in the place of a table, which could go on for ever or fill the memory, is named and not asked."""
    change(path, "DROP TABLE records")
    change(path, f"CREATE VIEW records AS {view}")
    with pytest.raises(Tampered) as caught:
        read_ledger(path)
    assert "storage.other-schema" == caught.value.code


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER more AFTER INSERT ON records BEGIN DELETE FROM nodes; END",
        "CREATE TABLE more (x)",
        "CREATE INDEX more ON records (leaf)",
        "ALTER TABLE records ADD COLUMN more GENERATED ALWAYS AS (zeroblob(900000000))",
    ],
)
def test_a_database_holds_a_ledgers_tables_and_nothing_else(path: Path, statement: str) -> None:
    """Whatever else stands in the schema is named."""
    change(path, statement)
    with pytest.raises(Tampered) as caught:
        read_ledger(path)
    assert "storage.other-schema" == caught.value.code


def test_work_with_a_database_is_bounded_by_its_size(path: Path) -> None:
    """A query that never ends is cut off, and so is a value that is longer than the file: both are damage."""
    with _opened(path) as database, pytest.raises(sqlite3.Error) as caught:
        database.execute(ENDLESS.format("count(*)")).fetchone()
    assert "storage.database-damaged" == database_failure(caught.value, path).code
    with _opened(path) as database, pytest.raises(sqlite3.Error) as caught:
        database.execute("SELECT zeroblob(900000000)").fetchone()
    assert "storage.database-damaged" == database_failure(caught.value, path).code


@pytest.mark.parametrize("more", ["", "ALTER TABLE projections ADD COLUMN more", "CREATE TABLE more (x)"])
def test_a_newer_schema_is_named(path: Path, more: str) -> None:
    """A ledger with a newer schema is Misuse that says to upgrade, whatever it is made of."""
    change(path, "UPDATE meta SET value = '2'")
    if more:
        change(path, more)
    with pytest.raises(Misuse, match="newer version"):
        read_ledger(path)


def test_a_truncated_file_is_tampered(path: Path) -> None:
    """A file cut at any page, or within one, is Tampered, down to its header."""
    content = path.read_bytes()
    for size in range(512, len(content), 2_048):
        path.write_bytes(content[:size])
        with pytest.raises(Tampered):
            read_ledger(path)


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3"])
def test_what_is_no_database_is_bad_input(path: Path, content: bytes) -> None:
    """A file that does not begin like a database is BadInput."""
    path.write_bytes(content)
    with pytest.raises(BadInput):
        read_ledger(path)


def test_what_is_not_there_is_bad_input(tmp_path: Path) -> None:
    """A missing file and a folder are BadInput, and none is created."""
    for path in (tmp_path / "no.db", tmp_path):
        with pytest.raises(BadInput, match="no ledger"):
            read_ledger(path)
    assert [] == names(tmp_path)


def test_odd_names_are_only_names(path: Path) -> None:
    """A path with the letters that a database address gives meaning to is read as a path."""
    odd = Path(shutil.copyfile(path, path.with_name("a?mode=rwc#b%20c .db")))
    assert audited(read_ledger(odd)).holds


def test_the_reader_needs_the_standard_library_only() -> None:
    """Reading a ledger does not import SQLAlchemy or any other package that the base install lacks."""
    program = "import sys, gatewright.adapters.ledger_file, gatewright.ledger.audit; print('sqlalchemy' in sys.modules)"
    assert "False\n" == subprocess.check_output([sys.executable, "-c", program], text=True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SQLITE_FULL", DependencyFailed),
        ("SQLITE_IOERR_FSYNC", DependencyFailed),
        ("SQLITE_BUSY_SNAPSHOT", DependencyFailed),
        ("SQLITE_LOCKED", DependencyFailed),
        ("SQLITE_READONLY_DIRECTORY", DependencyFailed),
        ("SQLITE_CANTOPEN", DependencyFailed),
        ("SQLITE_NOMEM", DependencyFailed),
        ("SQLITE_CORRUPT_INDEX", Tampered),
        ("SQLITE_NOTADB", Tampered),
        ("SQLITE_CONSTRAINT_PRIMARYKEY", Tampered),
        ("", Tampered),
    ],
)
def test_every_error_of_the_database_has_a_kind(name: str, kind: type[GatewrightError]) -> None:
    """Damage is Tampered, a disk or lock that fails is DependencyFailed."""
    error = sqlite3.OperationalError("told by SQLite")
    error.sqlite_errorname = name
    assert kind is type(database_failure(error, Path("ledger.db")))
