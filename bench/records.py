"""The ledger: durable appends beside one fdatasync, and verification beside bare hashing."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from timing import Row, Section, timed

from gatewright.adapters.ledger_file import read_ledger
from gatewright.assembly.homes import create_home, open_home
from gatewright.ledger.records import Draft
from gatewright.operations import verify
from gatewright.operations.home import Home

SINGLES = 200
BATCHES = 10
BATCH = 500
ROUNDS = 5


def measure(folder: Path) -> Section:
    """Records a second, appended and verified."""
    create_home(folder, "ada")
    with open_home(folder) as home:
        singles, batches = _appends(home)
        sync = statistics.median(timed(_syncing(folder), 100))
        trust = home.trust
    whole, bare, records = [], [], 0
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        found = read_ledger(folder / ".gatewright" / "ledger.db")
        verify.ledger(found.leaves, found.checkpoint, found.disagreements, trust)
        whole.append(time.perf_counter() - begun)
        records = len(found.leaves)
        begun = time.perf_counter()
        for leaf, _ in found.leaves:
            sha256(leaf).digest()
        bare.append(time.perf_counter() - begun)
    one = statistics.median(singles)
    ratio = statistics.median(a / b for a, b in zip(whole, bare, strict=True))
    return Section(
        title="The ledger",
        rows=[
            Row(
                what="append, one record a transaction",
                value=1 / one,
                unit="records/s",
                beside="times one fdatasync each",
                ratio=one / sync,
            ),
            Row(
                what=f"append, {BATCH} records a transaction",
                value=BATCH / statistics.median(batches),
                unit="records/s",
            ),
            Row(
                what=f"read and verify {records:,} records",
                value=records / statistics.median(whole),
                unit="records/s",
                beside="times bare SHA-256 of the leaves",
                ratio=ratio,
            ),
        ],
        note=f"Medians of {SINGLES} appends, {BATCHES} batches and {ROUNDS} verifications, under the home's lock.",
    )


def _appends(home: Home) -> tuple[list[float], list[float]]:
    def draft(place: int) -> Draft:
        return Draft(
            kind="bench.noted", actor="bench", subject=f"n-{place}", body={"place": place, "note": "x" * 200}
        )

    def one() -> None:
        home.archive.append((draft(0),), home.now())

    def many() -> None:
        home.archive.append([draft(place) for place in range(BATCH)], home.now())

    return timed(one, SINGLES), timed(many, BATCHES)


def _syncing(folder: Path) -> Callable[[], object]:
    handle = os.open(folder / "sync", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    data = os.urandom(4096)

    def sync() -> None:
        os.write(handle, data)
        os.fdatasync(handle)

    return sync
