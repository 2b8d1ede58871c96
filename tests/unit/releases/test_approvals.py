"""Approvals beside a release: distinct keys are counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Tampered
from gatewright.kernel.instants import Instant
from gatewright.releases.approvals import SignedApproval, signed_approvals
from gatewright.releases.judgements import Role
from gatewright.releases.statement import Approval
from unit.releases.workshop import NOW, STRANGER, p256, sealed_bytes

ROOT, VERDICT = Digest.of(b"root"), Digest.of(b"verdict")
ADA, BEN = p256(), p256()
PEOPLE = (ADA.public, BEN.public)
BY_ADA = Approval(root=ROOT, principal="ada", role=Role.APPROVER, verdict=VERDICT, time=NOW)
BY_BEN = replace(BY_ADA, principal="ben")


def counted(*statements: bytes) -> tuple[SignedApproval, ...]:
    """The approvals that count among the statements."""
    return signed_approvals(statements, root=ROOT, verdict=VERDICT, people=PEOPLE)


def test_each_key_counts_once() -> None:
    """Two approvals by two keys are two, whatever their order; a repeated one is not a third."""
    ada, ben = sealed_bytes(BY_ADA, ADA), sealed_bytes(BY_BEN, BEN)
    assert {ADA.public.id, BEN.public.id} == {one.key_id for one in counted(ada, ben, ada)}
    assert counted(ada, ben) == counted(ben, ada)


def test_reference_names_envelope_and_key() -> None:
    """A decision can refer to the approval by the digest of its envelope and the key's id."""
    data = sealed_bytes(BY_ADA, ADA)
    (found,) = counted(data)
    assert (Digest.of(data), ADA.public.id) == (found.reference.envelope, found.reference.key_id)


def test_latest_of_one_key_counts() -> None:
    """Of several approvals by one key the latest counts."""
    later = replace(BY_ADA, time=Instant(NOW.ns + 1))
    (found,) = counted(sealed_bytes(later, ADA), sealed_bytes(BY_ADA, ADA))
    assert later == found.approval


def test_stranger_and_other_verdict_do_not_count() -> None:
    """An approval by an unknown key, or of another verdict, does not count."""
    other = replace(BY_ADA, verdict=Digest.of(b"other"))
    assert () == counted(sealed_bytes(BY_ADA, STRANGER), sealed_bytes(other, ADA))


def test_approval_of_another_root_is_tampering() -> None:
    """An approval of another release beside this one is tampering, not something to skip."""
    moved = replace(BY_ADA, root=Digest.of(b"other"))
    with pytest.raises(Tampered, match="not about this release"):
        counted(sealed_bytes(moved, ADA))
