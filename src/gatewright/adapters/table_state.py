"""A signed statement about all tables, so that a removed or older document is noticed.

A document that is read is proved by its record; what that cannot show is that another one is
missing, or that it is the newest. So each append signs, with the log's key, the digest of all
documents, and each opening and each append compares. The statement is a C2SP signed note in the
form of a checkpoint, under an origin of its own: ``<origin>/tables``, the number of records, and
the digest in place of a root.

Prediction segments come every second and are left out, so that the cost stays that of the others;
the newest one, which carries their running total, is in.
"""

from __future__ import annotations

from sqlalchemy import Connection, Table, select

from gatewright.adapters.ledger_file import LEFT_OUT, tables_digest
from gatewright.kernel.errors import GatewrightError, Tampered
from gatewright.ledger.checkpoints import checkpoint_text, note_with_signature, open_checkpoint
from gatewright.ports import Signer


def _digest(connection: Connection, documents: Table) -> bytes:
    """SHA-256 over every document with its place, length-prefixed, by place."""
    rows = (
        select(documents)
        .where(documents.c.collection.not_in(LEFT_OUT))
        .order_by(documents.c.collection, documents.c.key)
    )
    return tables_digest((row.collection, row.key, row.seq, row.document) for row in connection.execute(rows))


def sign_tables(connection: Connection, documents: Table, *, size: int, origin: str, signer: Signer) -> str:
    """The statement about the tables as they are now, after ``size`` records."""
    name = f"{origin}/tables"
    text = checkpoint_text(name, size, _digest(connection, documents))
    return note_with_signature(text, name, signer.public, signer.sign(text)).decode()


def require_tables(
    connection: Connection, documents: Table, *, note: str, size: int, origin: str, signer: Signer
) -> None:
    """Raise Tampered unless the tables are those that were signed after ``size`` records."""
    try:
        stated = open_checkpoint(note.encode(), origin=f"{origin}/tables", key=signer.public)
    except GatewrightError:
        stated = None
    if stated is None or (stated.size, stated.root) != (size, _digest(connection, documents)):
        raise Tampered(
            "storage.tables-changed",
            "The tables of this home were changed from outside.",
            why="A document was added, removed or put back to an older one.",
            next="Run 'gatewright verify' to see which, and restore ledger.db from a backup.",
        )
