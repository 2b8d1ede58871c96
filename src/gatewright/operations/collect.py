"""Collecting sealed segments: each becomes one record, then moves out of the worker's way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import GatewrightError
from gatewright.ledger.receipts import PredictionRecord
from gatewright.ledger.records import Draft
from gatewright.ledger.segments import Scan, scan, verify_segment
from gatewright.operations.catalogue import Segment, body_of, find
from gatewright.operations.files import file_failures, read_file
from gatewright.operations.home import Home
from gatewright.operations.users import owner
from gatewright.operations.waiting import sealed
from gatewright.operations.workers import certified_here
from gatewright.releases.keys import PublicKey

COLLECTED = "collected"
SEGMENTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What one round took in: segments, predictions, and segments that do not hold."""

    segments: int
    predictions: int
    problems: tuple[str, ...]


def collect(home: Home) -> Collected:
    """Record every sealed segment that holds; one that does not stays where it is and is named."""
    drafts: list[Draft] = []
    move: list[Path] = []
    problems: list[str] = []
    total = before = recorded_predictions(home)
    actor = owner(home).principal
    workers = _counting(home)
    for path in sealed(home.segments)[:SEGMENTS_AT_ONCE]:
        content = read_file(path)
        try:
            found = scan(content)
            verify_segment(found, workers)
        except GatewrightError as error:
            problems.append(f"{path.name}: {error.refusal.sentence()}")
            continue
        recorded = find(home, "segments", found.header.segment, Segment)
        if recorded is not None and recorded.file != Digest.of(content):
            problems.append(f"{path.name}: another file was recorded as this segment; it is kept apart.")
            continue
        if recorded is None and found.leaves:
            total += len(found.leaves)
            entry = _entry(found, content, total)
            drafts.append(
                Draft(kind="predictions.sealed", actor=actor, subject=entry.id, body=body_of(entry))
            )
        move.append(path)
    if drafts:
        home.archive.append(drafts, home.now())
    folder = home.segments / COLLECTED
    with file_failures("move the recorded segments", folder):  # recorded they are: the next round moves them
        for path in move:
            folder.mkdir(mode=0o700, exist_ok=True)
            path.rename(folder / path.name)
    return Collected(segments=len(drafts), predictions=total - before, problems=tuple(problems))


def _counting(home: Home) -> Mapping[str, PublicKey]:
    """The worker keys, of now and of the past, whose segments are recorded: those that were not revoked."""
    return {
        worker.public.id: worker.public
        for worker in certified_here(home.folder, home.trust)
        if home.trust.revoked_worker(worker.public.id) is None
    }


def recorded_predictions(home: Home) -> int:
    """How many predictions all recorded segments hold."""
    newest = find(home, "segments-latest", "newest", Segment)
    return 0 if newest is None else newest.total


def _entry(found: Scan, content: bytes, total: int) -> Segment:
    first, last = (PredictionRecord.decode(found.leaves[place]) for place in (0, -1))
    return Segment(
        id=found.header.segment,
        worker=found.header.worker,
        records=len(found.leaves),
        root=Digest.from_raw(found.root),
        file=Digest.of(content),
        first=str(first.time),
        last=str(last.time),
        total=total,
    )
