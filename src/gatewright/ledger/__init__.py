"""The append-only log: records, Merkle tree, proofs, checkpoints, receipts. Knows only kinds and bytes."""
