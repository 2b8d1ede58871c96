"""SHA-256 digests as a type, so that a digest is never confused with any other text."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from gatewright.kernel.errors import BadInput

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest, held as 64 lower-case hexadecimal characters.

    Law: ``Digest.parse(str(d)) == d``.
    """

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise BadInput(
                "kernel.digest",
                f"{self.hex[:80]!r} is not a SHA-256 digest.",
                next="Give 64 lower-case hexadecimal characters, with or without 'sha256:'.",
            )

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Digest:
        """Digest of the given bytes."""
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def from_raw(cls, raw: bytes) -> Digest:
        """Digest from its 32 raw bytes."""
        return cls(raw.hex())

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``sha256:<hex>`` or ``<hex>``."""
        return cls(text.removeprefix("sha256:"))

    @property
    def raw(self) -> bytes:
        """The 32 raw bytes."""
        return bytes.fromhex(self.hex)

    @property
    def short(self) -> str:
        """The first twelve hexadecimal characters, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
