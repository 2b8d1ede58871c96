"""A log of given leaves as files, signed by keys that the tests hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gatewright.adapters.log_signing import HeadSigning
from gatewright.kernel.instants import Instant
from gatewright.ledger.tiles import ENTRIES, TILE_WIDTH, Tile, Tiling, bundle_of
from gatewright.ledger.tree import leaf_hash
from gatewright.releases.trust import TrustRoot
from gatewright.testing.signers import QuantumSafeSeedSigner, SeedSigner
from unit.releases.workshop import ml_dsa, p256

LOG, LOG_PQ = SeedSigner("log"), QuantumSafeSeedSigner("log")
ORIGIN = "example.com/log"


def trust_root(*witnesses: str) -> TrustRoot:
    """The public keys of the log."""
    return TrustRoot(
        origin=ORIGIN,
        release=p256().public,
        release_pq=ml_dsa().public,
        log=LOG.public,
        log_pq=LOG_PQ.public,
        root=p256().public,
        root_pq=ml_dsa().public,
        made=Instant(0),
        expires=Instant(4_000_000_000 * 10**9),
        witnesses=witnesses,
        quorum=len(witnesses),
    )


def write_log(folder: Path, leaves: Sequence[bytes]) -> Path:
    """Write bundles, tiles and checkpoint; returns the folder."""
    tiling, content = Tiling(), dict[Tile, bytes]()
    for index, start in enumerate(range(0, len(leaves), TILE_WIDTH)):
        group = leaves[start : start + TILE_WIDTH]
        content[Tile(level=ENTRIES, index=index, width=len(group))] = bundle_of(group)
        content |= dict(tiling.add([leaf_hash(leaf) for leaf in group]))
    for tile, data in (content | dict(tiling.edge())).items():
        (folder / tile.path()).parent.mkdir(parents=True, exist_ok=True)
        (folder / tile.path()).write_bytes(data)
    folder.mkdir(exist_ok=True)
    signing = HeadSigning(origin=ORIGIN, signer=LOG, signer_pq=LOG_PQ)
    (folder / "checkpoint").write_bytes(signing.note(len(leaves), tiling.root(), Instant(10**18)))
    return folder
