"""Segments with a damaged end: what recovery keeps of them, and whether anybody is told.

One thing cannot show in the file alone: an *open* segment cut exactly behind a batch is a whole,
shorter segment. Whoever holds a receipt of the batch that is gone can tell.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refusal, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.receipts import leaf_parts
from gatewright.ledger.segments import scan, verify_segment
from gatewright.serving.recorder import Recorder
from gatewright.serving.segment_files import SegmentFiles
from gatewright.testing.signers import SeedSigner
from unit.serving.rig import token_of

TAIL_BYTES = 4_096
BATCHES = 8
BATCH_RECORDS = 3
HOME_KEY = bytes(range(32))
NOW = Instant.parse("2026-03-03T14:05:00Z")
SIGNER = SeedSigner("tails")
WORKERS = {SIGNER.public.id: SIGNER.public}


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """How many damaged segments were tried; how many kept less than they could, or told nobody."""

    tried: int
    shorter: int
    silent: int


def _recorder(folder: Path, told: list[Refusal]) -> Recorder:
    return Recorder(
        disk=SegmentFiles(folder),
        signer=SIGNER,
        home_key=HOME_KEY,
        clock=lambda: NOW,
        report=told.append,
        seconds=60.0,
    )


async def _fill(recorder: Recorder) -> None:
    recorder.start(asyncio.get_running_loop())
    parts = leaf_parts(endpoint="tiny", key="k", plan=1, release=Digest.of(b""))
    for batch in range(BATCHES):
        await asyncio.gather(
            *(token_of(recorder, parts, f"r-{batch}-{each}") for each in range(BATCH_RECORDS))
        )
    await asyncio.to_thread(recorder.close)


def make_segment(folder: Path) -> bytes:
    """A sealed segment of several batches, written by the recorder."""
    folder.mkdir()
    asyncio.run(_fill(_recorder(folder, [])))
    (path,) = folder.glob("*.sealed")
    content = path.read_bytes()
    assert TAIL_BYTES < len(content)
    return content


def before_seal(sealed: bytes) -> bytes:
    """The bytes of the segment as it was while it was still open: whole batches, no seal."""
    whole = scan(sealed)
    assert whole.sealed
    return next(
        sealed[:size]
        for size in range(len(sealed) - 1, 0, -1)
        if (found := scan(sealed[:size])).torn is None and len(found.leaves) == len(whole.leaves)
    )


def damaged(content: bytes, count: int | None, seed: int) -> Iterator[tuple[int, bytes]]:
    """Position and content, cut off and with one byte garbled there; ``count`` None takes all of the tail."""
    generator = random.Random(seed)  # noqa: S311 - which positions, repeatably
    tail = range(len(content) - TAIL_BYTES, len(content))
    for place in tail if count is None else sorted(generator.sample(tail, count)):
        yield place, content[:place]
        flipped = content[place] ^ generator.randrange(1, 256)
        yield place, content[:place] + bytes([flipped]) + content[place + 1 :]


def open_tails(folder: Path, content: bytes, *, count: int | None, seed: int) -> Damage:
    """Recover damaged open segments, as a starting worker does."""
    whole = scan(content)
    tried = shorter = silent = 0
    for place, bad in damaged(content, count, seed):
        tried += 1
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / f"{whole.header.segment}.open").write_bytes(bad)
        told: list[Refusal] = []
        _recorder(folder, told).recover()
        kept = [scan(path.read_bytes()) for path in folder.glob("*.sealed")]
        for found in kept:
            verify_segment(found, WORKERS)
        leaves = kept[0].leaves if kept else ()
        before = len(scan(content[:place]).leaves)
        shorter += leaves[:before] != whole.leaves[:before] or whole.leaves[: len(leaves)] != leaves
        silent += not told and not _ends_with_a_batch(bad, place)
    return Damage(tried=tried, shorter=shorter, silent=silent)


def _ends_with_a_batch(bad: bytes, place: int) -> bool:
    """Whether the segment was cut exactly behind a batch, which the file alone cannot show."""
    return len(bad) == place and scan(bad).torn is None


def sealed_tails(content: bytes, *, count: int | None, seed: int) -> Damage:
    """Verify damaged sealed segments, as the collector and ``verify`` do."""
    tried = silent = 0
    for _, bad in damaged(content, count, seed):
        tried += 1
        try:
            verify_segment(scan(bad), WORKERS)
        except Tampered:
            continue
        silent += 1
    return Damage(tried=tried, shorter=0, silent=silent)
