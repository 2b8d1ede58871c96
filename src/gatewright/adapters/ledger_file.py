"""Read a ledger's database without changing anything beside it; standard library only.

The verifier uses this in the base install. What is read is *not* believed: hand it to
:func:`gatewright.ledger.audit.audit`. For the ledger of a home in use, hold the home's lock.

Schema v1, written by :mod:`gatewright.adapters.sqlite_ledger`: ``records(seq, time_ns, kind,
subject, leaf)``, ``nodes(level, idx, hash)``, ``checkpoints(size, note)``, ``projections(collection,
key, seq, document)``, ``meta(name, value)``.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from gatewright.adapters.durable_files import disk_failures
from gatewright.kernel.errors import BadInput, DependencyFailed, GatewrightError, Misuse, Refusal, Tampered
from gatewright.ledger.checkpoints import Note, VerifyingKey, open_checkpoint, read_checkpoint_text
from gatewright.ledger.records import Record
from gatewright.ledger.tree import Frontier

SCHEMA_VERSION = 1
SCHEMA = "schema"
META = "meta"
TABLES = "tables"
"""Name of the signed statement about all tables."""
LEFT_OUT = ("segments",)
"""Tables that are not in it: they grow with the traffic, and each of their documents is proved when it is read."""

_ALLOWED = {
    "checkpoints": "CREATE TABLE checkpoints (size INTEGER NOT NULL, note BLOB NOT NULL, PRIMARY KEY (size))",
    "endpoint_records_by_subject": "CREATE INDEX endpoint_records_by_subject ON records (subject, seq) "
    "WHERE kind GLOB 'endpoint.*'",
    "meta": "CREATE TABLE meta (name VARCHAR NOT NULL, value VARCHAR NOT NULL, PRIMARY KEY (name))",
    "nodes": "CREATE TABLE nodes (level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL, "
    "PRIMARY KEY (level, idx)) WITHOUT ROWID",
    "projections": 'CREATE TABLE projections (collection VARCHAR NOT NULL, "key" VARCHAR NOT NULL, '
    "seq INTEGER NOT NULL, document BLOB NOT NULL, PRIMARY KEY (collection, key)) WITHOUT ROWID",
    "records": "CREATE TABLE records (seq INTEGER NOT NULL, time_ns INTEGER NOT NULL, kind VARCHAR NOT NULL, "
    "subject VARCHAR NOT NULL, leaf BLOB NOT NULL, PRIMARY KEY (seq))",
    "records_by_kind": "CREATE INDEX records_by_kind ON records (kind, seq)",
    "sqlite_autoindex_meta_1": "",
}
"""All that a ledger's database may be made of, schema version 1: tables and their indexes, no view and no trigger."""

PAGE_BYTES = 65_536
STEPS_AT_ONCE = 10_000
STEPS_LEAST = 4_000_000
STEPS_A_BYTE = 64
"""How much work SQLite may have with a database, by its size: a b-tree that leads back into itself never ends."""

_DAMAGED = {
    "SQLITE_INTERRUPT",  # it went on beyond what a database of its size can ask
    "SQLITE_TOOBIG",
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_CONSTRAINT",
    "SQLITE_MISMATCH",
    "SQLITE_ERROR",
    "SQLITE_FORMAT",
}
_FAILED = {
    "SQLITE_FULL": ("storage.disk-full", "The disk is full.", "Free some space, then run the command again."),
    "SQLITE_BUSY": (
        "storage.database-busy",
        "Another process keeps it locked.",
        "Try again when it has ended.",
    ),
    "SQLITE_LOCKED": (
        "storage.database-busy",
        "It is locked.",
        "Try again when the other command has ended.",
    ),
    "SQLITE_READONLY": ("storage.read-only", "It cannot be written.", "Check the permissions of the home."),
    "SQLITE_PERM": ("storage.no-permission", "Permission is denied.", "Check the permissions of the home."),
    "SQLITE_CANTOPEN": (
        "storage.no-permission",
        "It cannot be opened.",
        "Check the path and its permissions.",
    ),
    "SQLITE_IOERR": (
        "storage.disk-error",
        "The disk reported an error.",
        "Check the disk before anything else.",
    ),
}

_LEAVES = "SELECT r.seq, r.time_ns, r.kind, r.subject, r.leaf, n.hash FROM records r LEFT JOIN nodes n ON n.level = 0 AND n.idx = r.seq ORDER BY r.seq"


def database_failure(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> GatewrightError:
    """What an error of SQLite means: damage is Tampered, everything else DependencyFailed.

    A UnicodeDecodeError is what Python makes of a message that quotes a damaged schema.
    """
    name = getattr(error, "sqlite_errorname", "") or "SQLITE_ERROR"
    primary = "_".join(name.split("_")[:2])  # SQLITE_IOERR_FSYNC is a kind of SQLITE_IOERR
    if primary in _DAMAGED:
        return Tampered(
            "storage.database-damaged",
            "The ledger's database is damaged.",
            why=f"SQLite says: {str(error)[:200]}.",
            next="Restore it from a backup; do not go on with this file.",
            place=str(path),
        )
    code, why, step = _FAILED.get(primary, ("storage.database", f"SQLite says: {str(error)[:200]}.", ""))
    return DependencyFailed(
        code, "The ledger's database did not answer.", why=why, next=step, place=str(path)
    )


def require_schema(version: object, path: Path) -> None:
    """Raise Misuse for a home from a newer version, Tampered for no version at all."""
    if not isinstance(version, str) or not version.isdecimal() or int(version) < 1:
        raise Tampered("storage.no-schema", "The database names no schema version.", place=str(path))
    if int(version) > SCHEMA_VERSION:
        raise Misuse(
            "storage.newer-home",
            "This home is from a newer version of Gatewright.",
            why=f"Its database has schema {version}; this version knows up to {SCHEMA_VERSION}.",
            next="Upgrade Gatewright, then run the command again.",
            place=str(path),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFile:
    """What a ledger's database holds.

    ``leaves`` are the leaf bytes in the order of their sequence numbers, each with the leaf hash
    stored for it (None where there is none); ``checkpoint`` is the newest signed note;
    ``documents`` are the stored projections by collection and key; ``disagreements`` are the records whose index columns, which ``history`` searches, say other
    things than their leaf.
    """

    leaves: tuple[tuple[bytes, bytes | None], ...]
    checkpoint: bytes
    documents: Mapping[tuple[str, str], bytes]
    disagreements: tuple[Refusal, ...]


def read_ledger(path: Path) -> LedgerFile:
    """Read the ledger at ``path`` without writing to it or beside it.

    Raises BadInput when there is no such file or it is not a SQLite database, Tampered when it is
    damaged or something essential is gone, Misuse for a newer schema, DependencyFailed when the
    disk fails.
    """
    with disk_failures("read the ledger", path):
        if not path.is_file():
            raise BadInput("storage.no-ledger", "There is no ledger.", place=str(path))
        with path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\x00":
                raise BadInput("storage.not-a-ledger", "The file is not a SQLite database.", place=str(path))
    try:
        with _opened(path) as database:
            return _read(database, path)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise database_failure(error, path) from error


def newest_leaf(path: Path, kind: str) -> bytes:
    """The leaf of the newest record of a kind, not believed; empty where there is none.

    Raises as :func:`read_ledger` does.
    """
    try:
        with _opened(path) as database:
            found = database.execute(
                "SELECT leaf FROM records WHERE kind = ? ORDER BY seq DESC LIMIT 1", (kind,)
            ).fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise database_failure(error, path) from error
    return found[0] if found and isinstance(found[0], bytes) else b""


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open so that nothing is created beside the file; a write-ahead log there is read from a copy.

    The file may be anybody's: see :func:`_bound`.
    """
    log = path.with_name(f"{path.name}-wal")
    with ExitStack() as stack, disk_failures("read the ledger", path):
        if log.exists() and log.stat().st_size:
            copy = Path(stack.enter_context(TemporaryDirectory())) / "ledger"
            shutil.copyfile(path, copy)
            shutil.copyfile(log, copy.with_name("ledger-wal"))
            uri = f"{copy.as_uri()}?mode=ro"
        else:
            uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        database = stack.enter_context(closing(sqlite3.connect(uri, uri=True)))
        _bound(database, path)
        yield database


def _size(path: Path) -> int:
    """The bytes of a database and of the write-ahead log beside it."""
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _bound(database: sqlite3.Connection, path: Path) -> None:
    """Let a database that somebody else made cost no more than its size: no code in it, no endless work.

    Raises Tampered where it is made of anything else than a ledger's tables and indexes.
    """
    size = _size(path)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(size, PAGE_BYTES))  # no value is longer than its file
    steps = iter(range((STEPS_LEAST + STEPS_A_BYTE * size) // STEPS_AT_ONCE))
    database.set_progress_handler(lambda: next(steps, None) is None, STEPS_AT_ONCE)
    database.execute("PRAGMA trusted_schema=OFF")
    database.execute("PRAGMA cell_size_check=ON")
    made = database.execute("SELECT name, sql FROM sqlite_master").fetchall()
    others = [str(name)[:80] for name, how in made if not _is_ours(name, how)]
    if not others:
        return
    if [_is_ours(*each) for each in made if each[0] == META] == [True]:
        require_schema(_version(database), path)
    raise Tampered(
        "storage.other-schema",
        "The database is not made as a ledger's is.",
        why=f"It holds {others[0]!r}, which is not a ledger's table or index of that name.",
        next="Do not use this file; restore ledger.db from a backup.",
        place=str(path),
    )


def _is_ours(name: object, how: object) -> bool:
    return isinstance(name, str) and name in _ALLOWED and _bare(str(how or "")) == _bare(_ALLOWED[name])


def _version(database: sqlite3.Connection) -> object:
    found = database.execute("SELECT value FROM meta WHERE name = ?", (SCHEMA,)).fetchone()
    return found[0] if found else None


def _bare(made: str) -> str:
    """A statement of SQL without the blanks and quotation marks that may stand in it one way or another."""
    return "".join(made.replace('"', "").split())


def _read(database: sqlite3.Connection, path: Path) -> LedgerFile:
    require_schema(_version(database), path)
    leaves: list[tuple[bytes, bytes | None]] = []
    disagreements: list[Refusal] = []
    left = _size(path)
    for seq, time_ns, kind, subject, leaf, stored in database.execute(_LEAVES):
        if not isinstance(leaf, bytes) or not isinstance(stored, bytes | None):
            raise Tampered(
                "storage.record-damaged", "A stored record is not bytes.", place=f"record {seq} in {path}"
            )
        left -= len(leaf) + 1
        if left < 0:
            raise Tampered(
                "storage.database-damaged",
                "The ledger's database is damaged.",
                why="It shows more records than have room in it.",
                next="Restore it from a backup; do not go on with this file.",
                place=str(path),
            )
        leaves.append((leaf, stored))
        disagreements += _disagreement(leaf, (seq, time_ns, kind, subject))
    note = database.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    if note is None or not isinstance(note[0], bytes):
        raise Tampered("storage.no-checkpoint", "The ledger holds no checkpoint.", place=str(path))
    return LedgerFile(
        leaves=tuple(leaves),
        checkpoint=note[0],
        documents={
            (str(collection), str(key)): document if isinstance(document, bytes) else b""
            for collection, key, document in database.execute(
                "SELECT collection, key, document FROM projections"
            )
        },
        disagreements=tuple(disagreements),
    )


def require_whole(path: Path, *, origin: str, key: VerifyingKey) -> None:
    """Raise Tampered where a part of the database that :func:`read_ledger` does not return was changed.

    That is every page and index (SQLite's own check), each inner node of the tree, the head that each
    earlier checkpoint states, and what ``key``, the log's Ed25519 key, signed under ``origin`` about the
    tables. Not seen: bytes that SQLite does not use, and the signatures of
    earlier checkpoints, of which only the newest is ever read.
    """
    try:
        with _opened(path) as database:
            _require_whole(database, path, origin, key)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise database_failure(error, path) from error


def read_whole(path: Path, *, origin: str, key: VerifyingKey) -> LedgerFile:
    """:func:`read_ledger` and :func:`require_whole` as of one moment, of the ledger of a home in use.

    No lock is needed and nobody waits: it is a reader of SQLite's beside the writer. Unlike the others
    it may make the database's ``-shm`` file.
    """
    try:
        with ExitStack() as stack, disk_failures("read the ledger", path):
            uri = f"{path.absolute().as_uri()}?mode=ro"  # what cannot write folds no log back, either
            database = stack.enter_context(closing(sqlite3.connect(uri, uri=True, isolation_level=None)))
            _bound(database, path)
            database.execute("BEGIN")
            found = _read(database, path)
            _require_whole(database, path, origin, key)
            return found
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise database_failure(error, path) from error


def _require_whole(database: sqlite3.Connection, path: Path, origin: str, key: VerifyingKey) -> None:
    found = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise Tampered(
            "storage.database-damaged",
            "The ledger's database is damaged.",
            why=f"SQLite says: {str(found)[:200]}.",
            next="Restore it from a backup; do not go on with this file.",
            place=str(path),
        )
    _require_tables(database, _require_nodes(database, path), origin, key)


def tables_digest(rows: Iterable[tuple[str, str, int, object]]) -> bytes:
    """SHA-256 over documents with their places, by collection and key, length-prefixed: what is signed of the tables."""
    state = sha256(b"gatewright tables v1\n")
    for collection, key, seq, document in rows:
        content = document if isinstance(document, bytes) else repr(document).encode()
        for part in (collection.encode(), key.encode(), str(seq).encode(), content):
            state.update(len(part).to_bytes(8, "big") + part)
    return state.digest()


def _require_tables(database: sqlite3.Connection, size: int, origin: str, key: VerifyingKey) -> None:
    """The tables are those that the log's key signed after ``size`` records."""
    rows = database.execute(
        "SELECT collection, key, seq, document FROM projections WHERE collection != ? ORDER BY collection, key",
        LEFT_OUT,
    )
    note = database.execute("SELECT value FROM meta WHERE name = ?", (TABLES,)).fetchone()
    try:
        stated = open_checkpoint(str(note[0]).encode() if note else b"", origin=f"{origin}/tables", key=key)
    except GatewrightError:
        stated = None
    if stated is None or (stated.size, stated.root) != (size, tables_digest(rows)):
        raise Tampered(
            "storage.tables-changed",
            "The tables of this home were changed from outside.",
            why="A document was added, removed or put back to an older one, or what was signed about them was.",
            next="Restore ledger.db from a backup.",
            place="table projections",
        )


def _require_nodes(database: sqlite3.Connection, path: Path) -> int:
    """Every inner node is the hash of the two below it, none is missing or too many; every head is on the tree.

    Returns how many leaves there are.
    """
    stored: dict[tuple[int, int], bytes] = {
        (level, index): node for level, index, node in database.execute("SELECT level, idx, hash FROM nodes")
    }
    frontier = Frontier()
    heads = dict(database.execute("SELECT size, note FROM checkpoints"))
    while True:
        note = heads.pop(frontier.size, None)
        if note is not None and not _states(note, frontier):
            raise _changed_inside(f"checkpoint of {frontier.size} records", path)
        if (0, frontier.size) not in stored:
            break
        frontier, made = frontier.grow(stored[0, frontier.size])
        for each in made:
            if stored.pop((each.level, each.index), None) != each.hash:
                raise _changed_inside(f"node {each.index} of level {each.level}", path)
    for level, index in stored:
        raise _changed_inside(f"node {index} of level {level}", path)
    for size in heads:
        raise _changed_inside(f"checkpoint of {size} records", path)
    return frontier.size


def _states(note: object, frontier: Frontier) -> bool:
    """Whether a stored note states the size and root that the tree has there; who signed it is not asked."""
    try:
        head = read_checkpoint_text(Note.decode(note if isinstance(note, bytes) else b"").text)
    except GatewrightError:
        return False
    return (head.size, head.root) == (frontier.size, frontier.root())


def _changed_inside(place: str, path: Path) -> Tampered:
    return Tampered(
        "storage.tree-changed",
        "A stored part of the ledger's tree is not what its records make it.",
        why=f"It was changed, added or removed in {path.name}.",
        next="Restore the ledger from a backup; the records themselves are verified apart.",
        place=place,
    )


def index_columns(record: Record) -> tuple[int, int, str, str]:
    """Sequence number, time, kind and subject, as the columns beside the leaf must hold them."""
    return record.seq, record.time.ns, record.draft.kind, record.draft.subject


def _disagreement(leaf: bytes, columns: tuple[object, ...]) -> list[Refusal]:
    try:
        record = Record.decode(leaf)
    except BadInput:
        return []  # the audit names a leaf that cannot be read
    if index_columns(record) == columns:
        return []
    what = "The index beside a record says something else than the record."
    why = "Whoever searched the history by it could have been misled."
    place = f"record {columns[0]} ({record.draft.kind} {record.draft.subject}, {record.time})"
    return [Refusal(code="storage.index-changed", what=what, why=why, place=place)]
