"""Writing a home's log as static files, and adding to what an earlier export wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gatewright.kernel.errors import Tampered
from gatewright.ledger.checkpoints import Checkpoint
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.ledger.tiles import BUNDLE_BYTES, CHECKPOINT_FILE, TILE_WIDTH, Tile, Tiling, bundle_of
from gatewright.ledger.tree import HASH_BYTES, Frontier, leaf_hash
from gatewright.operations.files import file_failures, make_folders, read_file
from gatewright.operations.home import Home
from gatewright.operations.log_folder import Widths, bundles_of, read_head, tiles_in
from gatewright.operations.released import drafted, require_new
from gatewright.operations.trust_files import TRUST_FILE, trust_files, versions
from gatewright.operations.witnessed import WITNESSED_FILE, cosigned_notes
from gatewright.releases.heads import open_head
from gatewright.releases.trust import TRUST_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What lies in the folder now: how many records, ``before`` of which were there already, and their root.

    ``written`` counts the files that were written. ``key`` is the log's key as C2SP signed-note
    writes it, for other programs.
    """

    folder: Path
    records: int
    before: int
    root: bytes
    written: int
    key: str


def export(home: Home, folder: Path) -> Exported:
    """Write the whole log to ``folder``, or what it lacks where it holds an earlier export of this log.

    A new folder is there whole or not at all. In one that is there, no tile is ever rewritten; the
    checkpoint is replaced last. Raises Tampered, and leaves what is there, when the folder holds
    something else than the beginning of this log.
    """
    note, behind = cosigned_notes(home.folder, home.archive.checkpoint(), home.trust)
    head = open_head(note, home.trust).checkpoint
    if (folder / CHECKPOINT_FILE).exists():
        before = _require_beginning(home, folder, head)
        written = _grow(home, folder, head, note)
        if behind:
            home.write(folder / WITNESSED_FILE, behind)
    else:
        require_new(folder)
        before = 0
        with drafted(folder) as draft:
            written = _Writing(home, draft, {}).fill(head)
            home.write(draft / CHECKPOINT_FILE, note)
            if behind:
                home.write(draft / WITNESSED_FILE, behind)
    key = NoteKey(name=home.origin, type=SignatureType.ED25519, raw=home.trust.log.raw())
    return Exported(
        folder=folder, records=head.size, before=before, root=head.root, written=written + 1, key=key.text()
    )


def _require_beginning(home: Home, folder: Path, head: Checkpoint) -> int:
    """The size of the export in the folder, whose records are the first of this log."""
    old = read_head(folder, home.trust, revoked_too=True)[1].checkpoint
    why = f"Its checkpoint, signed by this home's key, covers {old.size} records; the log has {head.size}."
    if old.size <= head.size:
        if Frontier.of(map(leaf_hash, home.archive.leaves(0, old.size))).root() == old.root:
            return old.size
        why = f"Its {old.size} records are not the first {old.size} of this log."
    raise Tampered(
        "operations.log-not-a-beginning",
        "The folder does not hold the beginning of this log; nothing was written.",
        why=why,
        next="Keep both as evidence: one of them was rewritten, or the home was restored from a backup. "
        "'gatewright verify' tells whether the home holds.",
        place=str(folder),
    )


def _grow(home: Home, folder: Path, head: Checkpoint, note: bytes) -> int:
    writing = _Writing(home, folder, tiles_in(folder))
    written = writing.fill(head)
    with home.exclusive():
        if (
            read_head(folder, home.trust, revoked_too=True)[1].checkpoint.size <= head.size
        ):  # another export may have been faster
            home.write(folder / CHECKPOINT_FILE, note)
    writing.tidy()
    return written


class _Writing:
    """Puts every tile of a log into a folder; what lies there already must be the same."""

    def __init__(self, home: Home, folder: Path, found: Widths) -> None:
        self._home = home
        self._folder = folder
        self._found = found
        self._replaced: list[Path] = []
        self._written = 0

    def fill(self, head: Checkpoint) -> int:
        """Every tile of the tree of ``head``; returns how many files were written."""
        tiling = Tiling()
        leaves = self._home.archive.leaves(0, head.size)
        for bundle in bundles_of(head.size):
            entries = tuple(islice(leaves, bundle.width))
            self._put(bundle, lambda width, entries=entries: bundle_of(entries[:width]))  # type: ignore[misc]
            self._put_tiles(tiling.add([leaf_hash(entry) for entry in entries]))
        self._put_tiles(tiling.edge())
        if tiling.root() != head.root:
            raise Tampered(
                "operations.log-broken",
                "The records of this home do not add up to its signed checkpoint; the checkpoint was not written.",
                next="Run: gatewright verify",
                place=f"checkpoint of {head.size} records",
            )
        self._trust()
        return self._written

    def _trust(self) -> None:
        """The public keys with the steps that led to them; those of an earlier export give way to what follows."""
        place = self._folder / TRUST_FILE
        files = trust_files(self._home.folder)
        newest = files.pop(TRUST_FILE)
        for name, content in sorted(files.items()):
            self._same_or_new(self._folder / name, content)
        if place.exists():
            before = read_file(place, limit=TRUST_BYTES)
            if before == newest:
                return
            if all(each.encode() != before for each in versions(self._home.folder)):
                self._same_or_new(place, newest)  # says what is wrong
        self._home.write(place, newest)
        self._written += 1

    def tidy(self) -> None:
        """Remove the partial tiles whose full tile is there now."""
        with file_failures("remove partial tiles", self._folder):
            for path in self._replaced:
                path.unlink(missing_ok=True)
            for folder in {path.parent for path in self._replaced}:
                if not any(folder.iterdir()):
                    folder.rmdir()

    def _put_tiles(self, tiles: Iterator[tuple[Tile, bytes]]) -> None:
        for tile, content in tiles:
            self._put(tile, lambda width, content=content: content[: width * HASH_BYTES])  # type: ignore[misc]

    def _put(self, tile: Tile, content: Callable[[int], bytes]) -> None:
        """``content`` gives the bytes of the tile with so many entries."""
        for width in self._found.get((tile.level, tile.index), ()):
            earlier = self._folder / Tile(level=tile.level, index=tile.index, width=width).path()
            self._same_or_new(earlier, content(width))
            if width < tile.width == TILE_WIDTH:
                self._replaced.append(earlier)
        self._same_or_new(self._folder / tile.path(), content(tile.width))

    def _same_or_new(self, path: Path, content: bytes) -> None:
        if path.exists():
            if read_file(path, limit=BUNDLE_BYTES) != content:
                raise Tampered(
                    "operations.log-file-changed",
                    "A file in the folder is not what this log holds; it was left as it is.",
                    next="Verify the folder, then export into a new one.",
                    place=str(path),
                )
            return
        with file_failures("write the folder", self._folder):
            make_folders(path.parent)
        self._home.write(path, content)
        self._written += 1
