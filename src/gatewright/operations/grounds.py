"""On which grounds a release answers: its record, what was judged, who approved, and who deployed it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Tampered
from gatewright.ledger.records import Record
from gatewright.operations.catalogue import ApprovalEntry, Release, read
from gatewright.operations.home import Home
from gatewright.operations.plan_records import number_in, numbered
from gatewright.operations.users import named
from gatewright.releases.envelope import Envelope
from gatewright.releases.manifest import POLICY, REPORT
from gatewright.releases.statement import DeploymentDecision, open_claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A record: its number, time and kind, and whose act it was."""

    record: int
    time: str
    kind: str
    by: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """An approval on which a decision rests; ``statement`` is its signed envelope."""

    record: int
    time: str
    by: str
    principal: str
    role: str
    statement: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What a release rests on at an endpoint.

    ``record`` and ``time`` are those of the release; ``deployed`` is the record of the plan from which on
    the signed decision lets it answer; ``revoked`` is when it was taken back for ever, later on, or empty.
    """

    record: int
    time: str
    tier: str
    report: Digest
    verdict: Digest
    policy: Digest
    decision: Digest
    deployed: Noted
    approvals: tuple[Approved, ...]
    revoked: str = ""


@dataclass(frozen=True, slots=True)
class Who:
    """The names of people, each looked up once."""

    home: Home
    known: dict[str, str] = field(default_factory=dict)

    def named(self, principal: str) -> str:
        """The name of a principal, or its id where it has none."""
        if principal not in self.known:
            self.known[principal] = named(self.home, principal)
        return self.known[principal]

    def noted(self, record: Record) -> Noted:
        """What is told of a record."""
        draft = record.draft
        return Noted(
            record=record.seq,
            time=str(record.time),
            kind=draft.kind,
            by=self.named(draft.actor),
            actor=draft.actor,
        )


def grounds(
    who: Who, root: Digest, decision: Digest, endpoint: str, below: int, *, likely: Record | None = None
) -> Grounds:
    """The grounds of a release at an endpoint, from the decision that a record names.

    ``likely`` is the record that began its place, which most often made the plan of the decision. Raises Tampered where the decision is about something else, or what it rests on is not recorded.
    """
    home = who.home
    claim = open_claim(Envelope.decode(home.blobs.get(decision)))
    document = home.archive.get("releases", root.hex)
    right = isinstance(claim, DeploymentDecision) and (claim.root, claim.endpoint) == (root, endpoint)
    if document is None or not isinstance(claim, DeploymentDecision) or not right:
        raise _missing(f"The decision about {root.short} at {endpoint}", "is not about that release")
    found_already = likely is not None and number_in(likely) == claim.plan
    made = likely if found_already else numbered(home, claim.plan, below)
    if made is None:
        raise _missing(f"The record of plan {claim.plan}", "is not in the ledger")
    found = read(Release, document)
    return Grounds(
        record=int(str(document["seq"])),
        time=str(document["time"]),
        tier=found.tier,
        report=found.resources[REPORT],
        verdict=found.verdict,
        policy=found.resources[POLICY],
        decision=decision,
        deployed=who.noted(made),
        approvals=_approved(claim, who),
        revoked=str((home.archive.get("revocations", root.hex) or {}).get("time", "")),
    )


def _approved(claim: DeploymentDecision, who: Who) -> tuple[Approved, ...]:
    """The approvals that the decision names, each with the record that holds it."""
    recorded = {
        str(document["statement"]): document
        for _, document in who.home.archive.scan("approvals", f"{claim.root.hex}/")
    }
    for one in claim.approvals:
        if one.envelope.hex not in recorded:
            raise _missing(f"The approval {one.envelope.short}", "is not in the ledger")
    return tuple(_approval(recorded[one.envelope.hex], who) for one in claim.approvals)


def _approval(document: JsonObject, who: Who) -> Approved:
    entry = read(ApprovalEntry, document)
    return Approved(
        record=int(str(document["seq"])),
        time=str(document["time"]),
        by=who.named(entry.principal),
        principal=entry.principal,
        role=entry.role,
        statement=entry.statement,
    )


def _missing(what: str, how: str) -> Tampered:
    return Tampered(
        "operations.no-grounds",
        f"{what} {how}, though a record says that the release may answer.",
        next="Verify the ledger: gatewright verify",
    )
