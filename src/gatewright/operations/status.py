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
from gatewright.kernel.errors import BadInput, GatewrightError
from gatewright.kernel.instants import Instant
from gatewright.operations import forks
from gatewright.operations.advisories import live_warnings
from gatewright.operations.catalogue import (
    ApiKeyEntry,
    Damage,
    Endpoint,
    Release,
    RevokedRelease,
    every,
    every_live,
)
from gatewright.operations.collect import recorded_predictions
from gatewright.operations.cosigning import problems_told, witnesses
from gatewright.operations.home import Home
from gatewright.operations.home_keys import keys_warning
from gatewright.operations.keys import keys
from gatewright.operations.plans import current_plan
from gatewright.operations.recovery import still_to_look
from gatewright.operations.released import approvers
from gatewright.operations.scrub import damages, read_progress
from gatewright.operations.users import owner
from gatewright.operations.waiting import WORKER_FOLDER, collector_runs, longest_wait, sealed
from gatewright.operations.waive import WaivedRule, waived_rules
from gatewright.operations.witnessed import Witnessed
from gatewright.releases.heads import open_head

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
class Scrubbed:
    """How far the scrubber is: when the last whole pass ended (empty: none did), and what the pass of now has read.

    ``position`` names the piece it read last; empty between two passes.
    """

    finished: str
    began: str
    pieces: int
    bytes: int
    position: str


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
    API keys that have bounds or are not shown all. ``damaged`` is what does not hold of what is stored,
    ``advisories`` says which live releases a published advisory names, ``let_stand`` of which releases the
    policy lets stand what names them;
    ``look`` is what to look at since it was put back, until log or release keys were rotated after that;
    ``put_back`` why nothing is recorded in a home that was put back to an older state. ``revoked`` are the
    releases that were taken back for ever, ``waived`` the rules that were waived for live ones.
    ``keys_version`` is that of the public keys, which sign until ``keys_expire``; ``keys_warning`` says
    so when that is soon. ``witnesses`` says what each cosigned last, ``quorum`` how many must have; ``witness_problems`` what
    went wrong when they were asked last.
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
    advisories: tuple[str, ...] = ()
    let_stand: tuple[str, ...] = ()
    damaged: tuple[Damage, ...] = ()
    scrubbed: Scrubbed | None = None
    put_back: str = ""
    look: str = ""
    revoked: tuple[RevokedRelease, ...] = ()
    waived: tuple[WaivedRule, ...] = ()
    quorum: int = 0
    witnesses: tuple[Witnessed, ...] = ()
    witness_problems: tuple[str, ...] = ()
    keys_warning: str = ""
    keys_version: int = 1
    keys_expire: str = ""


def status(home: Home) -> Status:
    """Read it."""
    endpoints = tuple(every_live(home))
    live = {entry.root for entry in endpoints} | {entry.previous_root for entry in endpoints}
    live |= {placed.root for entry in endpoints for placed in entry.placed}
    revoked = tuple(every(home, "revocations", RevokedRelease))
    waiting = tuple(
        Waiting(
            ref=found.ref,
            root=found.root.hex,
            have=approvers(home, found.root),
            need=found.approvals_needed,
        )
        for found in every(home, "releases", Release)
        if found.root not in live | {each.root for each in revoked}
    )
    plan = current_plan(home)
    workers = _workers(home.segments)
    advisories, judged = live_warnings(home)
    return Status(
        origin=home.origin,
        fingerprint=home.trust.fingerprint(),
        owner=owner(home).name,
        records=open_head(home.archive.checkpoint(), home.trust).checkpoint.size,
        plan_number=0 if plan is None else plan.number,
        plan_expires="" if plan is None or plan.expires is None else str(plan.expires),
        warning="" if plan is None else _warning(plan, home.now()),
        recording=_recording(endpoints).value,
        endpoints=endpoints,
        limited=tuple(key for each in endpoints for key in keys(home, each.endpoint) if _is_limited(key)),
        waiting=waiting,
        revoked=revoked,
        waived=tuple(waived_rules(home, live)),
        refusals=sum(1 for _ in home.archive.scan("refusals")),
        predictions=recorded_predictions(home),
        segments_waiting=len(sealed(home.segments)),
        longest_wait=round(longest_wait(home.segments, home.now()), 1),
        collecting=collector_runs(home.segments),
        worker=next(iter(workers), None),
        workers=workers,
        advisories=advisories,
        let_stand=judged,
        quorum=home.trust.quorum,
        witnesses=witnesses(home),
        witness_problems=tuple(problems_told(home.folder).values()),
        damaged=tuple(damages(home).values()),
        scrubbed=_scrubbed(home),
        keys_warning=keys_warning(home.trust, home.now()),
        keys_version=home.trust.version,
        keys_expire="" if home.trust.expires is None else str(home.trust.expires),
        put_back=_put_back(home),
        look=still_to_look(home.trust),
    )


def _scrubbed(home: Home) -> Scrubbed | None:
    progress = read_progress(home.folder)
    if not progress.began:
        return None
    return Scrubbed(
        finished=progress.finished,
        began=progress.began,
        pieces=progress.pieces,
        bytes=progress.size,
        position=progress.position,
    )


def _put_back(home: Home) -> str:
    """That nothing is recorded in this home, because it was put back; else nothing."""
    try:
        forks.require_none(home)
    except GatewrightError as error:
        return error.refusal.sentence()
    return ""


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


def _workers(segments: Path) -> tuple[JsonObject, ...]:
    """What each worker of the newest server last said of itself, the first one first."""
    folders = (segments, *sorted(segments.glob(f"{WORKER_FOLDER}*")))
    return tuple(said for said in map(_said, folders) if said is not None)


def serving_url(segments: Path) -> str:
    """Where this home's running server answers, as it says; empty where none runs."""
    return next(
        (str(each["url"]) for each in _workers(segments) if each.get("serving") and each.get("url")), ""
    )


def signing_workers(segments: Path) -> frozenset[str]:
    """The ids of the keys that running workers say they sign with."""
    keys = [each.get("keys") for each in _workers(segments) if each.get("serving")]
    return frozenset(str(each.get("worker")) for each in keys if isinstance(each, dict))


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
