"""Signing claims with the home's keys."""

from __future__ import annotations

from collections.abc import Sequence

from gatewright.operations.home import Home
from gatewright.ports import Signer
from gatewright.releases.statement import Claim, sealed_claim


def release_signers(home: Home) -> tuple[Signer, Signer]:
    """Both release keys: classical and post-quantum."""
    return home.keys.release, home.keys.release_pq


def seal(home: Home, claim: Claim, signers: Sequence[Signer] = ()) -> bytes:
    """A claim signed with both release keys (or the signers given), as the bytes of its envelope."""
    return sealed_claim(claim, signers or release_signers(home)).encode()
