"""Advisories in a home: importing them, and asking which of them stand for what is here.

An import adds to what is known; of an advisory that is known already the one modified last stays. What
is known is one blob, named by the record ``advisories.imported``; nothing is ever asked of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatewright.checks.case import Known
from gatewright.checks.osv import Advisory, encode_kept, every, naming
from gatewright.checks.osv_matching import Match, Part, matches
from gatewright.checks.package_urls import PYPI, model_name, normalised, read_url
from gatewright.checks.security.advisories import NAME, divided, judged_told
from gatewright.checks.suite import known_checks
from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.kernel.plurals import advisories as counted
from gatewright.ledger.records import Draft
from gatewright.operations import catalogue
from gatewright.operations.advisory_files import read_advisories
from gatewright.operations.bill import plain_bill
from gatewright.operations.catalogue import ImportedAdvisories, ModelVersion, Release, body_of, every_live
from gatewright.operations.environment import installed
from gatewright.operations.files import POLICY_BYTES, read_file
from gatewright.operations.home import Home
from gatewright.operations.users import owner
from gatewright.policy.policy_file import read_policy

DAY_NS = 24 * 3_600 * 10**9
HERE = "this environment"
NAMED = 5
"""Most advisories that a warning names."""
TOLD = 1_000
"""Progress is told after each so many advisories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What was looked at (an environment, or a live release) and which advisories stand for it.

    ``judged`` are those that the policy lets stand, as it is now; they count in no answer. ``reason`` says
    why nothing can be said of it, "" where something can.
    """

    what: str
    parts: int
    matches: tuple[Match, ...]
    judged: tuple[Match, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the imported advisories say of everything that runs here; ``age_days`` is their age."""

    imported: ImportedAdvisories
    time: Instant
    age_days: int
    places: tuple[Where, ...]

    @property
    def clear(self) -> bool:
        """Whether nothing stands but what the policy lets stand, and nothing is undecided."""
        return not any(place.matches or place.reason for place in self.places)


def import_advisories(
    home: Home, path: Path, progress: Callable[[str], None] = lambda _: None
) -> ImportedAdvisories:
    """Take in the advisories at a path; everything is read before anything is recorded."""
    read: dict[str, Advisory] = {}
    latest = Instant(home.now().ns + DAY_NS)
    for count, advisory in enumerate(read_advisories(path), 1):
        _require_past(advisory, latest)
        _keep_newer(read, advisory)
        if count % TOLD == 0:
            progress(f"{counted(count)} read")
    with home.exclusive():
        before = {} if (kept := _kept(home)) is None else {one.id: one for one in every(kept)}
        known = dict(before)
        for advisory in read.values():
            _keep_newer(known, advisory)
        entry = ImportedAdvisories(
            digest=home.blobs.put(encode_kept(known.values())),
            count=len(known),
            read=len(read),
            added=len(known.keys() - before.keys()),
            changed=sum(known[name] != before[name] for name in before),
            withdrawn=sum(one.withdrawn for one in known.values()),
            newest=max((one.modified for one in known.values()), default=""),
        )
        draft = Draft(
            kind="advisories.imported",
            actor=owner(home).principal,
            subject=entry.digest.hex,
            body=body_of(entry),
        )
        home.archive.append((draft,), home.now())
    return entry


def _require_past(advisory: Advisory, latest: Instant) -> None:
    """Refuse what says it was modified tomorrow: nothing could ever take its place."""
    if Instant.parse(advisory.modified) > latest:
        raise BadInput(
            "operations.advisory-of-tomorrow",
            f"An advisory says that it was modified in the future, on {advisory.modified[:10]}.",
            why="It would stay for ever, whatever is published of it later.",
            next="Get the file anew from its source, or set this machine's clock.",
            place=advisory.id,
        )


def _keep_newer(known: dict[str, Advisory], advisory: Advisory) -> None:
    before = known.get(advisory.id)
    if before is None or Instant.parse(before.modified) <= Instant.parse(advisory.modified):
        known[advisory.id] = advisory


def newest_import(home: Home) -> tuple[ImportedAdvisories, Instant] | None:
    """The newest import and its time, or None."""
    document = home.archive.get("advisories", "newest")
    if document is None:
        return None
    return catalogue.read(ImportedAdvisories, document), Instant.parse(str(document["time"]))


def _kept(home: Home) -> bytes | None:
    found = newest_import(home)
    return None if found is None else home.blobs.get(found[0].digest)


def listed(home: Home) -> Iterator[Advisory]:
    """All imported advisories, by id; Misuse where none were ever imported."""
    return every(home.blobs.get(_required(home)[0].digest))


def _required(home: Home) -> tuple[ImportedAdvisories, Instant]:
    found = newest_import(home)
    if found is None:
        raise Misuse(
            "operations.no-advisories",
            "No advisories were imported into this home.",
            why="What nobody looked up is not known to be safe.",
            next="Import some: gatewright advisory import FILE",
        )
    return found


def _age(home: Home, time: Instant) -> int:
    return max(0, (home.now().ns - time.ns) // DAY_NS)


def environment_parts() -> tuple[Part, ...]:
    """The distributions of this environment, as advisories name them."""
    return tuple(Part(name=f"{PYPI}{normalised(one.name)}", version=one.version) for one in installed())


def known_of(home: Home, subject: ModelVersion) -> Known | None:
    """What a check may look at: the advisories that name this environment or a model version."""
    found = newest_import(home)
    if found is None:
        return None
    entry, time = found
    model = Part(name=model_name(subject.name), version=str(subject.version), digest=subject.model.hex)
    parts = (model, *environment_parts())
    return Known(
        digest=entry.digest,
        imported=time,
        age_days=_age(home, time),
        count=entry.count,
        advisories=naming(home.blobs.get(entry.digest), {name for part in parts for name in part.names}),
        parts=parts,
    )


def ask(home: Home) -> Answer:
    """Match this environment and the bill of every live release with the imported advisories."""
    entry, time = _required(home)
    places = [(HERE, environment_parts(), ""), *_live(home)]
    return Answer(
        imported=entry,
        time=time,
        age_days=_age(home, time),
        places=_matched(home.blobs.get(entry.digest), places, let_stand(home)),
    )


def live_warnings(home: Home) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A sentence for each live release that an advisory names, or of which nothing can be said.

    Apart from these the sentences about releases of which the policy lets stand all that names them.
    """
    found = newest_import(home)
    if found is None:
        return (), ()
    try:
        places = _matched(home.blobs.get(found[0].digest), list(_live(home)), let_stand(home))
    except (BadInput, Misuse, Tampered) as error:  # what is damaged is told, and hides nothing else
        return (f"The advisories cannot be compared with what is live: {error.refusal.sentence()}",), ()
    judged = [place for place in places if place.judged and not place.matches and not place.reason]
    return (
        tuple(_warning(place) for place in places if place.matches or place.reason),
        tuple(f"{place.what}: {judged_told(place.judged)}." for place in judged),
    )


def _warning(place: Where) -> str:
    if place.reason:
        return f"{place.what}: {place.reason}"
    judged = f" {judged_told(place.judged)}." if place.judged else ""
    names = list(dict.fromkeys(match.advisory.id for match in place.matches))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    by = "an advisory" if len(names) == 1 else "advisories"
    return f"{place.what} is named by {by}: {', '.join(names[:NAMED])}{more}.{judged}"


def let_stand(home: Home) -> str:
    """The advisories that the policy lets stand, as it is now: ids divided by spaces."""
    policy = read_policy(read_file(home.policy_path, limit=POLICY_BYTES), known=known_checks())
    return str(policy.parameters.get(NAME, {}).get("let_stand", ""))


def _matched(
    kept: bytes, places: Sequence[tuple[str, tuple[Part, ...], str]], judged: str
) -> tuple[Where, ...]:
    wanted = {name for _, parts, _ in places for part in parts for name in part.names}
    naming_them = naming(kept, wanted)
    found = []
    for what, parts, reason in places:
        counted, apart = divided(matches(naming_them, parts), judged)
        found.append(Where(what=what, parts=len(parts), matches=counted, judged=apart, reason=reason))
    return tuple(found)


def _live(home: Home) -> Iterator[tuple[str, tuple[Part, ...], str]]:
    """Each live release once, with the parts that its bill names, or why it names none."""
    roots = {root for endpoint in every_live(home) for root in _roots(endpoint)}
    for root in sorted(roots):
        found = catalogue.find(home, "releases", root.hex, Release)
        if found is None:
            raise Tampered("operations.no-release-record", "A live release has no record.", place=root.hex)
        bill = plain_bill(home, found)
        what = f"{found.ref} ({root.short})"
        if bill is None:
            yield (
                what,
                (),
                "It has no bill of materials: it was released before there were any. Release it again.",
            )
        else:
            yield what, tuple(_bill_parts(bill)), ""


def _roots(endpoint: catalogue.Endpoint) -> tuple[Digest, ...]:
    """Everything that a plan loads: what answers, the shadow, and the previous release, kept warm."""
    placed = tuple(each.root for each in endpoint.placed)
    previous = () if endpoint.previous_root is None else (endpoint.previous_root,)
    return (endpoint.root, *placed, *previous)


def _bill_parts(bill: bytes) -> Iterator[Part]:
    document = canonical.decode(bill)
    for component in (document["metadata"]["component"], *document["components"]):
        if "purl" in component:
            name, version, sums = read_url(component["purl"])
            yield Part(name=name, version=version, digest=sums[0] if sums else "")
