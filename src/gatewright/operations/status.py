"""What stands now: endpoints, what waits for people, what was refused, what is not yet recorded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gatewright.deployments.deployment import DAY
from gatewright.deployments.plan import Recording, TrafficPlan
from gatewright.kernel import canonical
from gatewright.kernel.canonical import Json, JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import open_checkpoint
from gatewright.operations.catalogue import ApiKeyEntry, Endpoint, Release, every, every_live
from gatewright.operations.collect import recorded_predictions
from gatewright.operations.home import Home
from gatewright.operations.keys import keys
from gatewright.operations.plans import current_plan
from gatewright.operations.released import approvals
from gatewright.operations.users import owner
from gatewright.operations.waiting import WORKER_FOLDER, collector_runs, longest_wait, sealed

WARN_DAYS = 14
"""An expiry that is nearer than this is worth a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A release that waits for approvals or for its deployment."""

    ref: str
    root: str
    have: int
    need: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A home at a glance.

    ``workers`` is what each serving process last said of itself, and ``worker`` that of the first, or None.
    One whose process is gone, though it said no farewell, is ``down`` and does not serve; one whose
    parent is gone is an ``orphan``: when it ends nothing replaces it. ``collecting`` says whether a
    collector runs beside them, ``longest_wait`` how many seconds the first sealed segment has waited.
    ``fingerprint`` is that of the public keys: what whoever verifies this home's evidence compares.
    ``plan_expires`` is when the plan in force does, empty where it never does; ``warning`` says so when
    that is soon. ``recording`` is ``asynchronous`` as soon as one endpoint records so. ``limited`` are the
    API keys that have bounds or are not shown all.
    """

    origin: str
    fingerprint: Digest
    owner: str
    records: int
    plan_number: int
    plan_expires: str
    warning: str
    recording: str
    endpoints: tuple[Endpoint, ...]
    limited: tuple[ApiKeyEntry, ...]
    waiting: tuple[Waiting, ...]
    refusals: int
    predictions: int
    segments_waiting: int
    longest_wait: float
    collecting: bool
    worker: JsonObject | None
    workers: tuple[JsonObject, ...]


def status(home: Home) -> Status:
    """Read it."""
    endpoints = tuple(every_live(home))
    live = {entry.root for entry in endpoints} | {entry.previous_root for entry in endpoints}
    live |= {placed.root for entry in endpoints for placed in entry.placed}
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
    plan = current_plan(home)
    workers = _workers(home)
    return Status(
        origin=home.origin,
        fingerprint=home.trust.fingerprint(),
        owner=owner(home).name,
        records=open_checkpoint(home.archive.checkpoint(), origin=home.origin, key=home.trust.log).size,
        plan_number=0 if plan is None else plan.number,
        plan_expires="" if plan is None or plan.expires is None else str(plan.expires),
        warning="" if plan is None else _warning(plan, home.now()),
        recording=_recording(endpoints).value,
        endpoints=endpoints,
        limited=tuple(key for each in endpoints for key in keys(home, each.endpoint) if _is_limited(key)),
        waiting=waiting,
        refusals=sum(1 for _ in home.archive.scan("refusals")),
        predictions=recorded_predictions(home),
        segments_waiting=len(sealed(home.segments)),
        longest_wait=round(longest_wait(home.segments, home.now()), 1),
        collecting=collector_runs(home.segments),
        worker=next(iter(workers), None),
        workers=workers,
    )


def _recording(endpoints: tuple[Endpoint, ...]) -> Recording:
    lagging = any(each.recording == Recording.ASYNCHRONOUS for each in endpoints)
    return Recording.ASYNCHRONOUS if lagging else Recording.DURABLE


def _is_limited(key: ApiKeyEntry) -> bool:
    return bool(key.rate or key.quota or key.shown != "full")


def _warning(plan: TrafficPlan, now: Instant) -> str:
    """That the plan in force has expired or will soon, or nothing."""
    if plan.expires is None or plan.expires.ns - now.ns >= WARN_DAYS * DAY:
        return ""
    if plan.expires <= now:
        return f"The traffic plan expired on {str(plan.expires)[:10]}: workers answer nothing."
    days = (plan.expires.ns - now.ns) // DAY
    return f"The traffic plan expires on {str(plan.expires)[:10]}, in {days} days."


def _workers(home: Home) -> tuple[JsonObject, ...]:
    """What each worker of the newest server last said of itself, the first one first."""
    folders = (home.segments, *sorted(home.segments.glob(f"{WORKER_FOLDER}*")))
    return tuple(said for said in map(_said, folders) if said is not None)


def _said(folder: Path) -> JsonObject | None:
    try:
        said = canonical.decode_any((folder / "serve.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, BadInput):
        return None
    if not isinstance(said, dict) or not said.get("serving"):
        return said if isinstance(said, dict) else None
    if not _lives(said.get("pid")):
        return {**said, "down": True, "serving": False}
    return said if _lives(said.get("server")) else {**said, "orphan": True}


def _lives(pid: Json) -> bool:
    """Whether there is such a process on this machine; one that nobody named counts as living."""
    if not isinstance(pid, int) or pid <= 0:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is somebody else's
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):  # no such file system here
        return True
    return state not in (b"Z", b"X")  # ended, and nobody has asked how
