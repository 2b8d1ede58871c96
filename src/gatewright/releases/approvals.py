"""Approvals that stand beside a release: which persons' keys signed what.

Not here: how many approvals are enough, and whose. The policy decides that from these values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatewright.kernel.digests import Digest
from gatewright.releases.keys import PublicKey
from gatewright.releases.statement import Approval, ApprovalReference
from gatewright.releases.verification import read_statements


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedApproval:
    """An approval with the key whose signature over it holds."""

    approval: Approval
    key_id: str
    envelope: Digest

    @property
    def reference(self) -> ApprovalReference:
        """How a deployment decision refers to it."""
        return ApprovalReference(envelope=self.envelope, key_id=self.key_id)


def signed_approvals(
    statements: Sequence[bytes], *, root: Digest, verdict: Digest, people: Sequence[PublicKey]
) -> tuple[SignedApproval, ...]:
    """Approvals of this root and verdict, at most one for each of the people's keys, by key id.

    An approval by a key that is not among ``people``, or of another verdict, does not count; a
    statement that does not hold raises Tampered. Of several by one key the latest in time counts.
    The caller, who knows whose key is whose, must still compare the key with the named principal.
    """
    found: dict[str, SignedApproval] = {}
    for one in read_statements(statements, root=root, keys=people):
        claim = one.claim
        if not isinstance(claim, Approval) or claim.verdict != verdict:
            continue
        for key in one.signed_by:
            earlier = found.get(key.id)
            if earlier is None or earlier.approval.time < claim.time:
                found[key.id] = SignedApproval(approval=claim, key_id=key.id, envelope=one.envelope.digest)
    return tuple(found[key_id] for key_id in sorted(found))
