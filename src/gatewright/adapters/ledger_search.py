"""Finding records without walking them: by time, and the newest of some kinds or about one subject.

Times never go backwards in the log, so a moment is found by halving the range of numbers. What is
found here is *not* believed: the ledger proves each record that it hands out under its signed head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from gatewright.kernel.errors import Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.proofs import inclusion_from
from gatewright.ledger.tree import leaf_hash, verify_inclusion

SUBJECT_INDEX = (
    "CREATE INDEX IF NOT EXISTS endpoint_records_by_subject ON records (subject, seq) "
    "WHERE kind GLOB 'endpoint.*'"
)
"""The index that finds the last change of an endpoint; a home from before has it after its next append."""
_INDEXED = "endpoint."


def one(connection: Connection, statement: str, *values: object) -> Any:
    """The first column of the first row, or None; straight from the driver, as it is asked often."""
    driver: Any = connection.connection.driver_connection
    row = driver.execute(statement, values).fetchone()
    return None if row is None else row[0]


def count(connection: Connection) -> int:
    """How many records there are."""
    last = one(connection, "SELECT max(seq) FROM records")
    return 0 if last is None else int(last) + 1


def position(connection: Connection, moment: Instant) -> int:
    """How many records are not later than the moment."""
    low, high = 0, count(connection)
    while low < high:
        middle = (low + high) // 2
        time = one(connection, "SELECT time_ns FROM records WHERE seq = ?", middle)
        if time is None:
            raise Tampered("storage.record-missing", "A record is missing.", place=f"record {middle}")
        low, high = (middle + 1, high) if time <= moment.ns else (low, middle)
    return low


def newest(connection: Connection, kinds: Sequence[str], *, below: int, subject: str, most: int) -> list[int]:
    """Numbers of up to ``most`` records of the kinds below a number, the newest first.

    One look-up in an index for each kind, or for the subject where there is one.
    """
    marks = ", ".join("?" * len(kinds))
    about, values = "", [below]
    if subject:
        narrowed = all(kind.startswith(_INDEXED) for kind in kinds)
        about = " AND subject = ?" + (f" AND kind GLOB '{_INDEXED}*'" if narrowed else "")
        wanted = f"SELECT seq FROM records WHERE seq < ?{about} AND +kind IN ({marks})"  # noqa: S608 - marks and fixed words only
        driven = [*values, subject, *kinds]
    else:
        each = (
            "SELECT seq FROM (SELECT seq FROM records WHERE kind = ? AND seq < ? ORDER BY seq DESC LIMIT ?)"
        )
        wanted = " UNION ALL ".join([each] * len(kinds))
        driven = [value for kind in kinds for value in (kind, below, most)]
    driver: Any = connection.connection.driver_connection
    rows = driver.execute(f"{wanted} ORDER BY seq DESC LIMIT ?", (*driven, most))
    return [row[0] for row in rows]


def node(connection: Connection, level: int, index: int) -> bytes:
    """A stored hash of the tree; raises Tampered where it is missing."""
    found = one(connection, "SELECT hash FROM nodes WHERE level = ? AND idx = ?", level, index)
    if not isinstance(found, bytes):
        raise Tampered(
            "storage.node-missing",
            "A node of the stored tree is missing.",
            place=f"level {level}, index {index}",
        )
    return found


def stands(connection: Connection, leaf: bytes, seq: int, *, size: int, root: bytes) -> bool:
    """Whether a leaf is record ``seq`` of the tree with this size and root."""
    if not 0 <= seq < size:
        return False
    path = inclusion_from(lambda level, index: node(connection, level, index), index=seq, size=size)
    return verify_inclusion(leaf=leaf_hash(leaf), index=seq, size=size, path=path, root=root)


def misplaced(seq: int) -> Tampered:
    """The refusal of what was looked up and is not where the signed log has it."""
    return Tampered(
        "storage.record-unproven",
        "A record that was looked up is not one of those that the signed head covers, or not where it belongs.",
        why="The database was changed from outside.",
        next="Verify the ledger: gatewright verify",
        place=f"record {seq}",
    )
