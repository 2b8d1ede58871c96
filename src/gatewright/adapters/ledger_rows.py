"""Rows of the ledger's tables, read: notes and records, and nothing that is not one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select, update

from gatewright.adapters.ledger_file import index_columns
from gatewright.adapters.ledger_schema import checkpoints, records
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.ledger.records import Record


def newest_note(connection: Connection) -> bytes:
    """The newest signed checkpoint; raises Tampered where there is none."""
    found = connection.execute(select(checkpoints.c.note).order_by(checkpoints.c.size.desc()).limit(1))
    note = found.scalar()
    if not isinstance(note, bytes):
        raise Tampered("storage.no-checkpoint", "The ledger holds no checkpoint.")
    return note


def record_of(seq: int, leaf: object) -> Record:
    """Read the leaf stored as record ``seq``; raises Tampered when it is not that record."""
    try:
        record = Record.decode(leaf) if isinstance(leaf, bytes) else None
    except BadInput as error:
        raise _unreadable(seq, str(error)) from error
    if record is None or record.seq != seq:
        raise _unreadable(seq, "What stands in its place is not that record.")
    return record


def _unreadable(seq: int, why: str) -> Tampered:
    return Tampered(
        "ledger.unreadable",
        "A record cannot be read.",
        why=why,
        next="Verify the ledger.",
        place=f"record {seq}",
    )


def reindexed(connection: Connection, row: Row[Any]) -> Record:
    """The record of a row, after putting right the columns that are searched."""
    record = record_of(row.seq, row.leaf)
    seq, time_ns, kind, subject = index_columns(record)
    if (time_ns, kind, subject) != (row.time_ns, row.kind, row.subject):
        right = update(records).where(records.c.seq == seq)
        connection.execute(right.values(time_ns=time_ns, kind=kind, subject=subject))
    return record
