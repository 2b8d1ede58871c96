"""Durable appends beside SQLite's own ceiling: the same rows by plain ``sqlite3``, one transaction each.

    python bench/appending.py --appends 100

The ceiling writes what one append leaves in ``records``, ``nodes``, ``checkpoints`` and ``meta``: the same bytes,
prepared before, in a database with the same tables and settings (WAL, ``synchronous=FULL``), and folds nothing
back. The rounds of both alternate on the same disk.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from timing import Row, Section, timed

from gatewright.assembly.homes import create_home, open_home
from gatewright.ledger.records import Draft
from gatewright.operations.home import Home

BATCHES = (1, 10, 100)
APPENDS = 40
TABLES = ("records", "nodes", "checkpoints", "meta")


def main() -> int:
    """Measure and print."""
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("--appends", type=int, default=APPENDS, help="Appends of each size.")
    reader.add_argument("--folder", type=Path, help="Where the home is made: the disk measured.")
    reader.add_argument("--json", action="store_true", help="Print one JSON document.")
    options = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="gatewright-appending-", dir=options.folder) as place:
        section = measure(Path(place) / "home", appends=options.appends)
    if options.json:
        print(json.dumps(asdict(section), indent=2))
        return 0
    print(section.title)
    for row in section.rows:
        print(
            f"  {row.what}: {row.value:,.0f} {row.unit}{'' if row.ratio is None else f', {row.ratio:.0%} {row.beside}'}"
        )
    return 0


def measure(folder: Path, *, appends: int = APPENDS) -> Section:
    """Records a second by batch size, ours and SQLite's ceiling."""
    create_home(folder, "ada")
    rows: list[Row] = []
    with open_home(folder) as home:
        database = home.folder / "ledger.db"
        ceiling = _copy_of(database, folder / "ceiling.db")
        for batch in BATCHES:
            ours, theirs = [], []
            for _ in range(appends):
                before = _counts(database)
                ours += timed(_append(home, batch), 1)
                theirs += timed(_insert(ceiling, _made(database, before)), 1)
            ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
            what = f"append of {batch} record{'s' if batch > 1 else ''}, durable"
            rows += [
                Row(
                    what=what,
                    value=batch / statistics.median(ours),
                    unit="records/s",
                    beside="of SQLite's own ceiling",
                    ratio=ratio,
                ),
                Row(
                    what="  the same rows by plain sqlite3",
                    value=batch / statistics.median(theirs),
                    unit="records/s",
                ),
            ]
        ceiling.close()
    return Section(
        title="Appending beside SQLite's own ceiling",
        rows=rows,
        note=f"Medians of {appends} alternating appends of each size. Ours also checks the head before, "
        "signs the new one with both of the log's keys and the tables with one, and folds the write-ahead log back.",
    )


def _copy_of(database: Path, place: Path) -> sqlite3.Connection:
    """A database with the same tables and settings, and the same rows."""
    opened = sqlite3.connect(place, isolation_level=None)
    for setting in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"):
        opened.execute(f"PRAGMA {setting}")
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as source:
        for (statement,) in source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"):
            opened.execute(statement)
    source.close()
    _insert(opened, _made(database, dict.fromkeys(("records", "nodes"), -1)))()
    return opened


def _counts(database: Path) -> dict[str, int]:
    """The last record before an append, by which its new rows are found."""
    opened = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    last = opened.execute("SELECT coalesce(max(seq), -1) FROM records").fetchone()[0]
    opened.close()
    return {"records": last, "nodes": last}


def _made(database: Path, before: dict[str, int]) -> dict[str, list[Any]]:
    """The rows that the last append made, by table."""
    opened = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    conditions = {
        "records": f"WHERE seq > {before['records']}",
        "nodes": f"WHERE ((idx + 1) << level) > {before['nodes'] + 1}",
        "checkpoints": "",
        "meta": "",
    }
    found = {
        table: opened.execute(f"SELECT * FROM {table} {conditions[table]}").fetchall()  # noqa: S608 - fixed words and numbers
        for table in TABLES
    }
    opened.close()
    return found


def _append(home: Home, batch: int) -> Callable[[], object]:
    drafts = [
        Draft(
            kind="bench.noted",
            actor="bench",
            subject=f"n-{place}",
            body={"place": place, "note": "x" * 200},
        )
        for place in range(batch)
    ]
    return lambda: home.archive.append(drafts, home.now())


def _insert(opened: sqlite3.Connection, rows: dict[str, list[Any]]) -> Callable[[], None]:
    statements = {
        table: f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(found[0]))})"  # noqa: S608 - fixed words
        for table, found in rows.items()
        if found
    }

    def insert() -> None:
        opened.execute("BEGIN IMMEDIATE")
        opened.execute("DELETE FROM checkpoints")
        for table, statement in statements.items():
            opened.executemany(statement, rows[table])
        opened.execute("COMMIT")

    return insert


if __name__ == "__main__":
    sys.exit(main())
