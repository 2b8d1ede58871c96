"""A worker's promise held against a log: whether the segment that the receipt names is recorded there.

A receipt says that its prediction *will* be in the log: in the segment that its leaf names. Whoever
has the receipt and a copy of the log, and nothing from the owner, can find out

- that the log goes on without the segment, or records fewer predictions for it than were promised:
  then the promise is broken, and receipt and log together convict;
- that the log does not reach so far yet: then nothing is said against anybody;
- that the segment is recorded with at least as many predictions: then only the path from the leaf to
  its root shows that this very prediction is among them. The owner can give it (``evidence receipt``);
  refusing it is as good as having broken the promise.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from gatewright.deployments.plan import Recording
from gatewright.kernel import canonical
from gatewright.kernel.errors import Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.audit import place_of
from gatewright.ledger.log_receipts import Sealed, require_kept
from gatewright.ledger.receipts import PredictionRecord, Receipt
from gatewright.ledger.records import Record
from gatewright.ledger.tiles import BUNDLE_BYTES, Tile, read_bundle
from gatewright.operations.files import read_file
from gatewright.operations.log_folder import bundles_of, read_head
from gatewright.operations.verify import Verified
from gatewright.releases.heads import Head
from gatewright.releases.trust import TrustRoot

SECOND = 10**9
WINDOW_S = 600
"""How much later predictions must be that are in the log while the promised one is not. A worker that
was killed leaves its segment to the next one; that takes seconds, and a minute at most."""
LIMIT_S = 86_400
"""How long after a promise a log may go on at all without it, whatever its records are about."""


def held_against(token: str, folder: Path, trust: TrustRoot) -> Verified:
    """Hold a receipt, which was verified, against an exported log, which was verified too.

    Raises Tampered, with the first record at which it had to be there, where the promise is broken.
    """
    receipt = Receipt.parse(token)
    promised = PredictionRecord.decode(receipt.leaf)
    _, head = read_head(folder, trust)
    log = _Entries(folder, head.checkpoint.size)
    sealed = log.sealed_as(promised.segment)
    if sealed is None:
        return _missing(promised, log, head)
    require_kept(receipt, promised, sealed)
    return Verified(
        kind="promise",
        sentence=f"The log records segment {sealed.segment} with {sealed.records:,} predictions as record "
        f"{sealed.index:,}, as the worker promised. That this one is among them only its path shows, which the "
        "owner can give: gatewright evidence receipt ANSWER --to FILE.proof.json",
        facts={
            "covered": True,
            "segment": sealed.segment,
            "record": sealed.index,
            "predictions": sealed.records,
        },
    )


class _Entries:
    """The entries of a log folder, which was verified, read where they are asked for."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self.size = size

    def _bundle(self, tile: Tile) -> bytes:
        return read_file(self._folder / tile.path(), limit=BUNDLE_BYTES)

    def sealed_as(self, segment: str) -> Sealed | None:
        """The record of a segment, or None; bundles that do not hold its name are not taken apart."""
        name = canonical.encode(segment)
        for tile in bundles_of(self.size):
            data = self._bundle(tile)
            for leaf in read_bundle(data, tile.width) if name in data else ():
                sealed = Sealed.of(Record.decode(leaf)) if name in leaf else None
                if sealed is not None and sealed.segment == segment:
                    return sealed
        return None

    def after(self, moment: Instant) -> Iterator[tuple[Record, bytes]]:
        """The records later than a moment, in order: times never go backwards in the log."""
        tiles = tuple(bundles_of(self.size))
        start = bisect_right(tiles, moment, key=lambda tile: self._last(tile).time)
        for tile in tiles[start:]:
            for leaf in read_bundle(self._bundle(tile), tile.width):
                record = Record.decode(leaf)
                if record.time > moment:
                    yield record, leaf

    def _last(self, tile: Tile) -> Record:
        return Record.decode(read_bundle(self._bundle(tile), tile.width)[-1])

    def newest(self) -> Instant:
        """The time of the last record."""
        tiles = tuple(bundles_of(self.size))
        return self._last(tiles[-1]).time if tiles else Instant(0)


def _missing(promised: PredictionRecord, log: _Entries, head: Head) -> Verified:
    """The segment is not in the log: broken, or not reached yet."""
    if promised.recording != Recording.DURABLE:
        return _told(
            f"Segment {promised.segment} is not in the log. The prediction was recorded after the answer "
            "(asynchronous): a crash may have lost it.",
            log,
        )
    border = Instant(promised.time.ns + WINDOW_S * SECOND)
    for record, leaf in log.after(border):
        sealed = Sealed.of(record)
        if sealed is not None and sealed.first > border:
            raise _broken(
                promised, place_of(record.seq, leaf), f"It records predictions from {sealed.first} on."
            )
    limit = Instant(promised.time.ns + LIMIT_S * SECOND)
    for record, leaf in log.after(limit):
        raise _broken(
            promised, place_of(record.seq, leaf), "It was written more than a day after the promise."
        )
    seen = [each for each in head.cosigned if each.time > limit.ns // SECOND]
    if seen:
        raise _broken(
            promised,
            f"record {log.size}",
            f"The witness {seen[0].witness} cosigned the log as it is more than a day after the promise.",
        )
    return _told(
        f"Not yet covered: segment {promised.segment} is not in the log, whose last record is of {log.newest()}; "
        f"the promise is of {promised.time}. Ask for a newer log.",
        log,
    )


def _told(sentence: str, log: _Entries) -> Verified:
    return Verified(kind="promise", sentence=sentence, facts={"covered": False, "records": log.size})


def _broken(promised: PredictionRecord, place: str, why: str) -> Tampered:
    return Tampered(
        "operations.promise-broken",
        f"The log goes on without segment {promised.segment}, which the worker promised on {promised.time}.",
        why=f"{why} A worker of a mounted folder keeps its records apart: then the owner can show the segment.",
        next="Keep the receipt and the log as evidence.",
        place=place,
    )
