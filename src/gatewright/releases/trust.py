"""``trust.json``: the public keys that a verifier must hold before it looks at any evidence.

It has to reach the verifier by another way than the evidence; its fingerprint is what people
compare. Law: ``TrustRoot.decode(t.encode()) == t``.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.releases.fields import Fields
from gatewright.releases.keys import Algorithm, PublicKey

TRUST_FORMAT = 1
TRUST_BYTES = 65_536
ORIGIN_LENGTH = 256

_CODE = "releases.trust"
_ALGORITHMS = {
    "log": Algorithm.ED25519,
    "release": Algorithm.ECDSA_P256,
    "release-pq": Algorithm.ML_DSA_65,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """The keys of one home.

    ``origin`` is the home's name in its log (C2SP checkpoint origin); ``release`` (P-256) and
    ``release_pq`` (ML-DSA-65) sign releases and decisions, ``log`` (Ed25519) signs checkpoints.
    Raises BadInput for a key of another algorithm than its place asks.
    """

    origin: str
    release: PublicKey
    release_pq: PublicKey
    log: PublicKey
    format: int = TRUST_FORMAT

    def __post_init__(self) -> None:
        if not self.origin or len(self.origin) > ORIGIN_LENGTH:
            raise BadInput(_CODE, f"The origin must have 1 to {ORIGIN_LENGTH} characters.", place="origin")
        keys = {"log": self.log, "release": self.release, "release-pq": self.release_pq}
        for place, key in keys.items():
            if key.algorithm is not _ALGORITHMS[place]:
                raise BadInput(
                    "releases.trust-algorithm",
                    f"The {place} key must be {_ALGORITHMS[place]}, not {key.algorithm}.",
                    place=place,
                )

    @property
    def release_keys(self) -> tuple[PublicKey, PublicKey]:
        """The two keys that sign together: P-256, then ML-DSA-65."""
        return (self.release, self.release_pq)

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical.encode(
            {
                "format": self.format,
                "keys": {
                    "log": self.log.text(),
                    "release": self.release.text(),
                    "release-pq": self.release_pq.text(),
                },
                "origin": self.origin,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> TrustRoot:
        """Read a trust root; raises BadInput for anything that :meth:`encode` would not write."""
        if len(data) > TRUST_BYTES:
            raise BadInput(_CODE, f"The trust root takes {len(data):,} bytes.")
        fields = Fields.read(canonical.decode(data), of="the trust root", code=_CODE)
        fields.exactly("format", "keys", "origin").constant("format", TRUST_FORMAT)
        keys = fields.object("keys").exactly(*_ALGORITHMS)
        return cls(
            origin=fields.text("origin", most=ORIGIN_LENGTH),
            release=PublicKey.from_text(keys.text("release")),
            release_pq=PublicKey.from_text(keys.text("release-pq")),
            log=PublicKey.from_text(keys.text("log")),
        )

    def fingerprint(self) -> Digest:
        """Digest of the encoded trust root: what people compare by another channel."""
        return Digest.of(self.encode())
