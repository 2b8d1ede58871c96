"""Counting approvals, and the permit that a deployment cannot be built without.

Laws: the order of the approvals does not matter; one approval given twice counts once; approvals
that share a principal *or* a key count as one; an approval about another root counts for nothing,
and says so; whoever waived a rule of a release cannot approve it.

Not here: signatures. An approval that reaches this file was signed by the key it names, over a
statement about its root, and its role was settled by whoever verified it, never by its signer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Refusal
from gatewright.kernel.instants import Instant
from gatewright.policy.verdict import Decision, Verdict
from gatewright.policy.waivers import over
from gatewright.releases.judgements import Role

DENIED = "policy.denied"
WAITING = "policy.waiting-for-approval"
REASONS_SHOWN = 20

_SEAL = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A verified statement: this principal, with this key, approves this root."""

    principal: str
    key_id: str
    role: Role
    root: Digest
    time: Instant

    def __post_init__(self) -> None:
        if self.role not in tuple(Role):
            raise BadInput("policy.role", f"{self.role[:40]!r} is not the role of an approval.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """An approval that does not count, and why."""

    approval: Approval
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The approvals that count, one for each distinct person, and those that do not."""

    counted: tuple[Approval, ...]
    ignored: tuple[Ignored, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Leave to deploy one root. Only :func:`permit` makes one."""

    root: Digest
    verdict: Verdict
    tally: Tally
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise Misuse(
                "policy.permit",
                "A permit cannot be made by hand.",
                next="Ask gatewright.policy.approvals.permit for one.",
            )


def _people(approvals: Sequence[Approval]) -> list[list[Approval]]:
    """Approvals grouped by person: whatever shares a principal or a key is one person."""
    groups: list[list[Approval]] = []
    for approval in approvals:
        same = [
            group
            for group in groups
            if any(one.principal == approval.principal or one.key_id == approval.key_id for one in group)
        ]
        groups = [group for group in groups if group not in same]
        groups.append([*(one for group in same for one in group), approval])
    return groups


def tally(verdict: Verdict, root: Digest, approvals: Sequence[Approval]) -> Tally:
    """Which of the approvals count for this root under this verdict, and why the others do not."""
    distinct = sorted(
        set(approvals), key=lambda one: (one.time, one.principal, one.key_id, one.role, one.root)
    )
    ignored = [
        Ignored(approval=one, reason=f"{one.principal} approved another release ({one.root.short})")
        for one in distinct
        if one.root != root
    ]
    counted: list[Approval] = []
    authors = {waived.principal for waived in verdict.waivers}
    for group in _people([one for one in distinct if one.root == root]):
        if any(one.principal in authors for one in group):
            why = "waived a rule of this release, so somebody else must approve it"
            ignored += [Ignored(approval=one, reason=f"{one.principal} {why}") for one in group]
            continue
        if not verdict.owner_may_approve and any(one.role == Role.OWNER for one in group):
            why = f"the owner cannot approve at tier {verdict.tier}"
            ignored += [Ignored(approval=one, reason=why) for one in group]
            continue
        first = min(group, key=distinct.index)
        counted.append(first)
        ignored += [
            Ignored(approval=one, reason=f"{one.principal} approved with a person or key that counts already")
            for one in group
            if one is not first
        ]
    return Tally(counted=tuple(sorted(counted, key=distinct.index)), ignored=tuple(ignored))


def _denied(verdict: Verdict) -> Refusal:
    found = verdict.objections
    shown = "; ".join(f"{one.rule}, but {one.what}" for one in found[:REASONS_SHOWN])
    more = f"; and {len(found) - REASONS_SHOWN} more" if len(found) > REASONS_SHOWN else ""
    return Refusal(
        code=DENIED,
        what=f"The policy denies this release: {len(found)} of {len(verdict.reasons)} answers do not satisfy it.",
        why=shown + more,
        next="Mend the model or the data and check again; a report cannot be argued with.",
    )


def _waiting(verdict: Verdict, counted: Tally) -> Refusal:
    have, need = len(counted.counted), verdict.approvals_needed
    owner = "" if verdict.owner_may_approve else f"; the owner cannot approve at tier {verdict.tier}"
    missing = need - have
    return Refusal(
        code=WAITING,
        what=f"{have} of {need} approvals{owner}.",
        why="; ".join(dict.fromkeys(one.reason for one in counted.ignored)),
        next=f"Ask {missing} more {'person' if missing == 1 else 'people'} to run 'gatewright approve'.",
    )


def permit(
    verdict: Verdict, root: Digest, approvals: Sequence[Approval], *, now: Instant | None = None
) -> Permit | Refusal:
    """Leave to deploy ``root``, or why not: denied, on a waiver that is over, or still waiting for people.

    Without ``now`` every waiver counts as over.
    """
    if verdict.decision is Decision.DENY:
        return _denied(verdict)
    ended = over(verdict.waivers, now)
    if ended is not None:
        return ended
    counted = tally(verdict, root, approvals)
    if len(counted.counted) < verdict.approvals_needed:
        return _waiting(verdict, counted)
    return Permit(root=root, verdict=verdict, tally=counted, seal=_SEAL)
