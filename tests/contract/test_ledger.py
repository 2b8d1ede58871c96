"""The SQLite ledger keeps the contract of the port, and what only SQLite can break."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gatewright.adapters.ledger_file import read_whole
from gatewright.adapters.sqlite_ledger import SqliteLedger
from gatewright.kernel.errors import BadInput, DependencyFailed, GatewrightError, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import open_checkpoint
from gatewright.ledger.projection import Project
from gatewright.ledger.records import Record
from gatewright.ledger.tree import leaf_hash, verify_inclusion
from gatewright.testing.ledger_contract import NOON, PROMISES, LedgerBench, draft, latest
from gatewright.testing.signers import SeedSigner

ORIGIN = "example.com/log"
SIGNER = SeedSigner("log")

Open = Callable[[Project], SqliteLedger]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger lies."""
    return tmp_path / "ledger.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """A way to open the ledger, which closes every one at the end."""
    kept: list[SqliteLedger] = []

    def open_ledger(project: Project) -> SqliteLedger:
        kept.append(SqliteLedger(path, signer=SIGNER, origin=ORIGIN, project=project))
        return kept[-1]

    yield open_ledger
    for ledger in kept:
        ledger.close()


def change(path: Path, statement: str, *values: object) -> None:
    """Change the database behind the ledger's back."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, values)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.__name__)
def test_the_sqlite_ledger_keeps_the_contract(promise: Callable[[LedgerBench], None], opened: Open) -> None:
    """The SQLite ledger keeps each promise of the port."""
    promise(LedgerBench(open=opened, key=SIGNER.public, origin=ORIGIN))


def test_inclusion_paths_verify_under_the_newest_checkpoint(opened: Open) -> None:
    """For every record of trees of every small size, the stored nodes give a path that verifies."""
    ledger = opened(latest)
    for size in range(1, 12):
        ledger.append([draft("a")], NOON)
        head = open_checkpoint(ledger.checkpoint(), origin=ORIGIN, key=SIGNER.public)
        for seq, leaf in enumerate(ledger.leaves()):
            path = ledger.inclusion(seq)
            assert verify_inclusion(leaf=leaf_hash(leaf), index=seq, size=size, path=path, root=head.root)
    with pytest.raises(BadInput):
        ledger.inclusion(11)


def test_history_is_by_kind_and_until(opened: Open) -> None:
    """History gives the records of the asked kinds up to and including the asked moment, in order."""
    ledger = opened(latest)
    for second, kind in enumerate(["model.added", "model.removed", "model.added", "data.added"]):
        ledger.append([draft("a", kind=kind)], Instant(second))
    assert [0, 2] == [record.seq for record in ledger.history(["model.added"], None)]
    assert [0, 1, 2] == [record.seq for record in ledger.history([], Instant(2))]
    assert [0, 2, 3] == [record.seq for record in ledger.history(["data.added", "model.added"], None)]
    assert [] == list(ledger.history(["data.added"], Instant(2)))


def test_long_ledgers_are_read_page_by_page(opened: Open) -> None:
    """More records than one page come back complete and in order, also after a rebuild."""
    ledger = opened(latest)
    records = ledger.append([draft("a")] * 2_100, NOON)
    assert [record.encode() for record in records] == list(ledger.leaves())
    assert records == tuple(ledger.history([], None))
    assert 2_100 == ledger.rebuild()
    assert {"last": 2_099} == ledger.get("subjects", "a")


def test_two_processes_append_without_a_gap(path: Path, opened: Open) -> None:
    """Two processes that append at once, under the home's lock, leave one gapless, signed sequence."""
    program = """
import sys
from pathlib import Path
from gatewright.adapters.durable_files import HomeLock
from gatewright.adapters.sqlite_ledger import SqliteLedger
from gatewright.testing.ledger_contract import NOON, latest, draft
from gatewright.testing.signers import SeedSigner
path, name = Path(sys.argv[1]), sys.argv[2]
lock = HomeLock(path.with_name("lock"), wait_s=60)
with lock:
    ledger = SqliteLedger(path, signer=SeedSigner("log"), origin="example.com/log", project=latest)
for _ in range(25):
    with lock:
        ledger.append([draft(name), draft(name)], NOON)
ledger.close()
"""
    running = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in ("a", "b")]
    assert [0, 0] == [each.wait(timeout=60) for each in running]
    ledger = opened(latest)
    assert 100 == LedgerBench(open=opened, key=SIGNER.public, origin=ORIGIN).verify(ledger)
    last = [document["last"] for _, document in ledger.scan("subjects")]
    assert 99 == max(last)


def test_sqlite_alone_keeps_writers_apart(opened: Open) -> None:
    """Without the home's lock too, two open ledgers number their records without a gap."""
    first, second = opened(latest), opened(latest)
    for index in range(6):
        (first, second)[index % 2].append([draft("a")], NOON)
    assert 6 == LedgerBench(open=opened, key=SIGNER.public, origin=ORIGIN).verify(first)


def test_a_killed_writer_leaves_whole_appends(path: Path, opened: Open) -> None:
    """A process killed inside an append leaves the records before it and nothing of it."""
    program = """
import os, signal, sys
from pathlib import Path
from gatewright.adapters.sqlite_ledger import SqliteLedger
from gatewright.testing.ledger_contract import NOON, latest, draft
from gatewright.testing.signers import SeedSigner
def project(record):
    if record.draft.subject == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return latest(record)
ledger = SqliteLedger(Path(sys.argv[1]), signer=SeedSigner("log"), origin="example.com/log", project=project)
ledger.append([draft("a")], NOON)
ledger.append([draft("b"), draft("kill")], NOON)
"""
    assert (
        -9 == subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60).returncode
    )
    ledger = opened(latest)
    assert 1 == LedgerBench(open=opened, key=SIGNER.public, origin=ORIGIN).verify(ledger)
    assert ["a"] == [key for key, _ in ledger.scan("subjects")]


def test_rebuilding_puts_the_searched_columns_right(path: Path, opened: Open) -> None:
    """A changed index column is refused when found, and put right by a rebuild."""
    ledger = opened(latest)
    ledger.append([draft("a"), draft("b")], NOON)
    change(path, "UPDATE records SET subject = 'other' WHERE seq = 1")
    with pytest.raises(Tampered, match="record 1"):
        list(ledger.history([], None))
    ledger.rebuild()
    assert ["a", "b"] == [record.draft.subject for record in ledger.history([], None)]


def test_rebuilding_restores_dropped_documents(path: Path, opened: Open) -> None:
    """Dropped and changed documents come back from the records."""
    ledger = opened(latest)
    ledger.append([draft("a"), draft("b")], NOON)
    before = list(ledger.scan("subjects"))
    change(path, "DELETE FROM projections WHERE key = 'a'")
    assert before != list(ledger.scan("subjects"))
    change(path, "UPDATE projections SET document = ?", b'{"last":9}')
    ledger.rebuild()
    assert before == list(ledger.scan("subjects"))


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE projections SET document = CAST('{"last":9}' AS BLOB)""",
        "UPDATE projections SET seq = 1 WHERE collection = 'subjects'",
        "UPDATE projections SET seq = 7",
        "UPDATE projections SET key = 'mallory' WHERE collection = 'subjects'",
        "UPDATE records SET leaf = (SELECT leaf FROM records WHERE seq = 1) WHERE seq = 0",
    ],
)
def test_a_table_changed_from_outside_decides_nothing(path: Path, opened: Open, statement: str) -> None:
    """A document that no signed record says is refused on reading, however it was put there."""
    ledger = opened(latest)
    ledger.append([draft("a"), draft("b")], NOON)
    change(path, "DELETE FROM projections WHERE key = 'b'")
    change(path, statement)
    with pytest.raises(Tampered):
        list(ledger.scan("subjects"))


def test_a_forged_record_behind_a_document_is_refused(path: Path, opened: Open) -> None:
    """Whoever can write the file but not sign cannot add a record and a document that follows from it."""
    ledger = opened(latest)
    ledger.append([draft("a")], NOON)
    forged = Record(seq=1, time=NOON, draft=draft("mallory")).encode()
    change(path, "INSERT INTO records VALUES (1, 0, 'model.added', 'mallory', ?)", forged)
    change(path, "INSERT INTO nodes VALUES (0, 1, ?)", leaf_hash(forged))
    change(path, "INSERT INTO projections VALUES ('subjects', 'mallory', 1, ?)", b'{"last":1}')
    with pytest.raises(Tampered, match="signed"):
        ledger.get("subjects", "mallory")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE nodes SET hash = zeroblob(32) WHERE level = 1 AND idx = 0",
        "DELETE FROM nodes WHERE level = 1 AND idx = 0",
        "DELETE FROM records WHERE seq = 2",
        "UPDATE checkpoints SET note = CAST('x' AS BLOB)",
        "DELETE FROM checkpoints WHERE size = 3",
        "DELETE FROM checkpoints",
        "UPDATE records SET leaf = CAST('{}' AS BLOB) WHERE seq = 2",
    ],
)
def test_nothing_is_signed_over_a_changed_ledger(path: Path, opened: Open, statement: str) -> None:
    """An append to a ledger that does not match its own checkpoint is refused and changes nothing."""
    ledger = opened(latest)
    for name in ("a", "b", "c"):
        ledger.append([draft(name)], NOON)
    change(path, statement)
    leaves = list(ledger.leaves())
    with pytest.raises(Tampered):
        ledger.append([draft("d")], NOON)
    assert leaves == list(ledger.leaves())


def test_another_logs_key_cannot_append(path: Path, opened: Open) -> None:
    """A signer whose key did not sign the newest checkpoint is refused."""
    opened(latest).append([draft("a")], NOON)
    stranger = SqliteLedger(path, signer=SeedSigner("other"), origin=ORIGIN, project=latest)
    with closing(stranger), pytest.raises(Tampered, match="No known key"):
        stranger.append([draft("b")], NOON)


def test_a_newer_home_is_named(path: Path, opened: Open) -> None:
    """A database with a newer schema is Misuse that says to upgrade."""
    opened(latest)
    change(path, "UPDATE meta SET value = '2'")
    with pytest.raises(Misuse, match="newer version"):
        opened(latest)


@pytest.mark.parametrize("statement", ["DELETE FROM meta", "DROP TABLE meta", "UPDATE meta SET value = 'x'"])
def test_a_home_without_a_version_is_refused(path: Path, opened: Open, statement: str) -> None:
    """A database that names no schema version is Tampered, not taken for an old one."""
    opened(latest)
    change(path, statement)
    with pytest.raises(Tampered):
        opened(latest)


@pytest.mark.parametrize("data", [b"not a database" * 400, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_tampered(path: Path, opened: Open, data: bytes) -> None:
    """Bytes that SQLite cannot read are Tampered, and stay as they are."""
    path.write_bytes(data)
    with pytest.raises(Tampered):
        opened(latest)
    assert data == path.read_bytes()


def test_a_dropped_table_is_tampered(path: Path, opened: Open) -> None:
    """A table that is gone is Tampered, whichever method needs it."""
    ledger = opened(latest)
    ledger.append([draft("a")], NOON)
    for table in ("projections", "nodes", "checkpoints"):
        change(path, f"DROP TABLE {table}")
    for call in (
        lambda: ledger.get("a", "b"),
        ledger.checkpoint,
        ledger.rebuild,
        lambda: ledger.inclusion(0),
    ):
        with pytest.raises(Tampered):
            call()


def test_a_folder_that_is_not_there_is_a_failed_dependency(tmp_path: Path) -> None:
    """A path that cannot be opened is DependencyFailed."""
    with pytest.raises(DependencyFailed):
        SqliteLedger(tmp_path / "no" / "ledger.db", signer=SIGNER, origin=ORIGIN, project=latest)


def test_a_locked_database_is_a_failed_dependency(
    path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that never ends makes the next one fail with a sentence, not hang."""
    opened(latest)
    monkeypatch.setattr("gatewright.adapters.sqlite_ledger.BUSY_WAIT_S", 0.05)
    waiting = opened(latest)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(DependencyFailed, match="locked"):
            waiting.append([draft("a")], NOON)


def test_a_full_disk_leaves_the_old_state(opened: Open) -> None:
    """When the database cannot grow, the append is DependencyFailed and nothing of it stays."""
    ledger = opened(latest)
    ledger.append([draft("a")], NOON)
    with ledger._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    before = (list(ledger.leaves()), ledger.checkpoint())
    with pytest.raises(DependencyFailed, match="full"):
        ledger.append([draft(f"a{index}") for index in range(200)], NOON)
    assert before == (list(ledger.leaves()), ledger.checkpoint())


def test_the_log_is_folded_back_after_every_append(path: Path, opened: Open) -> None:
    """After an append the write-ahead log is empty, so a copy of the one file is the ledger."""
    opened(latest).append([draft("a")], NOON)
    assert 0 == path.with_name("ledger.db-wal").stat().st_size


def test_a_reader_does_not_hold_up_an_append(path: Path, opened: Open) -> None:
    """While a reader stays in the middle of its reading, an append is done, and the reader sees what it saw."""
    ledger = opened(latest)
    ledger.append([draft("a")], NOON)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert (1,) == reader.execute("SELECT count(*) FROM records").fetchone()
        ledger.append([draft("b")], NOON)
        assert (1,) == reader.execute("SELECT count(*) FROM records").fetchone()
    ledger.append([draft("c")], NOON)
    assert 0 == path.with_name("ledger.db-wal").stat().st_size


def test_a_ledger_opens_while_another_writes(
    path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening an existing ledger, and reading it, does not wait for a writer."""
    opened(latest).append([draft("a")], NOON)
    monkeypatch.setattr("gatewright.adapters.sqlite_ledger.BUSY_WAIT_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert {"last": 0} == opened(latest).get("subjects", "a")


def test_errors_of_the_database_never_leave_as_they_are(path: Path, opened: Open) -> None:
    """A database overwritten while it is open gives errors of this product only."""
    ledger = opened(latest)
    ledger.append([draft(f"a{index}") for index in range(50)], NOON)
    ledger.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    path.write_bytes(bytes(data))
    with pytest.raises(GatewrightError):
        opened(latest).append([draft("b")], NOON)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM projections WHERE key = 'a'",
        "DELETE FROM projections",
        "UPDATE projections SET seq = 0, document = CAST('{\"last\":0}' AS BLOB) WHERE key = 'a'",
        "DELETE FROM meta WHERE name = 'tables'",
    ],
)
def test_tables_that_lack_or_go_back_are_noticed(path: Path, opened: Open, statement: str) -> None:
    """A document removed, or put back to one that once was true, stops the next append."""
    ledger = opened(latest)
    ledger.append([draft("a"), draft("b")], NOON)
    ledger.append([draft("a")], NOON)
    ledger.require_tables()
    change(path, statement)
    with pytest.raises(Tampered, match="changed from outside"):
        ledger.require_tables()
    with pytest.raises(Tampered, match="changed from outside"):
        ledger.append([draft("c")], NOON)
    ledger.rebuild()
    assert 3 == ledger.append([draft("c")], NOON)[0].seq


def test_a_ledger_in_use_is_read_as_of_one_moment(path: Path, opened: Open) -> None:
    """Beside an open writer its ledger is read whole, without a lock, and the writer goes on and folds its log."""
    ledger = opened(latest)
    ledger.append([draft("a")] * 3, NOON)
    with closing(sqlite3.connect(path, isolation_level=None)) as beside:
        beside.execute("BEGIN")
        beside.execute("SELECT count(*) FROM records").fetchone()  # hinders the fold: the log holds records
        ledger.append([draft("b")], NOON)
        found = read_whole(path, origin=ORIGIN, key=SIGNER.public)
    assert [leaf for leaf, _ in found.leaves] == list(ledger.leaves())
    ledger.append([draft("c")], NOON)
    assert 5 == len(read_whole(path, origin=ORIGIN, key=SIGNER.public).leaves)
    assert 0 == path.with_name(f"{path.name}-wal").stat().st_size
    change(path, "UPDATE projections SET document = x'7b7d' WHERE key = 'a'")
    with pytest.raises(Tampered):
        read_whole(path, origin=ORIGIN, key=SIGNER.public)
