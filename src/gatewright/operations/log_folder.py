"""A log as static files, read and verified: what ``evidence log`` wrote, by whoever holds the keys' fingerprint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Refusal, Tampered
from gatewright.ledger.audit import audit_under, place_of
from gatewright.ledger.checkpoints import NOTE_BYTES, Checkpoint
from gatewright.ledger.proofs import (
    Lookup,
    consistency_from,
    first_difference,
    inclusion_from,
    verify_consistency,
)
from gatewright.ledger.records import Record
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
    tiles_of,
    width_in,
)
from gatewright.ledger.tree import HASH_BYTES, leaf_hash, verify_inclusion
from gatewright.operations.files import file_failures, read_file
from gatewright.operations.forks import RESTORED, missing, put_back
from gatewright.operations.ledger_verification import require_newest_keys
from gatewright.operations.log_pass import Doubt, Progress, Reading, say_nothing, whole
from gatewright.operations.trust_files import TRUST_CHANGED
from gatewright.operations.verify import Verified
from gatewright.operations.witnessed import WITNESSED_FILE, told
from gatewright.releases.heads import Head, open_head
from gatewright.releases.trust import TrustRoot

TILE_BYTES = TILE_WIDTH * HASH_BYTES
PROBLEMS = 20
NOWHERE = float("inf")

Widths = Mapping[tuple[int, int], Sequence[int]]
"""The widths that lie in a folder, smallest first, by level and index."""


def read_head(folder: Path, trust: TrustRoot, *, revoked_too: bool = False) -> tuple[bytes, Head]:
    """The checkpoint of a folder and what it says, believed. Raises Tampered for anything else."""
    try:
        note = read_file(folder / CHECKPOINT_FILE, limit=NOTE_BYTES)
        return note, open_head(note, trust, revoked_too=revoked_too)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A checkpoint that the caller kept; ``folder`` is the export that it lies in, where that was kept too."""

    note: bytes
    folder: Path | None = None


def verify_log(
    folder: Path, trust: TrustRoot, *, kept: Sequence[Kept] = (), say: Progress = say_nothing
) -> Verified:
    """Verify a log as static files: every entry, the tiles over them, the signed checkpoint.

    The log must extend each of ``kept``. ``say`` is told how many records of how many were read.
    Raises Tampered with the first record that does not hold, BadInput for a kept checkpoint that
    is malformed, and Misuse where the public keys are older than the log, or a kept checkpoint proves nothing.
    """
    _, head = read_head(folder, trust)
    found = tiles_in(folder)
    tiles = _quickly(folder, head.checkpoint, found, say)
    if tiles is None:
        tiles = _carefully(folder, head.checkpoint, found)
    require_newest_keys(_naming(folder, head.checkpoint.size, TRUST_CHANGED)[-1:], trust)
    behind = [one for one in _opened(_witnessed(folder), trust) if not one[1].unproven]
    held = _opened(kept, trust)
    _require_comparable(held)
    _require_not_lost(held, trust)
    require_extends(folder, head.checkpoint, [(each, old.checkpoint) for each, old in (*held, *behind)])
    seen = told(trust, [head, *(older for _, older in behind)], head.checkpoint.size)
    also = " It extends what you kept." if kept else ""
    verified = Verified(
        kind="log",
        sentence=f"All {head.checkpoint.size:,} records hold: every entry, every tile over them and the signed "
        f"checkpoint.{also} {seen.sentence}".rstrip(),
        facts={
            "records": head.checkpoint.size,
            "root": head.checkpoint.root.hex(),
            "origin": head.checkpoint.origin,
            "tiles": tiles,
            "kept": len(kept),
            "cosigned": [each.witness for each in head.cosigned],
            "witnessed": seen.facts,
        },
    )
    if all(era.origin == trust.origin for era in trust.past):
        return verified
    return put_back(verified, ((leaf, None) for leaf in _naming(folder, head.checkpoint.size, RESTORED)))


def _opened(kept: Sequence[Kept], trust: TrustRoot) -> list[tuple[Kept, Head]]:
    return [(each, open_head(each.note, trust, revoked_too=True)) for each in kept]


def _require_comparable(kept: Sequence[tuple[Kept, Head]]) -> None:
    """Raise Misuse for a kept head that anybody may have signed: whatever it says convicts nobody."""
    for _, head in kept:
        if head.unproven:
            raise Misuse(
                "operations.kept-revoked",
                f"The kept checkpoint of {head.checkpoint.size:,} records cannot be compared.",
                why="It is signed with log keys that were revoked since, and no witness cosigned it before that: "
                "somebody else may have made it.",
                next="Compare a checkpoint that witnesses cosigned, or one of the keys of now. The log was verified without it.",
            )


def _require_not_lost(kept: Sequence[tuple[Kept, Head]], trust: TrustRoot) -> None:
    """Raise Tampered for a kept head of what was lost when the home was put back, as the log itself says."""
    for _, head in kept:
        era, size = head.era, head.checkpoint.size
        if era is not None and era.origin != trust.origin and size > era.records:
            raise Tampered(
                "operations.log-put-back",
                f"Of the log {era.origin}, {missing(era.records, size)} is not in this one.",
                why="The home was put back from a backup after you kept the checkpoint; its keys say so.",
                next="Ask its owner what was lost. Answers and receipts of that time still verify by themselves.",
                place=f"record {era.records}",
            )


def _naming(folder: Path, size: int, kind: str) -> Sequence[bytes]:
    """The records of a kind in a verified log, in order."""
    mark = kind.encode()
    found: list[bytes] = []
    for tile in bundles_of(size):
        data = read_file(folder / tile.path(), limit=BUNDLE_BYTES)
        leaves = split_bundle(data, tile.width)[0] if mark in data else ()
        found += [leaf for leaf in leaves if mark in leaf and Record.decode(leaf).draft.kind == kind]
    return found


def _witnessed(folder: Path) -> Sequence[Kept]:
    """The newest head that witnesses cosigned, where an export was made before they saw the last records."""
    place = folder / WITNESSED_FILE
    return (Kept(note=read_file(place, limit=NOTE_BYTES)),) if place.exists() else ()


def _quickly(folder: Path, head: Checkpoint, found: Widths, say: Progress) -> int | None:
    """How many tiles there are, once a quick pass has shown that all holds; None where it has not."""
    expected = {(tile.level, tile.index): tile.width for tile in tiles_of(head.size)}
    if {place: widths[-1] for place, widths in found.items()} != expected:
        return None
    try:
        passed = whole(Reading(folder=folder, size=head.size), say)
    except Doubt:
        return None
    parts = (
        (Tile(level=level, index=index, width=width), Tile(level=level, index=index, width=widths[-1]))
        for (level, index), widths in found.items()
        for width in widths[:-1]
    )
    if passed.root != head.root or not all(_begins(folder, part, of) for part, of in parts):
        return None
    return passed.tiles


def _begins(folder: Path, part: Tile, of: Tile) -> bool:
    """Whether a partial tile of an earlier export is the beginning of the newest."""
    try:
        held, now = (read_file(folder / tile.path(), limit=BUNDLE_BYTES) for tile in (part, of))
    except BadInput:
        return False
    fault = "" if part.level != ENTRIES else split_bundle(held, part.width)[1]
    length = len(held) if part.level == ENTRIES else part.width * HASH_BYTES
    return not fault and len(held) == length and now[:length] == held


def _carefully(folder: Path, head: Checkpoint, found: Widths) -> int:
    """How many tiles there are. Raises Tampered with the first record that does not hold."""
    reading = _Reading(folder, head.size, found)
    audited = audit_under(reading.leaves(), head)
    stopped = () if reading.stopped is None else (reading.stopped,)
    told = [one.told(root_holds=audited.root == head.root) for one in reading.changed]
    _require_none(
        [one for one in audited.problems if not stopped or one.code != "ledger.records-missing"],
        [*stopped, *told, *_beyond(found, head.size)],
    )
    return reading.tiles


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


def require_extends(folder: Path, head: Checkpoint, kept: Sequence[tuple[Kept, Checkpoint]]) -> None:
    """Raise Tampered unless the log begins with what each kept checkpoint covers: by proofs from its tiles.

    Named is the first record that differs where a copy of the log was kept, by walking down the tiles
    of both; else the records between the last kept checkpoint that holds and the first that does not.
    """
    lookup = _lookup(folder, head.size)
    held = 0
    for each, old in sorted(kept, key=lambda one: one[1].size):
        if old.size <= head.size and verify_consistency(
            first=old.size,
            second=head.size,
            first_root=old.root,
            second_root=head.root,
            path=consistency_from(lookup, first=old.size, second=head.size),
        ):
            held = old.size
            continue
        at = None if each.folder is None else _first_changed(folder, head, each.folder, old)
        if old.size > head.size and at in (None, head.size):
            raise Tampered(
                "operations.log-rolled-back",
                f"The log is shorter than it was: {_many(old.size - head.size)} gone.",
                why=f"The checkpoint that you kept covers {old.size} records; this log has {head.size}.",
                next="Keep both as evidence: the log's key signed the longer one.",
                place=f"record {head.size}",
            )
        raise Tampered(
            "operations.log-forked",
            f"The log does not begin with the {old.size} records of the checkpoint that you kept.",
            why="The log's key signed both: its owner shows different histories, or rewrote this one.",
            next="Keep both as evidence."
            if at is not None
            else "Keep both as evidence. A copy of the log from then names the record: --kept LOGFOLDER",
            place=_between(held, old.size) if at is None else place_of(at, _entry(folder, head, at)),
        )


def _many(count: int) -> str:
    return "1 record is" if count == 1 else f"{count:,} records are"


def _between(start: int, stop: int) -> str:
    return f"record {start}" if stop - start == 1 else f"records {start} to {stop - 1}"


def _lookup(folder: Path, size: int) -> Lookup:
    return lookup_in(lambda tile: read_file(folder / tile.path(), limit=TILE_BYTES), size)


def _entry(folder: Path, head: Checkpoint, index: int) -> bytes:
    """Leaf ``index`` of a log that was verified."""
    number, at = divmod(index, TILE_WIDTH)
    width = width_in(head.size, ENTRIES, number)
    tile = Tile(level=ENTRIES, index=number, width=width)
    return split_bundle(read_file(folder / tile.path(), limit=BUNDLE_BYTES), width)[0][at]


def _first_changed(folder: Path, head: Checkpoint, copy: Path, old: Checkpoint) -> int | None:
    """The first record in which a log differs from a copy of an earlier state: proven in both, or None.

    It is the size of the log where the log is the beginning of the copy.
    """
    size = min(head.size, old.size)
    logs = ((_lookup(folder, head.size), head), (_lookup(copy, old.size), old))
    try:
        at = first_difference(logs[0][0], logs[1][0], size)
        index = max(size - 1, 0) if at is None else at
        proven = all(
            verify_inclusion(
                leaf=lookup(0, index),
                index=index,
                size=top.size,
                path=inclusion_from(lookup, index=index, size=top.size),
                root=top.root,
            )
            for lookup, top in logs
        )
    except GatewrightError:  # the copy lacks tiles, or they are damaged: then it shows nothing
        return None
    return (size if at is None else at) if proven else None


def read_kept(path: Path) -> Kept:
    """A kept checkpoint: the file itself, or that of a folder that holds an earlier export, and its tiles."""
    if path.is_dir() and not (path / CHECKPOINT_FILE).exists():
        raise Misuse("operations.no-checkpoint", f"There is no checkpoint in {path}.", next="Name the file.")
    if path.is_dir():
        return Kept(note=read_file(path / CHECKPOINT_FILE, limit=NOTE_BYTES), folder=path)
    return Kept(note=read_file(path, limit=NOTE_BYTES))
