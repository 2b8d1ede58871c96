"""Other programs that read and write such logs: the same roots, the same proofs, the same files and signatures."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pymerkle import InmemoryTree  # type: ignore[import-untyped]
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import CheckpointSigner, MLDSA44CosignatureSigner, PlainEd25519Signer, Vkey, VkeySet
from tlog_scales.writer import TilesWriter

from gatewright.adapters.log_signing import HeadSigning
from gatewright.kernel.instants import Instant
from gatewright.ledger.notes import NoteKey, SignatureType, signed_by
from gatewright.ledger.proofs import consistency_from, inclusion_from
from gatewright.ledger.tiles import ENTRIES, TILE_WIDTH, Tile, Tiling, bundle_of, lookup_in, tiles_of
from gatewright.ledger.tree import Frontier, inclusion_path, leaf_hash, root_of
from gatewright.operations.log_pass import Reading, say_nothing, whole
from gatewright.releases.heads import log_keys
from gatewright.testing.signers import QuantumSafeSeedSigner, SeedSigner

ORIGIN = "example.com/log"
LOG, LOG_PQ = SeedSigner("log"), QuantumSafeSeedSigner("log")
SIZES = (1, 2, 255, 256, 257, 700)
LEAVES = [f"leaf {number}".encode() for number in range(SIZES[-1])]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]
CHOICES = random.Random(5)  # noqa: S311 - a choice of leaves


def test_roots_and_paths_are_those_of_pymerkle() -> None:
    """For every size up to 100: the root; for every leaf of it, the path, lowest sibling first."""
    tree, frontier = InmemoryTree(algorithm="sha256"), Frontier()
    for size, leaf in enumerate(LEAVES[:100], 1):
        tree.append_entry(leaf)
        frontier = frontier.append(leaf_hash(leaf))
        assert tree.get_root(size) == frontier.root()
        for index in range(size):
            told = tree.prove_inclusion(index + 1, size).serialize()["path"]
            assert told[1:] == [part.hex() for part in inclusion_path(HASHES[:size], index)]


def written(folder: Path, size: int) -> Path:
    """A log folder of ours, with its signed head."""
    tiling, content = Tiling(), dict[Tile, bytes]()
    for index, start in enumerate(range(0, size, TILE_WIDTH)):
        group = LEAVES[start : min(start + TILE_WIDTH, size)]
        content[Tile(level=ENTRIES, index=index, width=len(group))] = bundle_of(group)
        content |= dict(tiling.add([leaf_hash(leaf) for leaf in group]))
    for tile, data in (content | dict(tiling.edge())).items():
        (folder / tile.path()).parent.mkdir(parents=True, exist_ok=True)
        (folder / tile.path()).write_bytes(data)
    signing = HeadSigning(origin=ORIGIN, signer=LOG, signer_pq=LOG_PQ)
    (folder / "checkpoint").write_bytes(signing.note(size, tiling.root(), Instant(1_800_000_000 * 10**9)))
    return folder


@pytest.mark.parametrize("size", SIZES)
def test_another_reader_reads_our_folder(tmp_path: Path, size: int) -> None:
    """tlog-scales finds the same root, entries and proofs in our files, and both signatures of our head hold."""
    reader = TilesReader(LocalBackend(written(tmp_path, size)))
    head = reader.get_checkpoint()
    keys = VkeySet(*(Vkey.from_string(key.text()) for key in log_keys(ORIGIN, LOG.public, LOG_PQ.public)))
    assert 2 == len(keys.verify(head.signatures, head))
    assert (ORIGIN, size, root_of(HASHES[:size])) == (head.origin, head.size, head.root_hash)
    assert head.root_hash == reader.calculate_root_hash()
    lookup = lookup_in(lambda tile: (tmp_path / tile.path()).read_bytes(), size)
    for index in {0, size - 1, *CHOICES.choices(range(size), k=8)}:
        assert LEAVES[index] == reader.get_entry(index)
        theirs = reader.get_inclusion_proof(index, size).node_hashes
        assert theirs == list(inclusion_from(lookup, index=index, size=size))
    for first in {1, size, *CHOICES.choices(range(1, size + 1), k=8)}:
        grown = reader.get_consistency_proof(first, size).node_hashes
        assert grown == list(consistency_from(lookup, first=first, second=size))


@pytest.mark.parametrize("size", SIZES)
def test_we_read_the_folder_of_another_writer(tmp_path: Path, size: int) -> None:
    """What tlog-scales wrote and signed, in two goes, holds: every entry, every tile, the root, both signatures."""
    private, private_pq = LOG._private, LOG_PQ._private
    signers: list[CheckpointSigner] = [
        PlainEd25519Signer(ORIGIN, private),
        MLDSA44CosignatureSigner(ORIGIN, private_pq),
    ]
    writer = TilesWriter.create(tmp_path / "log", ORIGIN)
    for leaf in LEAVES[: size // 2]:
        writer.add_leaf(leaf)
    if size > 1:
        writer.commit(signers)
    for leaf in LEAVES[size // 2 : size]:
        writer.add_leaf(leaf)
    writer.commit(signers)
    note = (tmp_path / "log" / "checkpoint").read_bytes()
    keys = log_keys(ORIGIN, LOG.public, LOG_PQ.public)
    assert list(SignatureType)[::2] == [key.type for key in signed_by(note, keys)]
    assert all(isinstance(key, NoteKey) for key in keys)
    passed = whole(Reading(folder=tmp_path / "log", size=size, forms=False), say_nothing)
    assert root_of(HASHES[:size]) == passed.root
    assert passed.tiles == sum(tile.level != ENTRIES for tile in tiles_of(size))
