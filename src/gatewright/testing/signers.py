"""Signers for tests: keys from a seed, the same ones every time. Never for evidence."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatewright.releases.keys import PublicKey


class SeedSigner:
    """Ed25519. Implements :class:`gatewright.ports.Signer`; equal seeds give equal keys and signatures."""

    _private: Ed25519PrivateKey | MLDSA44PrivateKey

    def __init__(self, seed: str) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(sha256(seed.encode()).digest())

    @property
    def public(self) -> PublicKey:
        """The public half."""
        der = self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return PublicKey.from_der(der)

    def sign(self, message: bytes) -> bytes:
        """Signature over the message."""
        return self._private.sign(message)


class QuantumSafeSeedSigner(SeedSigner):
    """ML-DSA-44 instead; equal seeds give equal keys, and signatures are randomised."""

    def __init__(self, seed: str) -> None:
        self._private = MLDSA44PrivateKey.from_seed_bytes(sha256(seed.encode()).digest())
