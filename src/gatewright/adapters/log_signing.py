"""Signing the heads of a log with both of its keys: Ed25519, and ML-DSA-44 as a C2SP cosignature."""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import Checkpoint, Note, checkpoint_text
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.ports import Signer
from gatewright.releases.heads import log_keys, open_signed

_SECOND = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSigning:
    """The signers of the log ``origin``; ``signer_pq`` is None in a home whose trust root is of format 1."""

    origin: str
    signer: Signer
    signer_pq: Signer | None = None

    def note(self, size: int, root: bytes, now: Instant) -> bytes:
        """The signed note of a head of ``size`` records; ``now`` stands in the ML-DSA-44 line, in seconds."""
        text = checkpoint_text(self.origin, size, root)
        signers = (self.signer,) if self.signer_pq is None else (self.signer, self.signer_pq)
        keys = self._keys()
        lines = []
        for signer, key in zip(signers, keys, strict=True):
            time = 0 if key.type is SignatureType.ED25519 else now.ns // _SECOND
            lines.append(key.line(signer.sign(key.message(text, time)), time))
        return Note(text=text, signatures=tuple(lines)).encode()

    def believed(self, note: bytes) -> Checkpoint:
        """The head in a note that all of these keys signed; raises BadInput or Tampered."""
        return open_signed(note, self._keys())

    def _keys(self) -> tuple[NoteKey, ...]:
        pq = None if self.signer_pq is None else self.signer_pq.public
        return log_keys(self.origin, self.signer.public, pq)
