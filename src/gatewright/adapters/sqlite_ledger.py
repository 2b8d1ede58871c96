"""The ledger in one SQLite file: records, tree nodes, signed checkpoints and projections.

One append is one transaction: leaves, nodes, the new checkpoint and every projection, or nothing.
Before it signs, the ledger opens its newest checkpoint and compares it with the stored tree: a log
must never sign a head that does not extend the one before (C2SP tlog-checkpoint).

The caller holds the home's lock (:class:`gatewright.adapters.durable_files.HomeLock`) around the
constructor, ``append`` and ``rebuild``: SQLite alone keeps writers apart too, but the write-ahead
log may be folded back into the database only by one process at a time that no reader hinders.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    create_engine,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gatewright.adapters.ledger_file import (
    SCHEMA,
    SCHEMA_VERSION,
    TABLES,
    database_failure,
    index_columns,
    require_schema,
)
from gatewright.adapters.ledger_rows import newest_note, record_of, reindexed
from gatewright.adapters.ledger_schema import checkpoints as _checkpoints
from gatewright.adapters.ledger_schema import meta as _meta
from gatewright.adapters.ledger_schema import metadata as _metadata
from gatewright.adapters.ledger_schema import nodes as _nodes
from gatewright.adapters.ledger_schema import projections as _projections
from gatewright.adapters.ledger_schema import records as _records
from gatewright.adapters.ledger_search import SUBJECT_INDEX, misplaced, newest, node, one, position, stands
from gatewright.adapters.log_signing import HeadSigning
from gatewright.adapters.table_state import require_tables, sign_tables
from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.errors import BadInput, DependencyFailed, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import Checkpoint
from gatewright.ledger.projection import Project, Put
from gatewright.ledger.proofs import consistency_from, inclusion_from
from gatewright.ledger.records import Draft, Record
from gatewright.ledger.tree import Frontier, Node, frontier_nodes, leaf_hash
from gatewright.ports import Signer

logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())  # failures are raised, not printed

BUSY_WAIT_S = 10.0
ROWS_AT_ONCE = 1_000


def _apply(connection: Connection, put: Put, seq: int) -> None:
    here = (_projections.c.collection == put.collection) & (_projections.c.key == put.key)
    if put.document is None:
        connection.execute(delete(_projections).where(here))
        return
    row = {"seq": seq, "document": canonical.encode(put.document)}
    write = upsert(_projections).values(collection=put.collection, key=put.key, **row)
    connection.execute(write.on_conflict_do_update(index_elements=["collection", "key"], set_=row))


def _document(stored: object, collection: str, key: str) -> JsonObject:
    try:
        value = canonical.decode(stored) if isinstance(stored, bytes) else None
    except BadInput:
        value = None
    if not isinstance(value, dict):
        raise Tampered(
            "storage.projection-damaged",
            "A stored projection cannot be read.",
            next="Make the projections again from the records.",
            place=f"{collection}/{key}",
        )
    return value


class SqliteLedger:
    """The ledger in a SQLite file; implements ``Ledger`` and ``Projections`` of :mod:`gatewright.ports`.

    Opens the file at ``path`` or creates it, with a signed checkpoint of no records. ``signer``
    (Ed25519) and ``signer_pq`` (ML-DSA-44) sign checkpoints under the name ``origin``; ``project`` says what follows from a
    record. Raises Misuse for a home from a newer version, Tampered for a damaged file, and
    DependencyFailed when the disk or a lock fails; so does every method.
    """

    def __init__(
        self, path: Path, *, signer: Signer, signer_pq: Signer | None = None, origin: str, project: Project
    ) -> None:
        self._path = path
        self._heads = HeadSigning(origin=origin, signer=signer, signer_pq=signer_pq)
        self._project = project
        self._opened: tuple[bytes, Checkpoint] | None = None
        self._engine: Engine = create_engine(
            "sqlite://", creator=self._connect, isolation_level="AUTOCOMMIT", pool_reset_on_return=None
        )
        try:
            with self._failures(), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            with self._reading() as connection:
                made = self._is_made(connection)
            if not made:
                self._make()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        opened = sqlite3.connect(
            self._path, timeout=BUSY_WAIT_S, isolation_level=None, check_same_thread=False
        )
        try:
            opened.execute("PRAGMA synchronous=FULL")
            opened.execute("PRAGMA wal_autocheckpoint=0")
        except BaseException:
            opened.close()
            raise
        if sys.version_info >= (3, 12):  # a reader that closes last must not fold the log back unlocked
            opened.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)  # noqa: FBT003 - positional only
        return opened

    def _is_made(self, connection: Connection) -> bool:
        """Whether the tables are there; refuses those of a newer version."""
        tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
        if not tables:
            return False
        found = select(_meta.c.value).where(_meta.c.name == SCHEMA)
        require_schema(connection.execute(found).scalar() if _meta.name in tables else None, self._path)
        return True

    def _make(self) -> None:
        """Create the tables and sign the checkpoint of no records, unless another process just did."""
        with self._writing() as connection:
            if self._is_made(connection):
                return
            _metadata.create_all(connection, checkfirst=False)
            connection.execute(insert(_meta).values(name=SCHEMA, value=str(SCHEMA_VERSION)))
            self._sign(connection, Frontier(), Instant(0), self._heads)

    def close(self) -> None:
        """Close every connection to the file."""
        self._engine.dispose()

    def append(self, drafts: Sequence[Draft], now: Instant) -> tuple[Record, ...]:
        """Append the drafts at ``now``, in one durable transaction, and return them as records.

        No record is earlier than the one before it, whatever the clock says. Nothing is written
        when ``project`` raises. Also raises BadInput for a draft that is no record.
        """
        return self._append(drafts, now, self._heads)

    def hand_over(
        self, drafts: Sequence[Draft], now: Instant, *, origin: str, signer: Signer, signer_pq: Signer | None
    ) -> tuple[Record, ...]:
        """Append as :meth:`append` does, under a head that other keys sign, as they do from then on."""
        heads = HeadSigning(origin=origin, signer=signer, signer_pq=signer_pq)
        records = self._append(drafts, now, heads)
        self._heads = heads
        return records

    def _append(self, drafts: Sequence[Draft], now: Instant, heads: HeadSigning) -> tuple[Record, ...]:
        if not drafts:
            return ()
        with self._writing() as connection:
            frontier, time = self._head(connection)
            self._require_tables(connection)
            connection.exec_driver_sql(SUBJECT_INDEX)
            start, moment = frontier.size, max(now, time)
            leaves = [
                Record(seq=seq, time=moment, draft=draft).encode() for seq, draft in enumerate(drafts, start)
            ]
            # What is projected is what a rebuild will read, not the drafts: 1.0 is kept as 1.
            records = tuple(Record.decode(leaf) for leaf in leaves)
            frontier = _insert(connection, records, leaves, frontier)
            self._follow(connection, records)
            self._sign(connection, frontier, moment, heads)
        self._fold_log()
        return records

    def leaves(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The exact bytes of records ``start`` up to ``stop``, in order."""
        found = select(_records.c.seq, _records.c.leaf)
        if stop is not None:
            found = found.where(_records.c.seq < stop)
        while True:
            page = found.where(_records.c.seq >= start).order_by(_records.c.seq).limit(ROWS_AT_ONCE)
            with self._reading() as connection:
                rows = connection.execute(page).all()
            yield from (row.leaf for row in rows)
            if len(rows) < ROWS_AT_ONCE:
                return
            start = rows[-1].seq + 1

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint (a C2SP signed note)."""
        with self._reading() as connection:
            return newest_note(connection)

    def rebuild(self) -> int:
        """Make every projection, and the index of the records, again from the leaves.

        Returns how many records were read. Raises Tampered when a leaf cannot be read; then
        nothing is changed.
        """
        with self._writing() as connection:
            connection.execute(delete(_projections))
            last = connection.execute(select(func.max(_records.c.seq))).scalar_one()
            count = 0 if last is None else last + 1
            for start in range(0, count, ROWS_AT_ONCE):
                within = _records.c.seq.between(start, start + ROWS_AT_ONCE - 1)
                rows = connection.execute(select(_records).where(within).order_by(_records.c.seq)).all()
                self._follow(connection, [reindexed(connection, row) for row in rows])
            self._sign_tables(connection, count, self._heads)
        self._fold_log()
        return count

    def history(self, kinds: Sequence[str], until: Instant | None, *, start: int = 0) -> Iterator[Record]:
        """Records of the given kinds (all, when none is given) from number ``start`` on, in order.

        Up to ``until``, inclusive. Raises Tampered when the index that was searched disagrees with a
        record found.
        """
        found = select(_records)
        if kinds:
            found = found.where(_records.c.kind.in_(kinds))
        if until is not None:
            with self._reading() as connection:
                found = found.where(_records.c.seq < position(connection, until))
        after = start - 1
        while True:
            page = found.where(_records.c.seq > after).order_by(_records.c.seq).limit(ROWS_AT_ONCE)
            with self._reading() as connection:
                rows = connection.execute(page).all()
            for row in rows:
                record = record_of(row.seq, row.leaf)
                if index_columns(record) != (row.seq, row.time_ns, row.kind, row.subject):
                    raise Tampered(
                        "storage.index-changed",
                        "The index beside a record says something else than the record.",
                        next="Verify the ledger.",
                        place=f"record {row.seq}",
                    )
                yield record
            if len(rows) < ROWS_AT_ONCE:
                return
            after = rows[-1].seq

    def position(self, moment: Instant) -> int:
        """How many records are not later than the moment; the two at the border are proved."""
        with self._reading() as connection:
            found = position(connection, moment)
            beside = (seq for seq in (found - 1, found) if seq >= 0)
            times = [record.time <= moment for record in self._proved(connection, beside)]
        if times not in ([True, False][: len(times)], [False], []):
            raise misplaced(found)
        return found

    def newest(
        self, kinds: Sequence[str], *, below: int, subject: str = "", most: int = 1
    ) -> tuple[Record, ...]:
        """Up to ``most`` records of the kinds below a number, the newest first, each proved.

        With ``subject`` only those about it. Raises Tampered for a record that is not under the signed head.
        """
        with self._reading() as connection:
            found = newest(connection, kinds, below=below, subject=subject, most=most)
            records = tuple(self._proved(connection, found))
        for record in records:
            if record.draft.kind not in kinds or subject not in ("", record.draft.subject):
                raise misplaced(record.seq)
        return records

    def inclusion(self, seq: int, size: int | None = None) -> tuple[bytes, ...]:
        """Path of record ``seq`` to the root over the first ``size`` records, lowest sibling first.

        ``size`` is that of the newest checkpoint where it is not given. Raises BadInput when there is
        no such record, or fewer records than ``size``.
        """
        with self._reading() as connection:
            newest = connection.execute(select(func.max(_checkpoints.c.size))).scalar_one() or 0
            size = newest if size is None else size
            if size > newest:
                raise BadInput("storage.no-such-size", f"There are no {size} records: {newest} are signed.")
            return inclusion_from(lambda level, index: node(connection, level, index), index=seq, size=size)

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """Proof that the log of ``second`` records begins with that of ``first``, from the stored nodes.

        Raises BadInput where ``second`` is larger than the newest checkpoint, or ``first`` than ``second``.
        """
        with self._reading() as connection:
            newest = connection.execute(select(func.max(_checkpoints.c.size))).scalar_one() or 0
            if second > newest:
                raise BadInput("storage.no-such-size", f"There are no {second} records: {newest} are signed.")
            return consistency_from(
                lambda level, index: node(connection, level, index), first=first, second=second
            )

    def subtree(self, level: int, index: int) -> bytes:
        """The stored hash over the ``2**level`` records from ``index << level`` on; Tampered where it is missing."""
        with self._reading() as connection:
            return node(connection, level, index)

    def get(self, collection: str, key: str) -> JsonObject | None:
        """One document, or None."""
        here = (_projections.c.collection == collection) & (_projections.c.key == key)
        with self._reading() as connection:
            row = connection.execute(select(_projections).where(here)).one_or_none()
            return None if row is None else self._proven(connection, row)

    def scan(self, collection: str, prefix: str = "") -> Iterator[tuple[str, JsonObject]]:
        """All documents of a collection whose key begins with ``prefix``, by key, as of one moment."""
        found = select(_projections).where(
            _projections.c.collection == collection, _projections.c.key >= prefix
        )
        with self._reading() as connection:
            rows = connection.execute(found.order_by(_projections.c.key)).all()
            documents = [
                (row.key, self._proven(connection, row))
                for row in takewhile(lambda row: row.key.startswith(prefix), rows)
            ]
        yield from documents

    def _proved(self, connection: Connection, numbers: Iterable[int]) -> Iterator[Record]:
        """The records of these numbers, each shown to stand under the signed head; those beyond it are left out."""
        head = self._believed(newest_note(connection))
        for seq in numbers:
            if seq >= head.size:
                continue
            leaf = one(connection, "SELECT leaf FROM records WHERE seq = ?", seq)
            record = record_of(seq, leaf)
            if not stands(connection, leaf, seq, size=head.size, root=head.root):
                raise misplaced(seq)
            yield record

    def _proven(self, connection: Connection, row: Row[Any]) -> JsonObject:
        """The document, once it is shown to follow from a record under the signed head.

        Tables are convenience: whoever can write them, but not sign, must not decide by them. So
        the record that the row names is proved to be in the tree, and projected again.
        """
        document = _document(row.document, row.collection, row.key)
        head = self._believed(newest_note(connection))
        found = select(_records.c.leaf).where(_records.c.seq == row.seq)
        record = record_of(row.seq, connection.execute(found).scalar())
        stood = stands(connection, record.encode(), row.seq, size=head.size, root=head.root)
        follows = any(
            (put.collection, put.key, put.document) == (row.collection, row.key, document)
            for put in self._project(record)
        )
        if not (stood and follows):
            raise Tampered(
                "storage.projection-unproven",
                "A stored table says what no signed record says.",
                why="It was changed from outside."
                if stood
                else "The record it names is not under the signed head.",
                next="Verify the ledger; nothing was done by what the table says.",
                place=f"{row.collection}/{row.key}",
            )
        return document

    def _head(self, connection: Connection) -> tuple[Frontier, Instant]:
        """The right edge of the stored tree and the last time, after comparing them with the checkpoint."""
        newest = select(_records.c.seq, _records.c.leaf).order_by(_records.c.seq.desc()).limit(1)
        last = connection.execute(newest).one_or_none()
        size = last.seq + 1 if last else 0
        frontier = Frontier(
            size=size, hashes=tuple(node(connection, level, index) for level, index in frontier_nodes(size))
        )
        head = self._believed(newest_note(connection))
        if (head.size, head.root) != (frontier.size, frontier.root()):
            raise Tampered(
                "ledger.head",
                "The ledger does not match its own signed checkpoint; nothing is appended to it.",
                why=f"The checkpoint covers {head.size} records; the stored tree has {size} and another root.",
                next="Verify the ledger, and restore it from a backup.",
                place=str(self._path),
            )
        return frontier, record_of(last.seq, last.leaf).time if last else Instant(0)

    def _believed(self, note: bytes) -> Checkpoint:
        if self._opened is not None and self._opened[0] == note:  # the same bytes were verified before
            return self._opened[1]
        try:
            head = self._heads.believed(note)
        except BadInput as error:
            what = "The newest checkpoint of the ledger cannot be read."
            raise Tampered(
                "storage.checkpoint-damaged", what, why=str(error), place=str(self._path)
            ) from error
        self._opened = (note, head)
        return head

    def _follow(self, connection: Connection, records: Sequence[Record]) -> None:
        for record in records:
            for put in self._project(record):
                _apply(connection, put, record.seq)

    def _sign(self, connection: Connection, frontier: Frontier, now: Instant, heads: HeadSigning) -> None:
        note = heads.note(frontier.size, frontier.root(), now)
        head = Checkpoint(origin=heads.origin, size=frontier.size, root=frontier.root())
        self._opened = (note, head)  # what was signed here just now need not be verified at the next append
        connection.execute(delete(_checkpoints))  # the newest says all that the earlier ones said
        connection.execute(insert(_checkpoints).values(size=frontier.size, note=note))
        self._sign_tables(connection, frontier.size, heads)

    def _sign_tables(self, connection: Connection, size: int, heads: HeadSigning) -> None:
        note = sign_tables(connection, _projections, size=size, origin=heads.origin, signer=heads.signer)
        write = upsert(_meta).values(name=TABLES, value=note)
        connection.execute(write.on_conflict_do_update(index_elements=["name"], set_={"value": note}))

    def _require_tables(self, connection: Connection) -> None:
        note = connection.execute(select(_meta.c.value).where(_meta.c.name == TABLES)).scalar()
        size = self._believed(newest_note(connection)).size
        signer = self._heads.signer
        require_tables(
            connection, _projections, note=note or "", size=size, origin=self._heads.origin, signer=signer
        )

    def require_tables(self) -> None:
        """Raise Tampered when a table was changed from outside, be it by leaving something out."""
        with self._reading() as connection:
            self._require_tables(connection)

    def _fold_log(self) -> None:
        """Fold the write-ahead log back, unless a reader hinders it: the next append will.

        The commit is durable already, so a failure here is none of the caller's.
        """
        with suppress(SQLAlchemyError), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")
            try:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={round(BUSY_WAIT_S * 1_000)}")

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        with self._failures(), self._engine.connect() as connection:
            connection.exec_driver_sql(begin)
            try:
                yield connection
                connection.exec_driver_sql("COMMIT")
            except BaseException:
                with suppress(SQLAlchemyError):  # SQLite may have rolled back by itself
                    connection.exec_driver_sql("ROLLBACK")
                raise

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Map what SQLAlchemy and SQLite raise to the errors of this product."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise database_failure(error, self._path) from error
        except DBAPIError as error:
            if isinstance(error.orig, sqlite3.Error):
                raise database_failure(error.orig, self._path) from error
            raise self._unexplained(error) from error
        except SQLAlchemyError as error:
            raise self._unexplained(error) from error

    def _unexplained(self, error: Exception) -> DependencyFailed:
        what = "The ledger's database did not answer."
        return DependencyFailed("storage.database", what, why=str(error)[:200], place=str(self._path))


def _insert(
    connection: Connection, records: Sequence[Record], leaves: Sequence[bytes], frontier: Frontier
) -> Frontier:
    """Write records and the nodes they complete; returns the new right edge."""
    rows: list[dict[str, object]] = []
    nodes: list[Node] = []
    for record, leaf in zip(records, leaves, strict=True):
        frontier, made = frontier.grow(leaf_hash(leaf))
        seq, time_ns, kind, subject = index_columns(record)
        rows.append({"seq": seq, "time_ns": time_ns, "kind": kind, "subject": subject, "leaf": leaf})
        nodes += made
    connection.execute(insert(_records), rows)
    connection.execute(
        insert(_nodes), [{"level": node.level, "idx": node.index, "hash": node.hash} for node in nodes]
    )
    return frontier
