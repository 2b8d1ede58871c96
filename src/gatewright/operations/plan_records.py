"""The records that made plans: the one in force at a place of the log, and the one with a number.

Plan numbers rise with the records, so each is found by halving, in a few look-ups of an index.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.deployments.plan import TrafficPlan, read_past_plan
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Tampered
from gatewright.ledger.records import Record
from gatewright.operations.home import Home

ENDPOINT_KINDS = (
    "endpoint.deployed",
    "endpoint.joined",
    "endpoint.left",
    "endpoint.rolled-back",
    "endpoint.limited",
    "endpoint.stopped",
    "endpoint.resumed",
    "endpoint.withdrawn",
    "endpoint.revoked",
)
"""The kinds of records that change an endpoint."""
PLAN_KINDS = (*ENDPOINT_KINDS, "key.issued", "key.limited", "key.revoked", "plan.renewed")
"""The kinds of records that make a plan; a key that came with a deployment leaves that to the other record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A plan that both release keys signed, and the record that made it."""

    plan: TrafficPlan
    digest: Digest
    record: Record


def in_force(home: Home, below: int) -> InForce | None:
    """The newest plan that a record below a number made; None before the first."""
    record = newest_plan(home, below)
    return None if record is None else opened(home, record)


def opened(home: Home, record: Record) -> InForce:
    """The plan that a record names, its signatures verified; Tampered where it is another one."""
    digest = Digest(str(record.draft.body["plan"]))
    plan = read_past_plan(home.blobs.get(digest), home.trust)
    if plan.number != number_in(record):
        raise Tampered(
            "operations.plan-number",
            f"The record names plan {number_in(record)}; the plan it names says that it is {plan.number}.",
            next="Verify the ledger: gatewright verify",
            place=f"record {record.seq}",
        )
    return InForce(plan=plan, digest=digest, record=record)


def newest_plan(home: Home, below: int) -> Record | None:
    """The newest record below a number that made a plan."""
    while found := home.archive.newest(PLAN_KINDS, below=below):
        if found[0].draft.body.get("plan"):
            return found[0]
        below = found[0].seq
    return None


def numbered(home: Home, number: int, below: int) -> Record | None:
    """The record below a number of records that made plan ``number``, or None."""
    low, high, middle = 0, below, below - 1  # it is most often the newest
    while low < high:
        found = newest_plan(home, middle + 1)
        if found is not None and number_in(found) == number:
            return found
        if found is None or number_in(found) < number:
            low = middle + 1
        else:
            high = found.seq
        middle = (low + high) // 2
    return None


def number_in(record: Record) -> int:
    """The number of the plan that a record made."""
    return int(str(record.draft.body["plan_number"]))
