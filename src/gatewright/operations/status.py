"""What stands now: endpoints, what waits for people, what was refused, what is not yet recorded."""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.ledger.checkpoints import open_checkpoint
from gatewright.operations.catalogue import Endpoint, Release, every
from gatewright.operations.collect import SEALED, recorded_predictions
from gatewright.operations.home import Home
from gatewright.operations.released import approvals
from gatewright.operations.users import owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A release that waits for approvals or for its deployment."""

    ref: str
    root: str
    have: int
    need: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A home at a glance. ``worker`` is what the serving process last said of itself, or None.

    ``fingerprint`` is that of the public keys: what whoever verifies this home's evidence compares.
    """

    origin: str
    fingerprint: Digest
    owner: str
    records: int
    plan_number: int
    recording: str
    endpoints: tuple[Endpoint, ...]
    waiting: tuple[Waiting, ...]
    refusals: int
    predictions: int
    segments_waiting: int
    worker: JsonObject | None


def status(home: Home) -> Status:
    """Read it."""
    endpoints = tuple(every(home, "endpoints", Endpoint))
    live = {entry.root for entry in endpoints} | {entry.previous_root for entry in endpoints}
    waiting = tuple(
        Waiting(
            ref=found.ref,
            root=found.root.hex,
            have=len(approvals(home, found.root)),
            need=found.approvals_needed,
        )
        for found in every(home, "releases", Release)
        if found.root not in live
    )
    plan = home.archive.get("plan", "now")
    return Status(
        origin=home.origin,
        fingerprint=home.trust.fingerprint(),
        owner=owner(home).name,
        records=open_checkpoint(home.archive.checkpoint(), origin=home.origin, key=home.trust.log).size,
        plan_number=0 if plan is None else int(str(plan["number"])),
        recording="durable",
        endpoints=endpoints,
        waiting=waiting,
        refusals=sum(1 for _ in home.archive.scan("refusals")),
        predictions=recorded_predictions(home),
        segments_waiting=sum(1 for _ in home.segments.glob(f"*{SEALED}")),
        worker=_worker(home),
    )


def _worker(home: Home) -> JsonObject | None:
    place = home.segments / "serve.json"
    try:
        said = canonical.decode_any(place.read_bytes())
    except (FileNotFoundError, BadInput):
        return None
    return said if isinstance(said, dict) else None
