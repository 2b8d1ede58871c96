"""What the ledger's records say, as typed values: one class per kind, both ways.

A body is written with :func:`body_of` and read with :func:`read`; the projections hold the same
documents, so nothing is described twice. Fields are only ever appended, with a default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from itertools import repeat
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from gatewright.kernel.canonical import Json, JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.operations.home import Home

T = TypeVar("T")

WITHDRAWN = "withdrawn"
"""The state of an endpoint that left the plan."""
NAMED = 8
"""Most versions that a refusal names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of this home. ``name`` comes from an encrypted payload, not from the record."""

    principal: str
    key: str
    owner: bool
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitMethod:
    """How a file was split: the seed, the test share asked for, the file's digest."""

    seed: int
    test_share: float
    source: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """A dataset version: the exact files of its locked splits, and what describes them.

    ``dropped`` names columns that the owner's file had and that were taken out as no features.
    """

    name: str
    version: int
    train: Digest
    test: Digest
    train_rows: int
    test_rows: int
    target: str
    target_kind: str
    classes: tuple[str, ...]
    features: tuple[tuple[str, str], ...]
    sensitive: tuple[str, ...]
    slices: tuple[str, ...]
    schema: Digest
    datasheet: Digest
    unstated: tuple[str, ...]
    split: SplitMethod | None = None
    dropped: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A model version: exact bytes, signature and declared lineage.

    ``recipe`` is the file it is said to have been trained by, with ``seed``; ``origin`` holds what
    another system said of it (a run's id, its parameters and metrics), as texts by name.
    """

    name: str
    version: int
    model: Digest
    bytes: int
    facts: Digest
    signature: Digest
    dataset: str
    trained_on: Digest | None
    parity: Mapping[str, float] = field(default_factory=dict)
    recipe: Digest | None = None
    seed: int = 0
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedVersion:
    """A report on a model version, and what the policy said of it then."""

    ref: str
    report: Digest
    model: Digest
    outcomes: Mapping[str, str]
    policy: Digest
    verdict: Digest
    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedVersions:
    """Two model versions asked about the same test rows; ``comparison`` holds the numbers."""

    a: str
    b: str
    models: tuple[Digest, ...]
    dataset: str
    test: Digest
    seed: int
    comparison: Digest
    recommended: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A signed root with the digests of everything that proves it.

    ``bom`` is its bill of materials, ``summary`` its verdict as a SLSA verification summary, signed; None
    for a release from before there were any.
    """

    ref: str
    root: Digest
    tier: str
    resources: Mapping[str, Digest]
    bundle: Digest
    countersignature: Digest
    verdict: Digest
    approvals_needed: int
    bom: Digest | None = None
    summary: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedRelease:
    """A release that was taken back for ever: why, in one word, and the signed statement.

    ``endpoints`` are those whose plan named it, which a record of their own changed with this one.
    """

    ref: str
    root: Digest
    reason: str
    statement: Digest
    endpoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverEntry:
    """One person's signed waiver of one rule, by its sentence, for one root; it ends at ``until``."""

    ref: str
    root: Digest
    rule: str
    principal: str
    role: str
    until: str
    statement: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalEntry:
    """One person's signed approval of one root."""

    ref: str
    root: Digest
    principal: str
    key: str
    role: str
    statement: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A release beside the champion: ``place`` is ``canary``, ``arm``, ``shadow`` or ``fallback``.

    ``share`` is in thousandths of the traffic, 0 where it takes none; ``name`` is that of an arm.
    """

    place: str
    name: str
    ref: str
    root: Digest
    share: int
    decision: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What an endpoint serves since a record: champion, warm previous release, signed plan.

    ``placed`` are the releases beside the champion; ``rate`` is the most requests in a second over all
    callers (0: no bound); ``expires`` is when the plan does; ``what`` says what this record changed.
    """

    endpoint: str
    state: str
    root: Digest
    ref: str
    previous_root: Digest | None
    previous_ref: str
    decision: Digest
    plan_number: int
    plan: Digest
    placed: tuple[Placed, ...] = ()
    stopped: bool = False
    recording: str = "durable"
    rate: int = 0
    expires: str = ""
    what: str = ""

    @property
    def answering(self) -> tuple[Digest, ...]:
        """The roots of the releases that may answer a caller: all but the shadow and the previous one."""
        return (self.root, *(each.root for each in self.placed if each.place != "shadow"))

    @property
    def withdrawn(self) -> bool:
        """Whether it left the plan."""
        return self.state == WITHDRAWN


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyEntry:
    """An API key's id, endpoint and SHA-256; the key itself is shown once and kept nowhere.

    ``name`` is what its owner calls it; ``rate`` (requests in a second) and ``quota`` (in a day) are
    its bounds, 0 for none; ``shown`` is what its answers show. ``plan`` is the plan that the record
    made, None where another record of the same act names it.
    """

    endpoint: str
    id: str
    digest: Digest
    name: str = ""
    rate: int = 0
    quota: int = 0
    shown: str = "full"
    revoked: bool = False
    plan_number: int = 0
    plan: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """A plan that was signed again before it expired, with the content of the one before."""

    plan_number: int
    plan: Digest
    expires: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedAdvisories:
    """What is known of advisories since an import: ``count`` of them in the blob ``digest``.

    ``read`` were in the file, of which ``added`` were new and ``changed`` took the place of older ones;
    ``withdrawn`` of all stand no more; ``newest`` is when the newest was modified.
    """

    digest: Digest
    count: int
    read: int
    added: int
    changed: int
    withdrawn: int
    newest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """Statements about a release that new release keys signed again: old digests to new ones."""

    root: Digest
    ref: str
    statements: Mapping[str, Digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustChanged:
    """A new version of the public keys: its number and fingerprint, the signed step, what changed."""

    version: int
    trust: Digest
    step: Digest
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A refusal at intake or at a gate. The sentence, which may quote data, is an encrypted payload."""

    code: str
    digest: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A sealed file of prediction records; ``total`` counts them all, up to and with this one."""

    id: str
    worker: str
    records: int
    root: Digest
    file: Digest
    first: str
    last: str
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredHome:
    """That a home was put back, recorded by a person; the reason is an encrypted payload.

    The log ``origin`` had ``records`` here, with the ``root`` over them, and ``known`` by what others
    saw of it (0 where nobody says): those from ``records`` up to ``known`` are missing. ``signs`` say
    who knew; ``plan_number`` is that of the plan published with this record, 0 where there is none;
    ``continues`` is the origin of the log from here on.
    """

    origin: str
    records: int
    root: Digest
    known: int
    signs: tuple[str, ...]
    plan_number: int
    continues: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """That something stored does not hold, or holds again: ``what`` it is, its ``place``, what was found.

    ``expected`` is the digest that it should have, None where it has none of its own.
    """

    what: str
    place: str
    code: str
    found: str
    expected: Digest | None = None


def body_of(entry: Any, *, without: tuple[str, ...] = ()) -> dict[str, Json]:
    """The JSON form of an entry, digests as hexadecimal text."""
    return {
        each.name: _plain(getattr(entry, each.name)) for each in fields(entry) if each.name not in without
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Digest):
        return value.hex
    if is_dataclass(value):
        return body_of(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def read(kind: type[T], document: JsonObject) -> T:
    """Read an entry back; a document that does not fit its class is broken evidence.

    Keys that the class does not name (``seq``, ``time``, a later version's fields) are passed over.
    """
    try:
        found: T = _typed(kind, document)
    except (TypeError, ValueError, KeyError, BadInput) as error:
        raise Tampered(
            "operations.document", f"A stored {kind.__name__} cannot be read.", why=str(error)[:200]
        ) from None
    return found


def _typed(kind: Any, value: Any) -> Any:
    """``value`` as the annotation ``kind`` says: the handful of shapes that entries are made of."""
    if kind is Digest:
        return Digest(value)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        known = {
            each.name: _typed(hints[each.name], value[each.name])
            for each in fields(kind)
            if each.name in value
        }
        return kind(**known)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _typed(arguments[0], value)
    if origin is tuple:
        each_kind = repeat(arguments[0], len(_of(list, value))) if arguments[-1] is Ellipsis else arguments
        return tuple(_typed(item, each) for item, each in zip(each_kind, _of(list, value), strict=True))
    if origin is Mapping:
        return {name: _typed(arguments[1], item) for name, item in _of(dict, value).items()}
    if kind is float and type(value) is int:
        return float(value)
    return _of(kind, value)


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    """The annotations of an entry's class, resolved once."""
    return get_type_hints(kind)


def _of(kind: type[T], value: Any) -> T:
    """``value``, when it is exactly of the kind; a truth value is no number."""
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    found: T = value
    return found


def find(home: Home, collection: str, key: str, kind: type[T]) -> T | None:
    """One entry, or None."""
    document = home.archive.get(collection, key)
    return None if document is None else read(kind, document)


def every(home: Home, collection: str, kind: type[T], prefix: str = "") -> Iterator[T]:
    """All entries of a collection whose key begins with ``prefix``, by key."""
    return (read(kind, document) for _, document in home.archive.scan(collection, prefix))


def find_live(home: Home, name: str) -> Endpoint | None:
    """The named endpoint, or None where nothing was ever deployed on it or it was withdrawn."""
    found = find(home, "endpoints", name, Endpoint)
    return None if found is None or found.withdrawn else found


def every_live(home: Home) -> Iterator[Endpoint]:
    """All endpoints that were not withdrawn, by name."""
    return (found for found in every(home, "endpoints", Endpoint) if not found.withdrawn)


def resolve(home: Home, collection: str, text: str, kind: type[T]) -> T:
    """The entry that ``NAME@VERSION`` or ``NAME`` (its newest version) names; Misuse if none.

    ``collection`` is ``datasets`` or ``models``.
    """
    ref = text
    if "@" not in text:
        latest = home.archive.get(f"{collection}-latest", text)
        ref = str(latest["ref"]) if latest else text
    found = find(home, collection, ref, kind)
    if found is None:
        have = [key for key, _ in home.archive.scan(collection)][-NAMED:]
        raise Misuse(
            "operations.no-such-version",
            f"There is no {text!r} among the {collection} of this home.",
            next=f"There is: {', '.join(have)}."
            if have
            else f"Add one first: gatewright {'data' if collection == 'datasets' else 'model'} add --help",
        )
    return found
