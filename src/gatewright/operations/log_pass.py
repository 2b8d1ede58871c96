"""A log's files hashed and read in blocks, by several processes: shows that all holds, or that it may not.

A block is 256 bundles, 65,536 leaves. For each bundle the leaves are hashed and compared with their
tile, their forms are read, and the hash over the tile follows; from those hashes follow the tiles
above and the root. Where anything at all is not as it must be, nothing is said about what it is:
:mod:`gatewright.operations.log_folder` reads on with care and names it.

``python -I -B -m gatewright.operations.log_pass FOLDER SIZE FIRST STEP`` does the blocks FIRST,
FIRST + STEP, … and writes for each a line of JSON and the hashes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import IO

from gatewright.kernel.errors import BadInput
from gatewright.ledger.records import place_in
from gatewright.ledger.tiles import BUNDLE_BYTES, ENTRIES, TILE_WIDTH, Tile, width_in
from gatewright.ledger.tree import EMPTY_ROOT, HASH_BYTES, root_of

BLOCK_BUNDLES = 256
BLOCK_LEAVES = BLOCK_BUNDLES * TILE_WIDTH
SEVERAL_FROM = 2 * BLOCK_LEAVES
"""Logs from this size on are worth the start of further processes."""
MOST_PROCESSES = 8

Progress = Callable[[int, int], None]
"""Told how many leaves of how many are done."""


def say_nothing(done: int, of: int, /) -> None:
    """For whoever does not watch."""
    del done, of


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is to be read: the folder of a log, how many leaves it has, and whether their forms are read too."""

    folder: Path
    size: int
    forms: bool = True

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return -(-self.size // BLOCK_LEAVES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What a block of bundles came to: hashes over its full tiles end to end, those of a partial one, times.

    ``first`` and ``last`` are the times of its first and last record, nanoseconds; -1 where records
    were not read.
    """

    hashes: bytes
    edge: bytes
    first: int
    last: int


class Doubt(Exception):
    """Something is not as it must be, or could not be seen."""


def hash_bundle(data: bytes, width: int) -> tuple[list[bytes], bytes]:
    """The leaves of an entry bundle and their hashes end to end; raises Doubt where it is none of ``width``."""
    leaves: list[bytes] = []
    at = 0
    for _ in range(width):
        start = at + 2
        if start > len(data):
            raise Doubt
        at = start + (data[start - 2] << 8 | data[start - 1])
        leaves.append(data[start:at])
    if at != len(data):
        raise Doubt
    return leaves, b"".join([sha256(b"\x00" + leaf).digest() for leaf in leaves])


def root_of_full(hashes: bytes) -> bytes:
    """The root over 256 hashes end to end: :func:`gatewright.ledger.tree.root_of`, without a list for each level."""
    while len(hashes) > HASH_BYTES:
        hashes = b"".join(
            [sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, len(hashes), 64)]
        )
    return hashes


def read_block(reading: Reading, number: int) -> Block:
    """Hash and read one block; raises Doubt."""
    folder, size = reading.folder, reading.size
    tops: list[bytes] = []
    edge = b""
    start = number * BLOCK_BUNDLES
    expected, first, last = start * TILE_WIDTH, -1, -1
    for index in range(start, start + BLOCK_BUNDLES):
        width = width_in(size, ENTRIES, index)
        if not width:
            break
        leaves, hashes = hash_bundle(_content(folder, ENTRIES, index, width), width)
        if hashes != _content(folder, 0, index, width):
            raise Doubt
        if reading.forms:
            opens, last = _places(leaves, expected, last)
            first = opens if first < 0 else first
            expected += width
        if width == TILE_WIDTH:
            tops.append(root_of_full(hashes))
        else:
            edge = hashes
    return Block(hashes=b"".join(tops), edge=edge, first=first, last=last)


def _content(folder: Path, level: int, index: int, width: int) -> bytes:
    most = BUNDLE_BYTES if level == ENTRIES else width * HASH_BYTES
    try:
        with (folder / Tile(level=level, index=index, width=width).path()).open("rb", buffering=0) as file:
            data = file.read(most + 1)
    except OSError:
        raise Doubt from None
    if len(data) > most:
        raise Doubt
    return data


def _places(leaves: Sequence[bytes], expected: int, before: int) -> tuple[int, int]:
    """Times of the first and the last record; raises Doubt unless each has its number and no earlier time."""
    first = -1
    for number, leaf in enumerate(leaves, expected):
        try:
            seq, time = place_in(leaf)
        except BadInput:
            raise Doubt from None
        if seq != number or time < before:
            raise Doubt
        before = time
        first = time if first < 0 else first
    return first, before


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What a whole pass came to: the root, and how many tiles there are from level 0 on."""

    root: bytes
    tiles: int


def whole(reading: Reading, say: Progress, *, processes: int = 0) -> Passed:
    """Hash and read everything; raises Doubt. ``processes`` is how many, 0 as many as are worth it."""
    hashes: list[bytes] = []
    edge, before = b"", -1
    several = processes or (_cores() if reading.size >= SEVERAL_FROM else 1)
    for number, block in enumerate(_inside(reading) if several == 1 else _spread(reading, several)):
        if reading.forms and block.first < before:
            raise Doubt
        before = block.last
        hashes.append(block.hashes)
        edge = block.edge
        say(min(reading.size, (number + 1) * BLOCK_LEAVES), reading.size)
    return _above(reading.folder, reading.size, b"".join(hashes), edge)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return min(MOST_PROCESSES, len(affinity(0)) if affinity else os.cpu_count() or 1)


def _inside(reading: Reading) -> Iterator[Block]:
    return (read_block(reading, number) for number in range(reading.blocks))


def _above(folder: Path, size: int, row: bytes, edge: bytes) -> Passed:
    """Compare the tiles above the lowest; ``row`` are the hashes over full tiles, ``edge`` of a partial one."""
    edges = [_split(edge)]
    tiles = -(-size // TILE_WIDTH)
    for level in count(1):
        if not row:
            break
        tops: list[bytes] = []
        edges.append([])
        for index, at in enumerate(range(0, len(row), TILE_WIDTH * HASH_BYTES)):
            part = row[at : at + TILE_WIDTH * HASH_BYTES]
            tiles += 1
            if _content(folder, level, index, len(part) // HASH_BYTES) != part:
                raise Doubt
            if len(part) == TILE_WIDTH * HASH_BYTES:
                tops.append(root_of_full(part))
            else:
                edges[level] = _split(part)
        row = b"".join(tops)
    below: list[bytes] = []
    for part_of in edges:
        if part_of or below:
            below = [root_of([*part_of, *below])]
    return Passed(root=below[0] if below else EMPTY_ROOT, tiles=tiles)


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def _spread(reading: Reading, processes: int) -> Iterator[Block]:
    """The blocks in order, each from the process that does it; raises Doubt where one ends early."""
    with ExitStack() as stack:
        children = [
            stack.enter_context(_started(reading, first, processes))
            for first in range(min(processes, reading.blocks))
        ]
        stack.callback(_end, children)
        for number in range(reading.blocks):
            answers = children[number % processes].stdout
            assert answers is not None  # noqa: S101 - it is a pipe
            yield _received(answers)


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()


def _started(reading: Reading, first: int, step: int) -> subprocess.Popen[bytes]:
    words = [
        sys.executable,
        "-I",
        "-B",
        "-m",
        "gatewright.operations.log_pass",
        str(reading.folder.absolute()),
    ]
    numbers = (reading.size, first, step, int(reading.forms))
    try:
        return subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
            [*words, *map(str, numbers)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
    except OSError:
        raise Doubt from None


def _received(answers: IO[bytes]) -> Block:
    line = answers.readline()
    if not line.endswith(b"\n"):
        raise Doubt
    told = json.loads(line)
    hashes, edge = answers.read(told["hashes"]), answers.read(told["edge"])
    if (len(hashes), len(edge)) != (told["hashes"], told["edge"]):
        raise Doubt
    return Block(hashes=hashes, edge=edge, first=told["first"], last=told["last"])


def main(arguments: Sequence[str]) -> int:
    """Do the blocks of one process; returns the exit status."""
    size, start, step, forms = map(int, arguments[1:])
    reading = Reading(folder=Path(arguments[0]), size=size, forms=bool(forms))
    for number in range(start, reading.blocks, step):
        try:
            block = read_block(reading, number)
        except Doubt:
            return 1
        told = {
            "hashes": len(block.hashes),
            "edge": len(block.edge),
            "first": block.first,
            "last": block.last,
        }
        sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + block.hashes + block.edge)
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
