"""Verifying a log as files, beside bare hashing; and proofs in a large one.

    python bench/verifying.py --leaves 2000000 --records 500000 --proofs-in 10000000

Leaves of 200 bytes are hashed, compared with their tiles and brought to the root; records of the product's own
form are read besides, as ``gatewright verify LOG`` does. A proof is made from the tiles on the disk and verified.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path

from gatewright.kernel.instants import Instant
from gatewright.ledger.proofs import inclusion_from
from gatewright.ledger.records import Draft, Record
from gatewright.ledger.tiles import ENTRIES, TILE_WIDTH, Tile, Tiling, bundle_of, lookup_in
from gatewright.ledger.tree import HASH_BYTES, leaf_hash, verify_inclusion
from gatewright.operations.log_pass import Reading, say_nothing, whole

LEAF_BYTES = 200
GOAL_LEAVES = 1_000_000
GOAL_PROOF_MS = 10.0
ASKED = 200
SEED = 20260303
START = 1_772_546_700 * 10**9


def main() -> int:
    """Make the logs, measure, print; returns 1 where something that was verified did not hold."""
    reader = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    reader.add_argument("--leaves", type=int, default=300_000)
    reader.add_argument("--records", type=int, default=100_000)
    reader.add_argument("--proofs-in", type=int, default=1_000_000)
    reader.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    options = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="gatewright-verifying-") as place:
        _bare(options.leaves)
        _verified("leaves of 200 bytes", Path(place) / "leaves", plain_leaves(options.leaves), options)
        _verified("records, read", Path(place) / "records", records(options.records), options, forms=True)
        return _proofs(Path(place) / "proofs", options.proofs_in)


def plain_leaves(count: int) -> Iterator[bytes]:
    """Different leaves of 200 bytes."""
    rest = bytes(LEAF_BYTES - 8)
    return (struct.pack(">Q", number) + rest for number in range(count))


def records(count: int) -> Iterator[bytes]:
    """Records of sealed segments, two a second."""
    for number in range(count):
        name = f"{number:016x}"
        body = {"id": name, "worker": "ab" * 16, "records": 12, "root": "ab" * 32, "file": "cd" * 32}
        time_of = Instant(START + number * 500_000_000)
        draft = Draft(kind="predictions.sealed", actor="p-6157c47ab4ba9748", subject=name, body=body)
        yield Record(seq=number, time=time_of, draft=draft).encode()


def write_log(folder: Path, leaves: Iterator[bytes]) -> tuple[int, bytes]:
    """Write bundles and tiles; returns how many leaves and their root."""
    tiling, size = Tiling(), 0
    while group := tuple(islice(leaves, TILE_WIDTH)):
        _put(folder, Tile(level=ENTRIES, index=size // TILE_WIDTH, width=len(group)), bundle_of(group))
        for tile, content in tiling.add([leaf_hash(leaf) for leaf in group]):
            _put(folder, tile, content)
        size += len(group)
    for tile, content in tiling.edge():
        _put(folder, tile, content)
    return size, tiling.root()


def _put(folder: Path, tile: Tile, content: bytes) -> None:
    place = folder / tile.path()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def _rate(count: int, work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return count / (time.perf_counter() - begun)


def _bare(count: int) -> None:
    leaves = list(plain_leaves(min(count, 200_000)))
    rate = _rate(len(leaves), lambda: [sha256(b"\x00" + leaf).digest() for leaf in leaves])
    print(f"bare leaf hashes, one process: {rate:,.0f} a second", flush=True)


def _verified(
    what: str, folder: Path, leaves: Iterator[bytes], options: argparse.Namespace, *, forms: bool = False
) -> None:
    size, root = write_log(folder, leaves)
    for processes in sorted({1, options.processes}):
        reading = Reading(folder=folder, size=size, forms=forms)
        roots: list[bytes] = []
        rate = _rate(size, lambda: roots.append(whole(reading, say_nothing, processes=processes).root))  # noqa: B023
        goal = "" if forms else f" (goal on two cores: {GOAL_LEAVES:,})"
        print(f"{what}, {size:,} of them, {processes} processes: {rate:,.0f} a second{goal}", flush=True)
        if roots != [root]:
            sys.exit("The root is another one.")


def _proofs(folder: Path, size: int) -> int:
    root = _hashes(folder, size)
    took, lengths, reads = [], set(), []
    for index in random.Random(SEED).sample(range(size), min(ASKED, size)):  # noqa: S311 - a choice of leaves
        read: list[int] = []
        begun = time.perf_counter()
        lookup = lookup_in(lambda tile: _content(folder, tile, read), size)  # noqa: B023
        path = inclusion_from(lookup, index=index, size=size)
        took.append((time.perf_counter() - begun) * 1e3)
        leaf = leaf_hash(struct.pack(">Q", index))
        if not verify_inclusion(leaf=leaf, index=index, size=size, path=path, root=root):
            print(f"The proof of leaf {index} does not hold.")
            return 1
        lengths.add(len(path))
        reads.append(sum(read))
    ordered = sorted(took)
    print(
        f"inclusion proof in {size:,} leaves, from tiles on the disk: median {statistics.median(took):.2f} ms, "
        f"p99 {ordered[int(len(ordered) * 0.99) - 1]:.2f} ms (goal {GOAL_PROOF_MS:g} ms); "
        f"{min(lengths)} to {max(lengths)} hashes, {max(lengths) * HASH_BYTES:,} bytes at most; "
        f"{max(reads) / 1024:.0f} KiB of tiles read at most"
    )
    return 0


def _content(folder: Path, tile: Tile, read: list[int]) -> bytes:
    data = (folder / tile.path()).read_bytes()
    read.append(len(data))
    return data


def _hashes(folder: Path, size: int) -> bytes:
    """The tiles over the hashes of eight-byte leaves, without bundles."""
    tiling = Tiling()
    for start in range(0, size, TILE_WIDTH):
        group: Sequence[bytes] = [
            leaf_hash(struct.pack(">Q", number)) for number in range(start, min(size, start + TILE_WIDTH))
        ]
        for tile, content in tiling.add(group):
            _put(folder, tile, content)
    for tile, content in tiling.edge():
        _put(folder, tile, content)
    return tiling.root()


if __name__ == "__main__":
    raise SystemExit(main())
