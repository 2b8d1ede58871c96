"""A log in memory that submits its heads, honest or forked, and a witness's keys beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from gatewright.ledger.checkpoints import Checkpoint, Note, checkpoint_text
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.ledger.proofs import consistency_from
from gatewright.ledger.tree import leaf_hash, root_of
from gatewright.ledger.witnessing import Cosigner, KnownLog, Submission

ORIGIN = "log.example/one"
TIME = 1_772_546_700


def cosigners(name: str, types: Sequence[SignatureType], seed: str = "") -> tuple[Cosigner, ...]:
    """Keys of ``name`` of these types; another seed makes other keys."""
    made = []
    for kind in types:
        raw = sha256(f"{name} {kind} {seed}".encode()).digest()
        if kind is SignatureType.ML_DSA_44_COSIGNATURE:
            lattice = MLDSA44PrivateKey.from_seed_bytes(raw)
            key = NoteKey(name=name, type=kind, raw=lattice.public_key().public_bytes_raw())
            made.append(Cosigner(key=key, sign=lattice.sign))
        else:
            curve = Ed25519PrivateKey.from_private_bytes(raw)
            key = NoteKey(name=name, type=kind, raw=curve.public_key().public_bytes_raw())
            made.append(Cosigner(key=key, sign=curve.sign))
    return tuple(made)


LOG_TYPES = (SignatureType.ED25519, SignatureType.ML_DSA_44_COSIGNATURE)
WITNESS_TYPES = (SignatureType.ED25519_COSIGNATURE, SignatureType.ML_DSA_44_COSIGNATURE)
WITNESS = cosigners("audit.example/w1", WITNESS_TYPES)
WITNESS_KEYS = tuple(each.key for each in WITNESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittingLog:
    """Leaves that follow from ``story``, but for those from ``differs`` on, which follow from ``fork``."""

    origin: str = ORIGIN
    story: str = "honest"
    types: tuple[SignatureType, ...] = LOG_TYPES
    seed: str = ""
    fork: str = ""
    differs: int = 0

    @property
    def signers(self) -> tuple[Cosigner, ...]:
        """The log's own keys."""
        return cosigners(self.origin, self.types, self.seed)

    @property
    def known(self) -> KnownLog:
        """What a witness knows of it."""
        return KnownLog(origin=self.origin, keys=tuple(each.key for each in self.signers))

    def hashes(self, size: int) -> list[bytes]:
        """The first leaf hashes."""
        return [
            leaf_hash(f"{self.fork if self.fork and i >= self.differs else self.story} {i}".encode())
            for i in range(size)
        ]

    def head(self, size: int) -> Checkpoint:
        """Its head at a size."""
        return Checkpoint(origin=self.origin, size=size, root=root_of(self.hashes(size)))

    def text(self, size: int) -> bytes:
        """What it signs."""
        head = self.head(size)
        return checkpoint_text(head.origin, head.size, head.root)

    def note(self, size: int, *, by: Sequence[Cosigner] | None = None) -> Note:
        """Its signed head."""
        text = self.text(size)
        lines = [
            each.key.line(each.sign(each.key.message(text, TIME)), TIME)
            for each in (self.signers if by is None else by)
        ]
        return Note(text=text, signatures=tuple(lines))

    def proof(self, first: int, second: int) -> tuple[bytes, ...]:
        """Its consistency proof."""
        hashes = self.hashes(second)
        return consistency_from(
            lambda level, index: root_of(hashes[index << level : (index + 1) << level]),
            first=first,
            second=second,
        )

    def submission(self, old: int, size: int) -> Submission:
        """An honest submission, or one as good as this log can make it."""
        proof = self.proof(old, size) if old <= size else ()
        return Submission(old=old, proof=proof, note=self.note(size).encode())
