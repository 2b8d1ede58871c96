"""What people say of a release later on: that a rule is waived for it, and that it is revoked.

A :class:`Waiver` is signed by the key of the person who gives it and by both release keys, so that
whoever has only the trust root can verify it. A :class:`Revocation` is signed by both release keys;
one of them is enough to stop a release, because doubt never passes.

Laws: those of ``statement.py``, which lists the predicate types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.releases.fields import Fields
from gatewright.releases.in_toto import RELEASE_SUBJECT, Statement, about, principal

REVOCATION = "urn:gatewright:revocation:v1"
WAIVER = "urn:gatewright:waiver:v1"

RULE_LENGTH = 4_096
"""Most characters of the sentence of a rule."""


class Role(StrEnum):
    """In which capacity a principal approves or waives."""

    OWNER = "owner"
    APPROVER = "approver"


class RevocationReason(StrEnum):
    """Why a release is revoked, in one word that machines may act on."""

    UNSPECIFIED = "unspecified"
    WRONG = "wrong"
    UNFAIR = "unfair"
    UNSAFE = "unsafe"
    DATA = "data"
    RIGHTS = "rights"
    COMPROMISED = "compromised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """``root`` must not answer any more, from ``time`` on and for ever.

    ``words`` is the salted commitment to what the owner wrote.
    """

    root: Digest
    reason: RevocationReason
    words: Digest
    time: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A principal waives one rule of the policy for ``root`` until a moment.

    ``rule`` is the rule's sentence, as the verdict in the root has it; ``words`` is the salted
    commitment to the grounds.
    """

    root: Digest
    rule: str
    principal: str
    role: Role
    words: Digest
    until: Instant
    time: Instant


def revocation_statement(claim: Revocation) -> Statement:
    """The in-toto form of a revocation."""
    return about(
        claim.root,
        REVOCATION,
        {"reason": claim.reason.value, "time": str(claim.time), "words": claim.words.hex},
    )


def waiver_statement(claim: Waiver) -> Statement:
    """The in-toto form of a waiver."""
    return about(
        claim.root,
        WAIVER,
        {
            "principal": claim.principal,
            "role": claim.role.value,
            "rule": claim.rule,
            "time": str(claim.time),
            "until": str(claim.until),
            "words": claim.words.hex,
        },
    )


def _revocation(statement: Statement, fields: Fields) -> Revocation:
    fields.exactly("reason", "time", "words")
    reason = fields.text("reason")
    if reason not in set(RevocationReason):
        raise fields.refuse("reason", f"one of {', '.join(RevocationReason)}")
    return Revocation(
        root=statement.subject(RELEASE_SUBJECT),
        reason=RevocationReason(reason),
        words=fields.digest("words"),
        time=fields.instant("time"),
    )


def role(fields: Fields) -> Role:
    """The capacity that a predicate names; raises BadInput for another one."""
    found = fields.text("role")
    if found not in set(Role):
        raise fields.refuse("role", "'owner' or 'approver'")
    return Role(found)


def _waiver(statement: Statement, fields: Fields) -> Waiver:
    fields.exactly("principal", "role", "rule", "time", "until", "words")
    rule = fields.text("rule", most=RULE_LENGTH)
    if not rule:
        raise fields.refuse("rule", "the sentence of a rule")
    return Waiver(
        root=statement.subject(RELEASE_SUBJECT),
        rule=rule,
        principal=principal(fields),
        role=role(fields),
        words=fields.digest("words"),
        until=fields.instant("until"),
        time=fields.instant("time"),
    )


READERS: Mapping[str, Callable[[Statement, Fields], Revocation | Waiver]] = {
    REVOCATION: _revocation,
    WAIVER: _waiver,
}
"""What reads each predicate type of this file."""
