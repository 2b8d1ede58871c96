"""A log as static files, read and verified: what ``evidence log`` wrote, by whoever holds the keys' fingerprint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gatewright.kernel.errors import BadInput, Misuse, Refusal, Tampered
from gatewright.ledger.audit import audit
from gatewright.ledger.checkpoints import NOTE_BYTES, Checkpoint, open_checkpoint
from gatewright.ledger.proofs import consistency_from, verify_consistency
from gatewright.ledger.tiles import (
    BUNDLE_BYTES,
    CHECKPOINT_FILE,
    ENTRIES,
    TILE_WIDTH,
    Tile,
    Tiling,
    lookup_in,
    read_tile,
    split_bundle,
    width_in,
)
from gatewright.ledger.tree import HASH_BYTES, leaf_hash
from gatewright.operations.files import file_failures, read_file
from gatewright.operations.verify import Verified
from gatewright.releases.trust import TrustRoot

TILE_BYTES = TILE_WIDTH * HASH_BYTES
PROBLEMS = 20
NOWHERE = float("inf")

Widths = Mapping[tuple[int, int], Sequence[int]]
"""The widths that lie in a folder, smallest first, by level and index."""


def read_head(folder: Path, trust: TrustRoot) -> tuple[bytes, Checkpoint]:
    """The checkpoint of a folder and what it says, believed. Raises Tampered for anything else."""
    try:
        note = read_file(folder / CHECKPOINT_FILE, limit=NOTE_BYTES)
        return note, open_checkpoint(note, origin=trust.origin, key=trust.log)
    except BadInput as error:
        raise Tampered(error.code, error.refusal.what, why=error.refusal.why, place=CHECKPOINT_FILE) from None


def tiles_in(folder: Path) -> Widths:
    """Which tiles lie in a folder. Raises Tampered for a file or link below ``tile/`` that is none."""
    found: dict[tuple[int, int], list[int]] = {}
    with file_failures("read the folder", folder):
        for path in sorted((folder / "tile").rglob("*")):
            if path.is_dir() and not path.is_symlink():
                continue
            if path.name.startswith(".") and path.name.endswith(".part"):
                continue  # what a killed writer left; no reader looks at such names
            name = path.relative_to(folder).as_posix()
            try:
                tile = Tile.parse(name if path.is_file() and not path.is_symlink() else "")
            except BadInput:
                what = "Something lies among the tiles that is no tile."
                raise Tampered("operations.not-a-tile", what, place=name) from None
            found.setdefault((tile.level, tile.index), []).append(tile.width)
    return {place: sorted(widths) for place, widths in found.items()}


def bundles_of(size: int) -> Iterator[Tile]:
    """The entry bundles of a log with ``size`` leaves, in order."""
    for index in range(-(-size // TILE_WIDTH)):
        yield Tile(level=ENTRIES, index=index, width=width_in(size, ENTRIES, index))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Changed:
    """A tile that is not what the entries make it, for the leaves ``first`` up to ``stop``."""

    path: str
    first: int
    stop: int
    missing: bool

    def told(self, *, root_holds: bool) -> Refusal:
        """As a person should read it: whether records or tile were changed, the signed root knows."""
        one = self.stop - self.first == 1
        records = f"record {self.first}" if one else f"records {self.first} to {self.stop - 1}"
        why = (
            "The records are those that the signed root covers: only the tile is wrong."
            if root_holds
            else "A record among them was changed, or the tile was."
        )
        return Refusal(
            code="operations.log-tile-missing" if self.missing else "operations.log-tile-changed",
            what=f"{self.path} is missing." if self.missing else f"{self.path} was changed.",
            why=why,
            place=records,
        )


class _Reading:
    """One pass over the entries of a folder; what does not fit is kept for the end."""

    def __init__(self, folder: Path, size: int, found: Widths) -> None:
        self._folder = folder
        self._size = size
        self._found = found
        self.changed: list[_Changed] = []
        self.stopped: Refusal | None = None
        self.tiles = 0

    def leaves(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Every leaf with its hash in the tile of level 0, up to the first bundle that cannot be read."""
        tiling = Tiling()
        for bundle in bundles_of(self._size):
            entries, fault = split_bundle(self._content(bundle), bundle.width)
            yield from zip(entries, self._stored(bundle, len(entries)), strict=True)
            if fault:
                missing = bundle.width not in self._widths(bundle)
                self.stopped = Refusal(
                    code="operations.log-entries",
                    what=f"{bundle.path()} {'is missing' if missing else 'does not hold its records'}.",
                    why="" if missing else fault,
                    place=f"record {bundle.start + len(entries)}",
                )
                return
            self._earlier_bundles(bundle, entries)
            self._compare(tiling.add([leaf_hash(entry) for entry in entries]))
        self._compare(tiling.edge())

    def _widths(self, tile: Tile) -> Sequence[int]:
        return self._found.get((tile.level, tile.index), ())

    def _content(self, tile: Tile) -> bytes:
        """The bytes of a tile or bundle; none where it is missing or longer than any can be."""
        if tile.width not in self._widths(tile):
            return b""
        try:
            return read_file(
                self._folder / tile.path(), limit=BUNDLE_BYTES if tile.level == ENTRIES else TILE_BYTES
            )
        except BadInput:
            return b""

    def _stored(self, bundle: Tile, count: int) -> Sequence[bytes | None]:
        """The leaf hashes beside the first ``count`` entries; None where the tile cannot be read."""
        try:
            tile = replace(bundle, level=0)
            return read_tile(self._content(tile), tile.width)[:count]
        except BadInput:
            return [None] * count

    def _earlier_bundles(self, bundle: Tile, entries: Sequence[bytes]) -> None:
        """Partial bundles of earlier exports hold the same entries, as far as they go."""
        for width in self._widths(bundle):
            earlier = replace(bundle, width=width)
            if width < bundle.width:
                held, fault = split_bundle(self._content(earlier), width)
                if fault or held != entries[:width]:
                    same = [a == b for a, b in zip(held, entries, strict=False)]
                    self._note(earlier, (*same, False).index(False))

    def _compare(self, expected: Iterable[tuple[Tile, bytes]]) -> None:
        """Each tile, and each earlier partial form of it, is the beginning of what it should be."""
        for tile, content in expected:
            self.tiles += 1
            if tile.width not in self._widths(tile):
                self._note(tile, 0)
            for width in self._widths(tile):
                if width <= tile.width:
                    self._compare_one(replace(tile, width=width), content[: width * HASH_BYTES])

    def _compare_one(self, tile: Tile, content: bytes) -> None:
        data = self._content(tile)
        if data != content:
            starts = range(0, len(content), HASH_BYTES)
            same = [data[at : at + HASH_BYTES] == content[at : at + HASH_BYTES] for at in starts]
            self._note(tile, (*same, False).index(False))

    def _note(self, tile: Tile, at: int) -> None:
        if len(self.changed) < PROBLEMS:
            first, stop = tile.leaves_of(min(at, tile.width - 1))
            missing = tile.width not in self._widths(tile)
            self.changed.append(_Changed(path=tile.path(), first=first, stop=stop, missing=missing))


def _beyond(found: Widths, size: int) -> Iterator[Refusal]:
    """Tiles that hold more than the signed checkpoint covers."""
    for (level, index), widths in sorted(found.items()):
        covered = width_in(size, level, index)
        if widths[-1] > covered:
            tile = Tile(level=level, index=index, width=widths[-1])
            yield Refusal(
                code="operations.log-longer",
                what=f"{tile.path()} holds more than the {size} records that the checkpoint covers.",
                why="Something was added without a signature, the checkpoint is an older one, "
                "or an export was interrupted.",
                next="If this is your own export, run 'gatewright evidence log' into the folder again.",
                place=f"record {tile.leaves_of(covered)[0]}",
            )


def verify_log(folder: Path, trust: TrustRoot, *, kept: Sequence[bytes] = ()) -> Verified:
    """Verify a log as static files: every entry, the tiles over them, the signed checkpoint.

    ``kept`` are checkpoints of the same log that the caller kept from before: the log must extend
    each of them. Raises Tampered with the first record that does not hold, and BadInput for a kept
    checkpoint that is malformed.
    """
    note, head = read_head(folder, trust)
    found = tiles_in(folder)
    reading = _Reading(folder, head.size, found)
    audited = audit(reading.leaves(), note=note, key=trust.log, origin=trust.origin)
    stopped = () if reading.stopped is None else (reading.stopped,)
    told = [one.told(root_holds=audited.root == head.root) for one in reading.changed]
    _require_none(
        [one for one in audited.problems if not stopped or one.code != "ledger.records-missing"],
        [*stopped, *told, *_beyond(found, head.size)],
    )
    for one in kept:
        _require_extends(folder, head, open_checkpoint(one, origin=trust.origin, key=trust.log))
    also = " It extends what you kept." if kept else ""
    return Verified(
        kind="log",
        sentence=f"All {head.size:,} records hold: every entry, every tile over them and the signed "
        f"checkpoint.{also}",
        facts={
            "records": head.size,
            "root": head.root.hex(),
            "origin": head.origin,
            "tiles": reading.tiles,
            "kept": len(kept),
        },
    )


def _require_none(audited: Sequence[Refusal], others: Sequence[Refusal]) -> None:
    """Raise the first problem in the log; what names a single record comes before what names many."""
    leaves = [one for one in audited if _record_of(one) < NOWHERE]
    problems = [*leaves, *others, *(one for one in audited if one not in leaves)]
    if not problems:
        return
    first = min(problems, key=_record_of)
    raise Tampered(
        first.code,
        first.what,
        why=first.why,
        next=first.next or "Keep the folder as evidence; compare with checkpoints held elsewhere.",
        place=first.place,
    )


def _record_of(problem: Refusal) -> float:
    word, _, rest = problem.place.partition(" ")
    number = rest.partition(" ")[0]
    return int(number) if word == "record" else NOWHERE


def _require_extends(folder: Path, head: Checkpoint, kept: Checkpoint) -> None:
    """The log begins with what a kept checkpoint covers: by a consistency proof from its tiles."""
    place = f"checkpoint of {kept.size} records"
    if kept.size > head.size:
        raise Tampered(
            "operations.log-rolled-back",
            f"The log is shorter than it was: {kept.size - head.size} records are gone.",
            why=f"The checkpoint that you kept covers {kept.size} records; this log has {head.size}.",
            next="Keep both as evidence: the log's key signed the longer one.",
            place=place,
        )
    lookup = lookup_in(lambda tile: read_file(folder / tile.path(), limit=TILE_BYTES), head.size)
    path = consistency_from(lookup, first=kept.size, second=head.size)
    if not verify_consistency(
        first=kept.size, second=head.size, first_root=kept.root, second_root=head.root, path=path
    ):
        raise Tampered(
            "operations.log-forked",
            f"The log does not begin with the {kept.size} records of the checkpoint that you kept.",
            why="The log's key signed both: its owner shows different histories, or rewrote this one.",
            next="Keep both as evidence.",
            place=place,
        )


def read_kept(path: Path) -> bytes:
    """The bytes of a kept checkpoint: the file itself, or that of a folder that holds an earlier export."""
    if path.is_dir() and not (path / CHECKPOINT_FILE).exists():
        raise Misuse("operations.no-checkpoint", f"There is no checkpoint in {path}.", next="Name the file.")
    return read_file(path / CHECKPOINT_FILE if path.is_dir() else path, limit=NOTE_BYTES)
