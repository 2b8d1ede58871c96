"""Public keys as values, and the one function that checks a signature.

Algorithms: ``ecdsa-p256`` (ECDSA, P-256, SHA-256, DER signatures), ``ed25519`` (RFC 8032),
``ml-dsa-44`` and ``ml-dsa-65`` (FIPS 204). A key's id is the first 32 hexadecimal characters of the SHA-256 of its
SubjectPublicKeyInfo, DER-encoded.

Not here: private keys. They live behind the ``Signer`` port.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput

_Loaded: TypeAlias = (
    ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey
)


class Algorithm(StrEnum):
    """Signature algorithms in use."""

    ECDSA_P256 = "ecdsa-p256"
    ED25519 = "ed25519"
    ML_DSA_44 = "ml-dsa-44"
    ML_DSA_65 = "ml-dsa-65"


def _algorithm(key: object) -> Algorithm | None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return Algorithm.ECDSA_P256 if isinstance(key.curve, ec.SECP256R1) else None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Algorithm.ED25519
    if isinstance(key, mldsa.MLDSA44PublicKey):
        return Algorithm.ML_DSA_44
    return Algorithm.ML_DSA_65 if isinstance(key, mldsa.MLDSA65PublicKey) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A public key: its algorithm and its SubjectPublicKeyInfo in DER."""

    algorithm: Algorithm
    der: bytes

    @classmethod
    def from_der(cls, der: bytes) -> PublicKey:
        """Read a DER SubjectPublicKeyInfo; raises BadInput for anything but these algorithms."""
        try:
            algorithm = _algorithm(serialization.load_der_public_key(der))
        except (ValueError, UnsupportedAlgorithm):
            algorithm = None
        if algorithm is None:
            raise BadInput(
                "releases.public-key", "This is not a P-256, Ed25519, ML-DSA-44 or ML-DSA-65 public key."
            )
        key = cls(algorithm=algorithm, der=der)
        if key._spki() != der:
            raise BadInput(
                "releases.public-key",
                "The public key is not in its one DER form (uncompressed point, named curve).",
                why="A key with two forms would have two ids and count as two keys.",
            )
        return key

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Read the base64 form that :meth:`text` writes."""
        try:
            key = cls.from_der(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            raise BadInput("releases.public-key", "The public key is not base64.") from None
        if key.text() != text:
            raise BadInput("releases.public-key", "The public key is not in standard base64.")
        return key

    @property
    def id(self) -> str:
        """Key id: 32 hexadecimal characters."""
        return Digest.of(self.der).hex[:32]

    def text(self) -> str:
        """Base64 of the DER form."""
        return base64.b64encode(self.der).decode()

    def pem(self) -> bytes:
        """PEM SubjectPublicKeyInfo."""
        return self._load().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def raw(self) -> bytes:
        """Raw bytes of an Ed25519 or ML-DSA key."""
        return self._load().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def _spki(self) -> bytes:
        return self._load().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def _load(self) -> _Loaded:
        key = serialization.load_der_public_key(self.der)
        assert isinstance(key, _Loaded)  # noqa: S101 - from_der let in nothing else
        return key

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` over ``message`` was made by this key's private half."""
        key = self._load()
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            else:
                key.verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True
