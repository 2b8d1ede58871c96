"""Salted commitments: how a record binds a payload that can still be forgotten.

The commitment is the SHA-256 of the *preimage*: a domain line, 32 random bytes, the payload. The
encrypted payload blob holds exactly the preimage, so its content address is the commitment. Once
blob and salt are gone, nobody can find a guessed payload in the log, and every proof stays valid.

Law: ``open_preimage(preimage(salt, payload)) == (salt, payload)``.
"""

from __future__ import annotations

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput

SALT_BYTES = 32
DOMAIN = b"gatewright commitment v1\n"


def preimage(salt: bytes, payload: bytes) -> bytes:
    """Bytes whose SHA-256 is the commitment. Raises BadInput unless the salt has 32 bytes."""
    if len(salt) != SALT_BYTES:
        raise BadInput("ledger.salt", f"A salt has {SALT_BYTES} bytes, not {len(salt)}.")
    return b"".join((DOMAIN, salt, payload))


def commit(salt: bytes, payload: bytes) -> Digest:
    """Commitment to ``payload`` under ``salt``."""
    return Digest.of(preimage(salt, payload))


def open_preimage(data: bytes) -> tuple[bytes, bytes]:
    """Split a preimage into salt and payload. Raises BadInput for anything else."""
    start = len(DOMAIN) + SALT_BYTES
    if not data.startswith(DOMAIN) or len(data) < start:
        raise BadInput("ledger.preimage", "The bytes are not the opening of a commitment.")
    return data[len(DOMAIN) : start], data[start:]
