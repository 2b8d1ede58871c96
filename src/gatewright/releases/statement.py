"""The claims that this product makes about a root, each as an in-toto statement.

A **claim** is a typed value (:class:`Countersignature`, :class:`Approval`,
:class:`DeploymentDecision`, :class:`WorkerKey`, those of ``judgements.py``, ``summaries.py`` and ``bom_claim.py``);
a **statement** is its in-toto form (``in_toto.py``); an envelope carries the statement's bytes with
signatures.

Law: ``decode_claim(encode_claim(c)) == c``. Unknown predicate types and unknown fields are refused:
a statement that is not understood might be a revocation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.kernel.instants import Instant
from gatewright.releases import bom_claim, judgements, summaries
from gatewright.releases.bom_claim import BillOfMaterials, bill_statement
from gatewright.releases.envelope import IN_TOTO_PAYLOAD, Envelope, SigningKey, sealed
from gatewright.releases.fields import Fields
from gatewright.releases.in_toto import (
    CODE,
    ID_LENGTH,
    ORIGIN_LENGTH,
    RELEASE_SUBJECT,
    Statement,
    about,
    principal,
)
from gatewright.releases.judgements import (
    Revocation,
    Role,
    Waiver,
    revocation_statement,
    role,
    waiver_statement,
)
from gatewright.releases.keys import Algorithm, PublicKey
from gatewright.releases.summaries import VerificationSummary, summary_statement

COUNTERSIGNATURE = "urn:gatewright:countersignature:v1"
APPROVAL = "urn:gatewright:approval:v1"
DEPLOYMENT_DECISION = "urn:gatewright:deployment-decision:v1"
WORKER_KEY_1 = "urn:gatewright:worker-key:v1"
WORKER_KEY = "urn:gatewright:worker-key:v2"

WORKER_KEY_SUBJECT = "worker-key"
ALLOW = "allow"

APPROVALS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Countersignature:
    """The release exists: ``root`` is meant, as signed a second time by another algorithm."""

    root: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A principal approves ``root``, having been shown the verdict with that digest.

    ``comment`` is the salted commitment to what they wrote, where they wrote something.
    """

    root: Digest
    principal: str
    role: Role
    verdict: Digest
    time: Instant
    comment: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ApprovalReference:
    """An approval on which a decision rests: the digest of its envelope and the key that counted."""

    envelope: Digest
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentDecision:
    """``root`` may answer at ``endpoint`` from traffic plan number ``plan`` on."""

    root: Digest
    endpoint: str
    verdict: Digest
    approvals: tuple[ApprovalReference, ...]
    plan: int
    time: Instant
    decision: str = ALLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKey:
    """``public`` signs batches of prediction records for the home ``origin`` from ``valid_from`` on.

    It does so until ``valid_until``, which certificates of version 1 do not state.
    """

    public: PublicKey
    valid_from: Instant
    origin: str
    valid_until: Instant | None = None


Claim: TypeAlias = (
    Countersignature
    | Approval
    | DeploymentDecision
    | WorkerKey
    | Revocation
    | Waiver
    | VerificationSummary
    | BillOfMaterials
)


def to_statement(claim: Claim) -> Statement:
    """The in-toto form of a claim."""
    match claim:
        case Countersignature():
            return about(claim.root, COUNTERSIGNATURE, {})
        case Approval():
            return about(
                claim.root,
                APPROVAL,
                {
                    "comment": claim.comment.hex if claim.comment else "",
                    "principal": claim.principal,
                    "role": claim.role.value,
                    "time": str(claim.time),
                    "verdict": claim.verdict.hex,
                },
            )
        case DeploymentDecision():
            return about(
                claim.root,
                DEPLOYMENT_DECISION,
                {
                    "approvals": [
                        {"envelope": one.envelope.hex, "key": one.key_id} for one in claim.approvals
                    ],
                    "decision": claim.decision,
                    "endpoint": claim.endpoint,
                    "plan": claim.plan,
                    "time": str(claim.time),
                    "verdict": claim.verdict.hex,
                },
            )
        case WorkerKey():
            until = {} if claim.valid_until is None else {"valid-until": str(claim.valid_until)}
            return Statement(
                predicate_type=WORKER_KEY if until else WORKER_KEY_1,
                subjects={WORKER_KEY_SUBJECT: Digest.of(claim.public.der)},
                predicate={
                    "key": claim.public.text(),
                    "origin": claim.origin,
                    "valid-from": str(claim.valid_from),
                    **until,
                },
            )
        case BillOfMaterials():
            return bill_statement(claim)
        case Revocation():
            return revocation_statement(claim)
        case Waiver():
            return waiver_statement(claim)
        case VerificationSummary():
            return summary_statement(claim)


def _countersignature(statement: Statement, fields: Fields) -> Countersignature:
    fields.exactly()
    return Countersignature(root=statement.subject(RELEASE_SUBJECT))


def _approval(statement: Statement, fields: Fields) -> Approval:
    fields.exactly("comment", "principal", "role", "time", "verdict")
    return Approval(
        root=statement.subject(RELEASE_SUBJECT),
        principal=principal(fields),
        role=role(fields),
        verdict=fields.digest("verdict"),
        time=fields.instant("time"),
        comment=fields.digest_or_none("comment"),
    )


def _deployment_decision(statement: Statement, fields: Fields) -> DeploymentDecision:
    fields.exactly("approvals", "decision", "endpoint", "plan", "time", "verdict")
    fields.constant("decision", ALLOW)
    return DeploymentDecision(
        root=statement.subject(RELEASE_SUBJECT),
        endpoint=fields.name("endpoint"),
        verdict=fields.digest("verdict"),
        approvals=tuple(
            ApprovalReference(
                envelope=one.exactly("envelope", "key").digest("envelope"),
                key_id=one.text("key", most=ID_LENGTH),
            )
            for one in fields.objects("approvals", least=0, most=APPROVALS)
        ),
        plan=fields.whole("plan"),
        time=fields.instant("time"),
        decision=ALLOW,
    )


def _worker_key_1(statement: Statement, fields: Fields) -> WorkerKey:
    """Version 1, frozen."""
    return _certified(statement, fields.exactly("key", "origin", "valid-from"))


def _worker_key(statement: Statement, fields: Fields) -> WorkerKey:
    worker = _certified(statement, fields.exactly("key", "origin", "valid-from", "valid-until"))
    until = fields.instant("valid-until")
    if until <= worker.valid_from:
        raise fields.refuse("valid-until", "a time after valid-from")
    return replace(worker, valid_until=until)


def _certified(statement: Statement, fields: Fields) -> WorkerKey:
    public = PublicKey.from_text(fields.text("key"))
    if public.algorithm is not Algorithm.ED25519:
        raise fields.refuse("key", "an Ed25519 public key")
    if statement.subject(WORKER_KEY_SUBJECT) != Digest.of(public.der):
        raise BadInput(CODE, "The statement's subject is not the worker key that it names.", place="subject")
    return WorkerKey(
        public=public,
        valid_from=fields.instant("valid-from"),
        origin=fields.text("origin", most=ORIGIN_LENGTH),
    )


_READERS: Mapping[str, Callable[[Statement, Fields], Claim]] = {
    COUNTERSIGNATURE: _countersignature,
    APPROVAL: _approval,
    DEPLOYMENT_DECISION: _deployment_decision,
    WORKER_KEY: _worker_key,
    WORKER_KEY_1: _worker_key_1,
    **judgements.READERS,
    **summaries.READERS,
    **bom_claim.READERS,
}
"""Every predicate type that is understood. A new one is entered here, and in :data:`Claim`."""


def to_claim(statement: Statement) -> Claim:
    """The claim of a statement; raises BadInput for unknown predicate types and fields."""
    reader = _READERS.get(statement.predicate_type)
    if reader is None:
        raise BadInput(
            "releases.predicate-type",
            f"The statement's predicate type {statement.predicate_type[:120]!r} is not known here.",
            why="What is not understood cannot be passed over: it may revoke what other statements allow.",
            next="Verify with the version of gatewright that wrote it.",
            place="predicateType",
        )
    return reader(statement, Fields.read(statement.predicate, of="the predicate", code=CODE))


def encode_claim(claim: Claim) -> bytes:
    """The payload bytes that are to be signed for a claim."""
    return to_statement(claim).encode()


def decode_claim(payload: bytes) -> Claim:
    """Read payload bytes; raises BadInput for anything that :func:`encode_claim` would not write."""
    claim = to_claim(Statement.decode(payload))
    if encode_claim(claim) != payload:
        raise BadInput(CODE, "The statement is not in the form that its predicate type prescribes.")
    return claim


def sealed_claim(claim: Claim, signers: Sequence[SigningKey]) -> Envelope:
    """Sign a claim with every signer."""
    return sealed(IN_TOTO_PAYLOAD, encode_claim(claim), signers)


def open_claim(envelope: Envelope) -> Claim:
    """The claim inside an envelope, whoever signed it; raises BadInput for another payload type."""
    if envelope.payload_type != IN_TOTO_PAYLOAD:
        raise BadInput(
            "releases.payload-type",
            f"The envelope says it holds {envelope.payload_type[:80]!r}, not an in-toto statement.",
            place="payloadType",
        )
    return decode_claim(envelope.payload)
