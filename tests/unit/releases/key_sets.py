"""Whole key sets in memory, and trust roots of them, for the tests about rotation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric import mldsa

from gatewright.adapters.log_signing import HeadSigning
from gatewright.kernel.instants import Instant
from gatewright.releases.trust import Era, TrustRoot
from unit.releases.workshop import NOW, MemorySigner, ed, ml_dsa, p256

DAY = 86_400 * 10**9
ORIGIN = "gatewright/test"


def ml_dsa_44() -> MemorySigner:
    """A new ML-DSA-44 signer."""
    return MemorySigner(mldsa.MLDSA44PrivateKey.generate())


@dataclass(frozen=True, kw_only=True)
class KeySet:
    """The signers of one version."""

    root: MemorySigner = field(default_factory=p256)
    root_pq: MemorySigner = field(default_factory=ml_dsa)
    release: MemorySigner = field(default_factory=p256)
    release_pq: MemorySigner = field(default_factory=ml_dsa)
    log: MemorySigner = field(default_factory=ed)
    log_pq: MemorySigner = field(default_factory=ml_dsa_44)

    @property
    def roots(self) -> tuple[MemorySigner, MemorySigner]:
        """Both root signers."""
        return (self.root, self.root_pq)

    @property
    def releases(self) -> tuple[MemorySigner, MemorySigner]:
        """Both release signers."""
        return (self.release, self.release_pq)

    def trust(self, version: int = 1, *, past: tuple[Era, ...] = (), origin: str = ORIGIN) -> TrustRoot:
        """Their trust root."""
        return TrustRoot(
            origin=origin,
            release=self.release.public,
            release_pq=self.release_pq.public,
            log=self.log.public,
            log_pq=self.log_pq.public,
            root=self.root.public,
            root_pq=self.root_pq.public,
            version=version,
            made=Instant(NOW.ns + version * DAY),
            expires=Instant(NOW.ns + (version + 730) * DAY),
            past=past,
        )

    def era(self, *revoked: str, until: Instant = NOW, records: int = 3, origin: str = ORIGIN) -> Era:
        """The same keys as those of a past."""
        return Era(
            origin=origin,
            release=self.release.public,
            release_pq=self.release_pq.public,
            log=self.log.public,
            log_pq=self.log_pq.public,
            until=until,
            records=records,
            revoked=tuple(sorted(revoked)),
        )

    def head(self, size: int = 3, *, origin: str = ORIGIN) -> bytes:
        """A signed head of their log."""
        return HeadSigning(origin=origin, signer=self.log, signer_pq=self.log_pq).note(size, bytes(32), NOW)

    def with_new(self, *parts: str) -> KeySet:
        """The set with other keys in these parts: ``root``, ``release``, ``log``."""
        fresh = KeySet()
        names = [name for part in parts for name in (part, f"{part}_pq")]
        return replace(self, **{name: getattr(fresh, name) for name in names})
