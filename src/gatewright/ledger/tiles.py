"""The log as static files: C2SP tlog-tiles, as pure functions over bytes.

https://c2sp.org/tlog-tiles says what is read and written here::

    checkpoint                      the signed head
    tile/<level>/<index>            256 hashes of 32 bytes; level 0 holds leaf hashes
    tile/<level>/<index>.p/<width>  the same with 1 to 255 hashes, at the right edge of the tree
    tile/entries/<index>[.p/<width>]   the leaves themselves, each after its length (two bytes)

An index is written three digits at a time, ``x001/x234/067`` for 1,234,067. A hash of level 1 is
the root over one full tile of level 0, and so on; the hashes between follow from those. A full
tile never changes, so a copy of the log grows by new files and one new ``checkpoint``.

Law: for the tiles of any tree, :func:`lookup_in` answers what the tree over all leaves would.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gatewright.kernel.errors import BadInput
from gatewright.ledger.checkpoints import TREE_SIZE
from gatewright.ledger.proofs import Lookup
from gatewright.ledger.records import LEAF_BYTES
from gatewright.ledger.tree import EMPTY_ROOT, HASH_BYTES, root_of

TILE_WIDTH = 256
TILE_HEIGHT = 8
"""Levels of the tree in one tile: ``2**8 == 256``."""
ENTRIES = -1
"""The level that stands for entry bundles."""
LEVELS = 8
"""Levels of tiles that a tree of at most 2**63 - 1 leaves can have."""
CHECKPOINT_FILE = "checkpoint"
BUNDLE_BYTES = TILE_WIDTH * (2 + LEAF_BYTES)

_U16 = struct.Struct(">H")
_PATH = re.compile(
    r"tile/(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Which tile: its level (:data:`ENTRIES` for a bundle of leaves), its index there, how many it holds.

    Law: ``Tile.parse(t.path()) == t``.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    def path(self) -> str:
        """Where it lies below the log's prefix."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        groups = f"{self.index:,}".split(",")
        groups[0] = groups[0].zfill(3)
        index = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        part = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{index}{part}"

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Read a path; raises BadInput for anything that :meth:`path` would not write."""
        found = _PATH.fullmatch(path)
        width = int(found["width"] or TILE_WIDTH) if found else 0
        if found is None or (found["width"] and width >= TILE_WIDTH):
            raise BadInput("ledger.tile-path", f"{path[:120]!r} is not the path of a tile.")
        level = ENTRIES if found["level"] == "entries" else int(found["level"])
        tile = cls(level=level, index=int(re.sub("[x/]", "", found["index"])), width=width)
        if tile.path() != path:
            raise BadInput("ledger.tile-path", f"{path[:120]!r} has more digits than its index needs.")
        return tile

    @property
    def start(self) -> int:
        """The first leaf below it."""
        return self.index << TILE_HEIGHT * (max(self.level, 0) + 1)

    def leaves_of(self, place: int) -> tuple[int, int]:
        """The leaves ``start`` up to ``stop`` that entry ``place`` of it covers."""
        each = 1 << TILE_HEIGHT * max(self.level, 0)
        return self.start + place * each, self.start + (place + 1) * each


def width_in(size: int, level: int, index: int) -> int:
    """How many entries the tile has in a tree of ``size`` leaves; 0 when there is no such tile."""
    return max(0, min(TILE_WIDTH, (size >> TILE_HEIGHT * max(level, 0)) - index * TILE_WIDTH))


def tiles_of(size: int) -> Iterator[Tile]:
    """Every tile and bundle that a log with ``size`` leaves must have, level by level."""
    for level in range(ENTRIES, LEVELS):
        index = 0
        while width := width_in(size, level, index):
            yield Tile(level=level, index=index, width=width)
            index += 1


def read_tile(data: bytes, width: int) -> tuple[bytes, ...]:
    """The hashes of a tile. Raises BadInput unless there are exactly ``width`` of 32 bytes."""
    if len(data) != width * HASH_BYTES:
        raise BadInput(
            "ledger.tile-length",
            f"A tile of {width} hashes has {width * HASH_BYTES:,} bytes; this one has {len(data):,}.",
        )
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def bundle_of(leaves: Sequence[bytes]) -> bytes:
    """The leaves as an entry bundle. Raises BadInput for more than 256 or one beyond 65,535 bytes."""
    if len(leaves) > TILE_WIDTH or any(len(leaf) > LEAF_BYTES for leaf in leaves):
        raise BadInput("ledger.bundle", f"A bundle holds at most 256 leaves of {LEAF_BYTES:,} bytes.")
    return b"".join(_U16.pack(len(leaf)) + leaf for leaf in leaves)


def split_bundle(data: bytes, width: int) -> tuple[tuple[bytes, ...], str]:
    """As many of ``width`` leaves as an entry bundle holds whole, and what is wrong after them, or nothing."""
    leaves: list[bytes] = []
    at = 0
    for _ in range(width):
        start = at + _U16.size
        at = start + _U16.unpack_from(data, at)[0] if start <= len(data) else start
        if at > len(data):
            return tuple(leaves), f"It ends after {len(leaves)} of {width} leaves."
        leaves.append(data[start:at])
    return tuple(leaves), "" if at == len(data) else f"Something follows its {width} leaves."


def read_bundle(data: bytes, width: int) -> tuple[bytes, ...]:
    """The leaves in an entry bundle; raises BadInput unless it holds exactly ``width`` and nothing else."""
    leaves, fault = split_bundle(data, width)
    if fault:
        raise BadInput("ledger.bundle", "The bytes are not a bundle of leaves.", why=fault)
    return leaves


class Tiling:
    """Leaf hashes go in, 256 at a time; full tiles come out. Holds the right edge only."""

    def __init__(self) -> None:
        self._open: list[list[bytes]] = [[]]
        self._full: list[int] = [0]

    def add(self, hashes: Sequence[bytes]) -> Iterator[tuple[Tile, bytes]]:
        """Take the next leaf hashes (256, or fewer at the end) and give every tile that this fills.

        Raises BadInput where leaves follow a group that was not full.
        """
        if len(self._open[0]) + len(hashes) > TILE_WIDTH:
            raise BadInput("ledger.tiling", "Only the last group of leaves may be smaller than 256.")
        self._open[0] += hashes
        level = 0
        while len(self._open[level]) == TILE_WIDTH:
            full, index = self._open[level], self._full[level]
            self._open[level] = []
            self._full[level] += 1
            if level + 1 == len(self._open):
                self._open.append([])
                self._full.append(0)
            self._open[level + 1].append(root_of(full))
            yield Tile(level=level, index=index), b"".join(full)
            level += 1

    def edge(self) -> Iterator[tuple[Tile, bytes]]:
        """The partial tiles of the tree as it is."""
        for level, hashes in enumerate(self._open):
            if hashes:
                yield Tile(level=level, index=self._full[level], width=len(hashes)), b"".join(hashes)

    def root(self) -> bytes:
        """Root of the tree as it is, 32 bytes."""
        below: list[bytes] = []
        for hashes in self._open:
            if hashes or below:
                below = [root_of([*hashes, *below])]
        return below[0] if below else EMPTY_ROOT


def lookup_in(read: Callable[[Tile], bytes], size: int) -> Lookup:
    """A look-up of complete subtrees, for proofs, in the tiles of a tree of ``size`` leaves.

    ``read`` gives the bytes of a tile. Each tile is read once. The look-up raises BadInput for a
    tile of the wrong length and for a subtree that ``size`` leaves do not fill.
    """
    known: dict[tuple[int, int], tuple[bytes, ...]] = {}

    def lookup(level: int, index: int) -> bytes:
        if (index + 1) << level > min(size, TREE_SIZE):
            raise BadInput("ledger.no-such-node", f"{size} leaves do not fill node {index} of level {level}.")
        row, height = divmod(level, TILE_HEIGHT)
        number, at = divmod(index << height, TILE_WIDTH)
        if (row, number) not in known:
            width = width_in(size, row, number)
            known[row, number] = read_tile(read(Tile(level=row, index=number, width=width)), width)
        return root_of(known[row, number][at : at + (1 << height)])

    return lookup
