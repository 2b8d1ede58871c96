"""Certificates of worker keys."""

from __future__ import annotations

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Tampered
from gatewright.releases.statement import Countersignature, WorkerKey
from gatewright.releases.worker_keys import certify, verify_worker_key
from unit.releases.workshop import (
    NOW,
    RELEASE_KEY,
    RELEASE_PQ_KEY,
    SIGNERS,
    STRANGER,
    STRANGER_PQ,
    TRUST,
    MemorySigner,
    ed,
    sealed_bytes,
)

WORKER = WorkerKey(public=ed().public, valid_from=NOW, origin=TRUST.origin)


def test_certified_key_is_returned() -> None:
    """A worker key that both release keys vouch for is returned."""
    assert WORKER == verify_worker_key(certify(WORKER, SIGNERS), TRUST)


@pytest.mark.parametrize("signers", [(RELEASE_KEY,), (RELEASE_PQ_KEY,), (STRANGER, STRANGER_PQ)])
def test_both_release_keys_are_required(signers: tuple[MemorySigner, ...]) -> None:
    """One release key alone certifies no worker."""
    with pytest.raises(Tampered, match="carries no signature by"):
        verify_worker_key(certify(WORKER, signers), TRUST)


def test_other_statement_is_no_certificate() -> None:
    """A countersignature by both keys does not certify a worker."""
    with pytest.raises(Tampered, match="not the certificate"):
        verify_worker_key(sealed_bytes(Countersignature(root=Digest.of(b"x"))), TRUST)


def test_worker_of_another_home_is_refused() -> None:
    """A certificate is bound to the home it was made for."""
    other = WorkerKey(public=WORKER.public, valid_from=NOW, origin="gatewright/other")
    with pytest.raises(Tampered, match="belongs to the home"):
        verify_worker_key(certify(other, SIGNERS), TRUST)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\x00"])
def test_unreadable_certificate_is_tampering(data: bytes) -> None:
    """A certificate that cannot be read does not hold."""
    with pytest.raises(Tampered):
        verify_worker_key(data, TRUST)
