"""What was live when: a few look-ups in the records, never today's tables alone, and never all records.

A moment is found by halving the numbers of the records. The newest record before it that made a plan names
that plan, which both release keys signed; the newest record of each endpoint says what that plan has for it.
Each record is proved under the signed head, and the two must agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeAlias

from gatewright.deployments.plan import WHOLE, EndpointPlan
from gatewright.deployments.wording import bound_text
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.kernel.plurals import advisories, many
from gatewright.ledger.records import Record
from gatewright.operations.catalogue import WITHDRAWN, ApiKeyEntry, Endpoint, read
from gatewright.operations.grounds import Grounds, Noted, Who, grounds
from gatewright.operations.home import Home
from gatewright.operations.plan_records import ENDPOINT_KINDS, PLAN_KINDS, InForce, in_force

ACTS = {
    "endpoint.deployed": "deployed",
    "endpoint.joined": "joined",
    "endpoint.left": "taken away",
    "endpoint.rolled-back": "rolled back",
    "endpoint.limited": "limited",
    "endpoint.stopped": "stopped",
    "endpoint.resumed": "resumed",
    "endpoint.withdrawn": "withdrawn",
    "endpoint.revoked": "revoked",
    "release.revoked": "revoked for ever",
    "key.issued": "key issued",
    "key.limited": "key limited",
    "key.revoked": "key revoked",
    "plan.renewed": "plan renewed",
    "release.waived": "rule waived",
    "trust.changed": "keys changed",
    "worker.certified": "worker key",
    "advisories.imported": "advisories",
    "home.restored": "put back",
}
"""The kinds of records that change a plan, or on whose word and keys it rests, and what people call the act."""
REVOKED = "release.revoked"
WORKER_KEY = "worker.certified"
BESIDE_PLANS = (
    REVOKED,
    "release.waived",
    "trust.changed",
    WORKER_KEY,
    "advisories.imported",
    "home.restored",
)
"""What ``between`` tells besides the changes of plans."""
PAGE = 4
"""Earlier changes that one look-up brings."""
WALKED = 16
"""Most earlier changes of an endpoint that are looked through for the one that began what is asked about."""

_AGO = re.compile(r"(\d{1,6}) (second|minute|hour|day|week)s? ago", re.ASCII)
_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_NS = 1_000_000_000

SETTINGS = ("stopped", "recording")
Mark: TypeAlias = tuple[str, ...]
"""Something that stands on an endpoint since one of its changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One record that changed an endpoint."""

    seq: int
    time: Instant
    kind: str
    actor: str
    entry: Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One record that changed a plan: its fields, and in words what it changed (``what``) and by whose act."""

    record: int
    time: str
    kind: str
    act: str
    what: str
    by: str
    actor: str
    body: JsonObject

    def text(self, name: str) -> str:
        """A field of the record as text, or empty: what concerns all endpoints names none."""
        return str(self.body.get(name) or "")

    def document(self) -> JsonObject:
        """The same for machines: the record's own fields beside the others."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "body"}
        return {**self.body, **own}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seated:
    """A release in a place of an endpoint: since which record, and on which grounds.

    ``share`` is in thousandths. ``longer`` says that it was there before ``since`` already, and that more
    than :data:`WALKED` changes of the endpoint came in between.
    """

    place: str
    name: str
    ref: str
    root: Digest
    share: int
    since: Noted
    longer: bool
    grounds: Grounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """An endpoint at a moment: who answered, how it recorded, and the record that changed it last.

    ``stopped_since`` and ``recording_since`` are None where that is older than the releases' places.
    """

    endpoint: str
    ref: str
    root: Digest
    stopped: bool
    stopped_since: Noted | None
    recording: str
    recording_since: Noted | None
    rate: int
    previous_ref: str
    previous_root: Digest | None
    last: Noted
    what: str
    releases: tuple[Seated, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanThen:
    """The signed plan in force at a moment, and the record that made it."""

    number: int
    digest: Digest
    expires: str
    made: Noted


@dataclass(frozen=True, slots=True, kw_only=True)
class Then:
    """What was live at a moment. ``note`` is what a reader should know of the answer, or empty."""

    at: str
    note: str
    plan: PlanThen | None
    endpoints: tuple[Live, ...]


def moment_in(text: str, now: Instant) -> Instant:
    """A moment as people write it: RFC 3339, a date (its start, UTC), ``now``, or ``3 days ago``."""
    if text.strip() == "now":
        return now
    ago = _AGO.fullmatch(text.strip())
    if ago is None:
        try:
            return Instant.parse(text)
        except BadInput as error:
            raise BadInput(
                error.code,
                error.refusal.what,
                next="Write 2026-03-03T14:05:00Z, 2026-03-03, now, or '3 days ago' (seconds to weeks).",
            ) from None
    return Instant(now.ns - int(ago[1]) * _SECONDS[ago[2]] * _NS)


def _change(record: Record) -> Change:
    return Change(
        seq=record.seq,
        time=record.time,
        kind=record.draft.kind,
        actor=record.draft.actor,
        entry=read(Endpoint, record.draft.body),
    )


def changes(home: Home, *, endpoint: str = "", until: Instant | None = None) -> Iterator[Change]:
    """Every change of endpoints, oldest first, up to a moment."""
    for record in home.archive.history(ENDPOINT_KINDS, until):
        found = _change(record)
        if not endpoint or found.entry.endpoint == endpoint:
            yield found


def live_at(home: Home, moment: Instant, *, endpoint: str = "") -> tuple[Change, ...]:
    """The last change of each endpoint up to a moment, but for those that were withdrawn by it."""
    return tuple(map(_change, _live(home, home.archive.position(moment), endpoint)))


def _live(home: Home, below: int, endpoint: str) -> list[Record]:
    """The newest record of each endpoint below a number, but for those that were withdrawn by it."""
    names = [endpoint] if endpoint else [key for key, _ in home.archive.scan("endpoints")]
    found = (home.archive.newest(ENDPOINT_KINDS, below=below, subject=name) for name in names)
    return [record for records in found for record in records if record.draft.body["state"] != WITHDRAWN]


def every_change(home: Home, *, endpoint: str = "") -> Iterator[Act]:
    """Every change of what was live, oldest first, in words."""
    return _acts(home, home.archive.history((*ENDPOINT_KINDS, REVOKED), None), endpoint)


def between(home: Home, start: Instant, stop: Instant, *, endpoint: str = "") -> Iterator[Act]:
    """Every change from ``start`` to ``stop``, both inclusive, oldest first, in words.

    That is: of the plan, of keys, and what else bears on what may answer (:data:`BESIDE_PLANS`).
    """
    if stop < start:
        raise Misuse(
            "operations.window",
            f"{stop} is before {start}.",
            next="Name the earlier time first: --between FROM TO",
        )
    first = home.archive.position(Instant(start.ns - 1))
    return _acts(home, home.archive.history((*PLAN_KINDS, *BESIDE_PLANS), stop, start=first), endpoint)


def _acts(home: Home, records: Iterator[Record], endpoint: str) -> Iterator[Act]:
    who = Who(home)
    for record in records:
        kind, draft = record.draft.kind, record.draft
        if endpoint in ("", draft.body.get("endpoint", "")) and (kind != WORKER_KEY or _is_new(home, record)):
            yield Act(
                record=record.seq,
                time=str(record.time),
                kind=kind,
                act=ACTS[kind],
                what=_what(record),
                by=who.named(draft.actor),
                actor=draft.actor,
                body=draft.body,
            )


def _is_new(home: Home, record: Record) -> bool:
    """Whether a worker's certificate is of another key than before; the others only give one more time."""
    before = home.archive.newest((WORKER_KEY,), below=record.seq)
    return bool(before) and not home.archive.newest(
        (WORKER_KEY,), below=record.seq, subject=record.draft.subject
    )


def _beside(kind: str, body: JsonObject) -> str:
    """What a record says that changed no plan itself; empty for the others."""
    if kind == WORKER_KEY:
        return f"the worker signs with a new key, {str(body['key'])[:12]}"
    if kind == "trust.changed":
        return f"version {body['version']} of the public keys: {body['what']}"
    if kind == "release.waived":
        return f"a rule of {body['ref']} was waived until {str(body['until'])[:10]}: {body['rule']}"
    if kind == "advisories.imported":
        known, added = advisories(int(str(body["count"]))), int(str(body["added"]))
        return f"{known} known from then on, {added:,} of them new"
    if kind == "home.restored":
        lost = f"; {many(gone, 'record')} lost" if (gone := _lost(body)) > 0 else ""
        return f"the home was put back to {many(int(str(body['records'])), 'record')}{lost}; the log goes on as {body['continues']}"
    return ""


def _lost(body: JsonObject) -> int:
    return int(str(body["known"])) - int(str(body["records"]))


def _what(record: Record) -> str:
    kind, body = record.draft.kind, record.draft.body
    if beside := _beside(kind, body):
        return beside
    if kind == "plan.renewed":
        return f"the plan was signed again; it is good until {str(body['expires'])[:10]}"
    if kind == REVOKED:
        return f"{body['ref']} is taken back for ever ({body['reason']})"
    if not kind.startswith("key."):
        return str(body.get("what", "")) or f"{body['ref']} is the champion"
    key = read(ApiKeyEntry, body)
    name = f"key {key.id}{f' ({key.name})' if key.name else ''}"
    if kind == "key.limited":
        bounds = (bound_text(key.rate, "requests a second"), bound_text(key.quota, "requests a day"))
        return f"{name}: {', '.join(bounds)}, shows {key.shown}"
    return f"{name} {'is taken no more' if key.revoked else 'was made'}"


def at(home: Home, moment: Instant, *, endpoint: str = "") -> Then:
    """What was live at a moment, since when, on which grounds, and by whose act.

    Raises Tampered where a record is not under the signed head, a plan's signature does not hold, or
    records and plan disagree.
    """
    below = home.archive.position(moment)
    plan = in_force(home, below)
    who = Who(home)
    found = _live(home, below, endpoint)
    if plan is not None:
        _require_agreement(plan, found, whole=not endpoint)
    return Then(
        at=str(moment),
        note=_note(home, moment, below=below, endpoint=endpoint, plan=plan, nothing=not found),
        plan=None if plan is None else _plan_then(plan, who),
        endpoints=tuple(_told(record, who) for record in found),
    )


def _plan_then(found: InForce, who: Who) -> PlanThen:
    return PlanThen(
        number=found.plan.number,
        digest=found.digest,
        expires="" if found.plan.expires is None else str(found.plan.expires),
        made=who.noted(found.record),
    )


def _note(
    home: Home, moment: Instant, *, below: int, endpoint: str, plan: InForce | None, nothing: bool
) -> str:
    """What a reader should know: that the moment is out of the records' reach, or why nothing stands there."""
    parts = []
    if moment > home.now():
        parts.append(f"{moment} has not come yet: this is what stands now.")
    if below == 0:
        first = Record.decode(next(home.archive.leaves(0, 1)))
        parts.append(f"The records of this home begin later, on {first.time}.")
    elif plan is None:
        parts.append("Nothing had been deployed yet.")
    elif nothing:
        parts.append(f"There was no endpoint {endpoint!r}." if endpoint else "Nothing was live.")
    return " ".join(parts)


def _places(entry: Endpoint) -> list[tuple[str, str, str, Digest, int, Digest]]:
    """Place, name, version, root, share and decision of each release of an endpoint, the champion first."""
    rest = WHOLE - sum(each.share for each in entry.placed)
    champion = ("champion", "", entry.ref, entry.root, rest, entry.decision)
    return [champion, *((p.place, p.name, p.ref, p.root, p.share, p.decision) for p in entry.placed)]


def _marks(entry: Endpoint) -> set[Mark]:
    """What may have begun with an earlier change than the last one: places, the stop, the way of recording."""
    if entry.withdrawn:
        return set()
    seats = {(place, name, root.hex) for place, name, _, root, _, _ in _places(entry)}
    return seats | {("stopped", str(entry.stopped)), ("recording", entry.recording)}


def _began(home: Home, last: Record) -> tuple[dict[Mark, Record], set[Mark]]:
    """For each mark of an endpoint the record since which it stands, and the marks that are older than was looked."""
    entry = read(Endpoint, last.draft.body)
    standing = _marks(entry)
    since = dict.fromkeys(standing, last)
    walked, below, more = 0, last.seq, True
    while any(mark[0] not in SETTINGS for mark in standing) and more and walked < WALKED:
        page = home.archive.newest(ENDPOINT_KINDS, below=below, subject=entry.endpoint, most=PAGE)
        for record in page:
            standing &= _marks(read(Endpoint, record.draft.body))
            since.update(dict.fromkeys(standing, record))
            below = record.seq
        walked, more = walked + len(page), len(page) == PAGE
    return since, standing if more else set()


def _told(last: Record, who: Who) -> Live:
    entry = read(Endpoint, last.draft.body)
    began, longer = _began(who.home, last)

    def since(*mark: str) -> Noted | None:
        return None if mark in longer or mark not in began else who.noted(began[mark])

    return Live(
        endpoint=entry.endpoint,
        ref=entry.ref,
        root=entry.root,
        stopped=entry.stopped,
        stopped_since=since("stopped", "True"),
        recording=entry.recording,
        recording_since=since("recording", entry.recording),
        rate=entry.rate,
        previous_ref=entry.previous_ref,
        previous_root=entry.previous_root,
        last=who.noted(last),
        what=_what(last),
        releases=tuple(
            Seated(
                place=place,
                name=name,
                ref=ref,
                root=root,
                share=share,
                since=who.noted(began[place, name, root.hex]),
                longer=(place, name, root.hex) in longer,
                grounds=grounds(
                    who, root, decision, entry.endpoint, last.seq + 1, likely=began[place, name, root.hex]
                ),
            )
            for place, name, ref, root, share, decision in _places(entry)
        ),
    )


def _require_agreement(found: InForce, live: list[Record], *, whole: bool) -> None:
    """The plan that both keys signed has for each endpoint what its newest record says."""
    planned = {str(each.endpoint): each for each in found.plan.endpoints}
    for record in live:
        entry = read(Endpoint, record.draft.body)
        here = planned.pop(entry.endpoint, None)
        if here is None or not _same(entry, here):
            raise _disagree(entry.endpoint, f"record {record.seq}", found)
    if whole and planned:
        raise _disagree(min(planned), f"record {found.record.seq}", found)


def _same(entry: Endpoint, here: EndpointPlan) -> bool:
    roots = [entry.root.hex, *(placed.root.hex for placed in entry.placed)]
    planned = [here.champion, *(arm.release for arm in here.arms)]
    planned += [] if here.canary is None else [here.canary.release]
    planned += [each for each in (here.shadow, here.fallback) if each is not None]
    settings = (entry.stopped, entry.recording, entry.rate) == (here.stopped, here.recording.value, here.rate)
    return settings and sorted(roots) == sorted(each.root.hex for each in planned)


def _disagree(endpoint: str, place: str, found: InForce) -> Tampered:
    return Tampered(
        "operations.plan-and-records",
        f"The records and the signed plan {found.plan.number} do not say the same of endpoint {endpoint}.",
        why="A record was hidden from the look-up, or the database was changed from outside.",
        next="Verify the ledger: gatewright verify",
        place=place,
    )
