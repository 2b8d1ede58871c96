"""What belongs into an evidence pack: records, plans, releases and people, from what the log says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gatewright.deployments.plan import TrafficPlan
from gatewright.kernel.errors import Misuse
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Record
from gatewright.operations.catalogue import Release, find
from gatewright.operations.files import read_file
from gatewright.operations.home import Home
from gatewright.operations.plan_records import ENDPOINT_KINDS, PLAN_KINDS, InForce, newest_plan, opened
from gatewright.operations.projections import KINDS
from gatewright.operations.receipt_verification import RECEIPT_BYTES
from gatewright.operations.witnessed import FOLDER, NEWEST
from gatewright.releases.heads import Head, open_head

PLANS = 2_000
"""Most plans that one pack carries."""
RANGE = 500_000
"""Most records that one pack carries without a gap."""
REACH = 10_000
"""The records without a gap begin so many records before the span, if that is where the plan in force was made."""
SEALED = "predictions.sealed"

_FOUNDATIONS = ("home.opened", "worker.certified", "trust.changed", "release.vouched", "home.restored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What a pack is made of. ``first`` up to ``stop`` are the records without a gap; ``told`` is the time of the head's last one."""

    home: Home
    endpoint: str
    start: Instant
    end: Instant
    head: Head
    note: bytes
    first: int
    records: tuple[Record, ...]
    others: tuple[Record, ...]
    plans: tuple[InForce, ...]
    releases: tuple[Release, ...]
    people: tuple[str, ...]
    told: Instant

    @property
    def stop(self) -> int:
        """The number after the last record without a gap."""
        return self.first + len(self.records)


def gather(home: Home, endpoint: str, start: Instant, end: Instant) -> Gathered:
    """The records, plans, releases and people of an endpoint in a span, from what the home's log says."""
    if end < start:
        raise Misuse("operations.span", "The span ends before it begins.", next="Give --from before --to.")
    note, head = _head(home, end)
    size = head.checkpoint.size
    last = _last(home, size)
    end = min(end, max(start, last))
    first = min(max(home.archive.position(Instant(start.ns - 1)) - 1, 0), size)
    stop = min(home.archive.position(end) + 1, size)
    before = newest_plan(home, first + 1)
    if before is not None and first - before.seq <= REACH:
        first = before.seq
    if stop - first > RANGE:
        raise Misuse(
            "operations.span-too-long",
            f"The span has {stop - first:,} records; a pack carries at most {RANGE:,}.",
            next="Make several packs, one after the other.",
        )
    records = tuple(map(Record.decode, home.archive.leaves(first, stop)))
    made = [each for each in records if each.draft.kind in PLAN_KINDS and each.draft.body.get("plan")]
    after = next(_plans_after(home, stop, size), None)
    needed = (
        [] if before is None or before.seq >= first else [before],
        made,
        [] if after is None else [after],
    )
    plans = tuple(opened(home, each) for part in needed for each in part)
    if len(plans) > PLANS:
        raise Misuse(
            "operations.too-many-plans", f"The span has {len(plans):,} plans; a pack carries {PLANS:,}."
        )
    _require_served(endpoint, [each.plan for each in plans if each.record.seq < stop])
    releases = _releases(home, endpoint, plans)
    within = range(first, stop)
    others = (*_foundations(home, endpoint, releases, plans, within), *_sealed_later(home, within, end))
    others = tuple(each for each in others if each.seq < size)
    people = _people((*records, *others), endpoint, releases)
    return Gathered(
        home=home,
        endpoint=endpoint,
        start=start,
        end=end,
        head=head,
        note=note,
        first=first,
        records=records,
        others=others,
        plans=plans,
        releases=releases,
        people=people,
        told=last,
    )


def _head(home: Home, end: Instant) -> tuple[bytes, Head]:
    """The newest head that witnesses cosigned, where it covers the span; else the newest of all."""
    newest = home.archive.checkpoint()
    place = home.folder / FOLDER / NEWEST
    if place.exists():
        note = read_file(place, limit=RECEIPT_BYTES)
        head = open_head(note, home.trust)
        if head.checkpoint.size >= min(
            home.archive.position(end) + 1, open_head(newest, home.trust).checkpoint.size
        ):
            return note, head
    return newest, open_head(newest, home.trust)


def _last(home: Home, size: int) -> Instant:
    """The time of the last record under a head: what comes after it, no pack tells."""
    return Record.decode(next(home.archive.leaves(size - 1, size))).time


def _plans_after(home: Home, stop: int, size: int) -> Iterator[Record]:
    for record in home.archive.history(PLAN_KINDS, None, start=stop):
        if record.seq < size and record.draft.body.get("plan"):
            yield record


def _releases(home: Home, endpoint: str, plans: Sequence[InForce]) -> tuple[Release, ...]:
    roots: dict[str, None] = {}
    for each in plans:
        here = each.plan.endpoint(endpoint)
        roots.update({one.root.hex: None for one in (() if here is None else here.releases())})
    found = [find(home, "releases", root, Release) for root in roots]
    return tuple(each for each in found if each is not None)


def _require_served(endpoint: str, plans: Sequence[TrafficPlan]) -> None:
    if all(each.endpoint(endpoint) is None for each in plans):
        raise Misuse(
            "operations.nothing-served",
            f"Nothing was deployed on {endpoint[:80]!r} in this span.",
            next="Run: gatewright history",
        )


def _foundations(
    home: Home, endpoint: str, releases: Sequence[Release], plans: Sequence[InForce], span: range
) -> Iterator[Record]:
    """Records outside the span on which it rests, in their order."""
    roots = {each.root.hex for each in releases}
    refs = {each.ref for each in releases}
    models = [home.document("models", ref) for ref in sorted(refs)]
    refs |= {str(each["dataset"]) for each in models if each is not None}
    numbers = {each.record.seq for each in plans}
    signed = ("approvals", "waivers")
    said = [each for root in roots for kind in signed for _, each in home.archive.scan(kind, f"{root}/")]
    signers = {str(each["principal"]) for each in said}
    for record in home.archive.history([kind for kind in KINDS if kind != SEALED], None):
        body, kind = record.draft.body, record.draft.kind
        named = {body.get("root"), body.get("ref"), f"{body.get('name')}@{body.get('version')}"} & (
            roots | refs
        )
        about = named and (kind not in ENDPOINT_KINDS or body.get("endpoint") == endpoint)
        founded = kind in _FOUNDATIONS or (kind == "user.added" and body["principal"] in signers)
        if record.seq not in span and (record.seq in numbers or founded or about):
            yield record


def _sealed_later(home: Home, span: range, end: Instant) -> Iterator[Record]:
    """Segments that were recorded after the span, and hold predictions from within it."""
    for record in home.archive.history((SEALED,), None, start=span.stop):
        if Instant.parse(str(record.draft.body["first"])) <= end:
            yield record


def _people(records: Sequence[Record], endpoint: str, releases: Sequence[Release]) -> tuple[str, ...]:
    """The principals whose names the pack tells: who approved one of the releases, or changed the endpoint."""
    roots = {each.root.hex for each in releases}
    acts = (*ENDPOINT_KINDS, "release.approved", "release.waived", "release.revoked", "release.created")
    here = [
        each.draft
        for each in records
        if each.draft.kind in acts
        and (each.draft.body.get("endpoint") == endpoint or each.draft.body.get("root") in roots)
    ]
    return tuple(sorted({str(draft.body.get("principal", draft.actor)) for draft in here}))
