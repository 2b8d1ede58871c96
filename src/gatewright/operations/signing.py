"""Signing claims with the home's keys."""

from __future__ import annotations

from collections.abc import Sequence

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse
from gatewright.operations.home import Home
from gatewright.ports import Signer
from gatewright.releases.statement import Claim, sealed_claim


def may_sign(home: Home) -> bool:
    """Whether what the release keys sign now counts: they have not expired."""
    return home.trust.expires is None or home.now() < home.trust.expires


def release_signers(home: Home) -> tuple[Signer, Signer]:
    """Both release keys: classical and post-quantum. Raises Misuse where they expired."""
    if not may_sign(home):
        raise Misuse(
            "operations.keys-expired",
            f"The keys of this home expired on {str(home.trust.expires)[:10]}.",
            why="What they sign now counts for nobody.",
            next="Put new ones in force: gatewright key rotate release",
        )
    return home.keys.release, home.keys.release_pq


def vouched(home: Home, digest: Digest) -> Digest:
    """The statement itself or, where the keys that signed it were revoked, the same one signed again."""
    while (document := home.archive.get("vouched", digest.hex)) is not None:
        digest = Digest(str(document["statement"]))
    return digest


def seal(home: Home, claim: Claim, signers: Sequence[Signer] = ()) -> bytes:
    """A claim signed with both release keys (or the signers given), as the bytes of its envelope."""
    return sealed_claim(claim, signers or release_signers(home)).encode()
