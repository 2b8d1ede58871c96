"""The traffic plan: which release answers which endpoint, and who may call it.

A plan is read by workers that have nothing but the bytes and the public keys they trust, so
everything a worker needs to check is in it. Laws: ``decode_plan(encode_plan(p)) == p``;
``encode_plan(decode_plan(b)) == b`` for every ``b`` of format 2 that ``decode_plan`` takes; a plan
that exists has distinct endpoint names, and never names one release as its own predecessor. Format 1
(champion and previous release only, no expiry) is read as the same plan without the rest.

Not here: how a plan changes (``deployment.py``), where it is kept, and secrets: an API key is
known by its digest only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.releases.envelope import PAYLOAD_BYTES, Envelope, require, verify
from gatewright.releases.fields import Fields
from gatewright.releases.trust import TrustRoot

PLAN_FORMAT = 2
PLAN_FILE_BYTES = 16 * 2**20
"""Most bytes of a published plan, its envelope included."""
PLAN_TYPE = "application/vnd.gatewright.traffic-plan.v1+json"
ENDPOINTS = 1_000
KEYS_PER_ENDPOINT = 1_000
ARMS = 16
WHOLE = 1_000
"""A share of traffic is a whole number of thousandths."""
RATE_MOST = 1_000_000
QUOTA_MOST = 1_000_000_000_000
TOP_MOST = 1_000
DECIMALS_MOST = 17

_CODE = "deployments.plan"


class Recording(StrEnum):
    """When a prediction is recorded.

    ``DURABLE``: on disk before the answer leaves. ``ASYNCHRONOUS``: promised and signed before, on disk
    soon after; the policy must allow it, and every receipt says so.
    """

    DURABLE = "durable"
    ASYNCHRONOUS = "asynchronous"


class Showing(StrEnum):
    """How much of a classifier's answer a caller sees: the less, the less can be learnt from it."""

    FULL = "full"
    LABEL = "label"
    TOP = "top"
    ROUNDED = "rounded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a caller sees; ``number`` counts scores for ``TOP`` and decimals for ``ROUNDED``, else 0."""

    kind: Showing = Showing.FULL
    number: int = 0

    def __post_init__(self) -> None:
        least, most = {Showing.TOP: (1, TOP_MOST), Showing.ROUNDED: (0, DECIMALS_MOST)}.get(self.kind, (0, 0))
        if not least <= self.number <= most:
            raise _invalid(f"Outputs shown as {self.kind} cannot have the number {self.number}.")


EVERYTHING = Shown()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key that admits a caller: its public id and the SHA-256 of the secret.

    ``rate`` is the most requests in a second, ``quota`` the most in a day (UTC); 0 means no bound.
    """

    id: str
    digest: Digest
    rate: int = 0
    quota: int = 0
    shown: Shown = EVERYTHING

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= RATE_MOST or not 0 <= self.quota <= QUOTA_MOST:
            raise _invalid(f"API key {self.id} has an impossible rate or quota.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRef:
    """A release, and the digests of everything a worker must hold to prove and run it.

    ``resources`` maps the release's file names to the digests of their bytes; ``bundle`` is the
    digest of the signature bundle; ``statements`` those of the envelopes about ``root``.
    """

    root: Digest
    model: Name
    version: int
    resources: Mapping[str, Digest]
    bundle: Digest
    statements: tuple[Digest, ...]

    def __post_init__(self) -> None:
        if self.version < 1:
            raise _invalid(f"{self.model}@{self.version} is no version: versions begin at 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """A named share of the traffic, in thousandths, and the release that answers it."""

    name: Name
    release: ReleaseRef
    share: int

    def __post_init__(self) -> None:
        if not 1 <= self.share <= WHOLE:
            raise _invalid(f"{self.name} takes {self.share} thousandths of the traffic, which is no share.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPlan:
    """What answers one endpoint.

    The champion answers what no other release takes. ``previous`` stays warm, so that a rollback is
    one step. ``canary`` takes a share of the requests; ``arms`` take shares of the *subjects*, so that
    one subject always meets one release; there is a canary or there are arms, not both. ``shadow``
    sees copies and answers nobody; ``fallback`` answers where another release fails. ``stopped``
    answers nothing at all. ``rate`` is the most requests in a second over all callers, 0 for no bound.
    """

    endpoint: Name
    champion: ReleaseRef
    previous: ReleaseRef | None
    keys: tuple[ApiKey, ...]
    recording: Recording = Recording.DURABLE
    canary: Portion | None = None
    arms: tuple[Portion, ...] = ()
    shadow: ReleaseRef | None = None
    fallback: ReleaseRef | None = None
    stopped: bool = False
    rate: int = 0

    def __post_init__(self) -> None:
        if self.previous is not None and self.previous.root == self.champion.root:
            raise _invalid(f"Endpoint {self.endpoint} names one release as champion and as previous.")
        if len(self.keys) > KEYS_PER_ENDPOINT:
            raise _invalid(f"Endpoint {self.endpoint} has more than {KEYS_PER_ENDPOINT:,} keys.")
        if _repeats(key.id for key in self.keys) or _repeats(key.digest.hex for key in self.keys):
            raise _invalid(f"Endpoint {self.endpoint} names an API key twice.")
        if not 0 <= self.rate <= RATE_MOST:
            raise _invalid(f"Endpoint {self.endpoint} has an impossible rate.")
        self._check_shares()

    def _check_shares(self) -> None:
        if self.canary is not None and self.arms:
            raise _invalid(f"Endpoint {self.endpoint} has a canary and arms; it takes one or the other.")
        if len(self.arms) > ARMS or _repeats(arm.name for arm in self.arms):
            raise _invalid(f"Endpoint {self.endpoint} has more than {ARMS} arms, or two of one name.")
        portions = self.arms if self.canary is None else (self.canary,)
        if sum(portion.share for portion in portions) > WHOLE:
            raise _invalid(f"Endpoint {self.endpoint} gives away more than all of its traffic.")
        others = [*(portion.release for portion in portions), self.shadow, self.fallback]
        if any(other is not None and other.root == self.champion.root for other in others):
            raise _invalid(f"Endpoint {self.endpoint} names its champion in a second place.")

    def releases(self) -> tuple[ReleaseRef, ...]:
        """Every release that the endpoint names, the champion first; one in two places comes twice."""
        others = (self.previous, *self.answering()[1:], self.shadow)
        return (self.champion, *(other for other in others if other is not None))

    def answering(self) -> tuple[ReleaseRef, ...]:
        """The releases whose answers a caller may get: the champion, the canary or the arms, the fallback."""
        portions = self.arms if self.canary is None else (self.canary,)
        fallback = () if self.fallback is None else (self.fallback,)
        return (self.champion, *(each.release for each in portions), *fallback)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPlan:
    """All endpoints of a home at one moment. ``number`` rises by one with every change.

    After ``expires`` no worker takes the plan, and one that has it answers nothing; None (format 1)
    never expires.
    """

    number: int
    issued: Instant
    endpoints: tuple[EndpointPlan, ...]
    expires: Instant | None = None

    def __post_init__(self) -> None:
        if self.number < 1:
            raise _invalid(f"Plan number {self.number} is not possible: numbers begin at 1.")
        if self.expires is not None and self.expires <= self.issued:
            raise _invalid("The plan expires before it is issued.")
        if len(self.endpoints) > ENDPOINTS:
            raise _invalid(f"The plan has more than {ENDPOINTS:,} endpoints.")
        if _repeats(found.endpoint for found in self.endpoints):
            raise _invalid("The plan names an endpoint twice.")

    def endpoint(self, name: str) -> EndpointPlan | None:
        """The plan of the named endpoint, or None where there is none."""
        return next((found for found in self.endpoints if found.endpoint == name), None)


def _invalid(what: str) -> BadInput:
    return BadInput(_CODE, what)


def _repeats(texts: Iterable[str]) -> bool:
    found = tuple(texts)
    return len(set(found)) != len(found)


def _write_release(release: ReleaseRef) -> JsonObject:
    return {
        "bundle": release.bundle.hex,
        "model": release.model,
        "resources": {name: digest.hex for name, digest in release.resources.items()},
        "root": release.root.hex,
        "statements": [digest.hex for digest in release.statements],
        "version": release.version,
    }


def _write_portion(portion: Portion) -> JsonObject:
    return {"name": portion.name, "release": _write_release(portion.release), "share": portion.share}


def _write_key(key: ApiKey) -> JsonObject:
    return {
        "digest": key.digest.hex,
        "id": key.id,
        "quota": key.quota,
        "rate": key.rate,
        "shown": {"kind": key.shown.kind.value, "number": key.shown.number},
    }


def _written(release: ReleaseRef | None) -> JsonObject | None:
    return None if release is None else _write_release(release)


def _write_endpoint(plan: EndpointPlan) -> JsonObject:
    return {
        "arms": [_write_portion(arm) for arm in plan.arms],
        "canary": None if plan.canary is None else _write_portion(plan.canary),
        "champion": _write_release(plan.champion),
        "endpoint": plan.endpoint,
        "fallback": _written(plan.fallback),
        "keys": [_write_key(key) for key in plan.keys],
        "previous": _written(plan.previous),
        "rate": plan.rate,
        "recording": plan.recording.value,
        "shadow": _written(plan.shadow),
        "stopped": plan.stopped,
    }


def encode_plan(plan: TrafficPlan) -> bytes:
    """Canonical JSON of the plan, format 2. Raises BadInput for a plan too large for an envelope."""
    data = canonical.encode(
        {
            "endpoints": [_write_endpoint(found) for found in plan.endpoints],
            "expires": None if plan.expires is None else str(plan.expires),
            "format": PLAN_FORMAT,
            "issued": str(plan.issued),
            "number": plan.number,
        }
    )
    if len(data) > PAYLOAD_BYTES:
        raise BadInput(
            "deployments.plan-size",
            f"The plan would take {len(data):,} bytes; the limit is {PAYLOAD_BYTES:,}.",
            next="Withdraw endpoints or API keys that are no longer used.",
        )
    return data


def _read_release(found: Fields) -> ReleaseRef:
    found.exactly("bundle", "model", "resources", "root", "statements", "version")
    return ReleaseRef(
        root=found.digest("root"),
        model=found.name("model"),
        version=found.whole("version", least=1),
        resources=found.digests("resources"),
        bundle=found.digest("bundle"),
        statements=_read_digests(found, "statements"),
    )


def _read_digests(found: Fields, name: str) -> tuple[Digest, ...]:
    listed = found.value[name]
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise found.refuse(name, "a list of digests")
    return tuple(Digest(one) for one in listed)


def _read_key(found: Fields) -> ApiKey:
    found.exactly("digest", "id", "quota", "rate", "shown")
    shown = found.object("shown").exactly("kind", "number")
    return ApiKey(
        id=found.text("id"),
        digest=found.digest("digest"),
        rate=found.whole("rate", least=0),
        quota=found.whole("quota", least=0),
        shown=Shown(kind=_word(Showing, shown, "kind"), number=shown.whole("number", least=0)),
    )


Word = TypeVar("Word", bound=StrEnum)


def _word(kind: type[Word], found: Fields, name: str) -> Word:
    text = found.text(name)
    if text not in {str(each) for each in kind}:
        raise found.refuse(name, f"one of {', '.join(kind)}")
    return kind(text)


def _read_portion(found: Fields) -> Portion:
    found.exactly("name", "release", "share")
    return Portion(
        name=found.name("name"),
        release=_read_release(found.object("release")),
        share=found.whole("share", least=1),
    )


def _read_endpoint(found: Fields) -> EndpointPlan:
    found.exactly(
        "arms", "canary", "champion", "endpoint", "fallback", "keys", "previous", "rate", "recording",
        "shadow", "stopped",
    )  # fmt: skip
    stopped = found.value["stopped"]
    if not isinstance(stopped, bool):
        raise found.refuse("stopped", "true or false")
    return EndpointPlan(
        endpoint=found.name("endpoint"),
        champion=_read_release(found.object("champion")),
        previous=_optional(found, "previous"),
        keys=tuple(map(_read_key, found.objects("keys", least=0, most=KEYS_PER_ENDPOINT))),
        recording=_word(Recording, found, "recording"),
        canary=None if found.value["canary"] is None else _read_portion(found.object("canary")),
        arms=tuple(map(_read_portion, found.objects("arms", least=0, most=ARMS))),
        shadow=_optional(found, "shadow"),
        fallback=_optional(found, "fallback"),
        stopped=stopped,
        rate=found.whole("rate", least=0),
    )


def _optional(found: Fields, name: str) -> ReleaseRef | None:
    return None if found.value[name] is None else _read_release(found.object(name))


def _read_endpoint_1(found: Fields) -> EndpointPlan:
    """An endpoint of a plan of format 1; frozen."""
    found.exactly("champion", "endpoint", "keys", "previous", "recording").constant("recording", "durable")
    keys = found.objects("keys", least=0, most=KEYS_PER_ENDPOINT)
    return EndpointPlan(
        endpoint=found.name("endpoint"),
        champion=_read_release(found.object("champion")),
        previous=_optional(found, "previous"),
        keys=tuple(
            ApiKey(id=key.exactly("digest", "id").text("id"), digest=key.digest("digest")) for key in keys
        ),
    )


def decode_plan(data: bytes) -> TrafficPlan:
    """Read a plan strictly.

    Raises BadInput for bytes that :func:`encode_plan` would not write, or wrote in format 1; for a
    newer format, too.
    """
    found = Fields.read(canonical.decode(data), of="the plan", code=_CODE)
    format_ = found.value.get("format")
    if type(format_) is not int or not 1 <= format_ <= PLAN_FORMAT:
        raise BadInput(
            "deployments.plan-format",
            f"The plan has format {str(format_)[:40]}; this version reads up to {PLAN_FORMAT}.",
            next="Use the version of gatewright that wrote the plan, or a newer one.",
        )
    first = format_ == 1
    found.exactly("endpoints", *(() if first else ("expires",)), "format", "issued", "number")
    read = _read_endpoint_1 if first else _read_endpoint
    return TrafficPlan(
        number=found.whole("number", least=1),
        issued=found.instant("issued"),
        endpoints=tuple(map(read, found.objects("endpoints", least=0, most=ENDPOINTS))),
        expires=None if first or found.value["expires"] is None else found.instant("expires"),
    )


def read_plan(envelope: bytes, trust: TrustRoot) -> TrafficPlan:
    """Return the plan inside a DSSE envelope that *both* trusted release keys signed.

    Raises BadInput for bytes that are no envelope or no plan, and Tampered when the P-256 or the
    ML-DSA-65 signature is absent or does not hold, or when something else was signed.
    """
    signed = Envelope.decode(envelope)
    require(signed, trust.release_keys)
    plan = _opened(signed)
    if trust.expires is not None and plan.issued > trust.expires:
        raise Tampered(
            "deployments.plan-late",
            f"The plan was signed on {plan.issued}, after the keys that signed it expired on {trust.expires}.",
            why="What keys sign after their time does not count.",
            next="Its owner rotates the keys: gatewright key rotate release",
        )
    return plan


def read_past_plan(envelope: bytes, trust: TrustRoot) -> TrafficPlan:
    """The same of a plan that a record of the ledger names: signed by keys of now, or of the past.

    That of revoked keys is read, too: it is the record, under the signed head, that vouches for it.
    """
    signed = Envelope.decode(envelope)
    pairs = [pair.keys for pair in trust.release_pairs]
    found = set(verify(signed, [key for pair in pairs for key in pair]))
    require(signed, next((pair for pair in pairs if set(pair) <= found), trust.release_keys))
    return _opened(signed)


def _opened(signed: Envelope) -> TrafficPlan:
    if signed.payload_type != PLAN_TYPE:
        raise Tampered(
            "deployments.plan-type",
            f"The envelope holds {signed.payload_type[:80]!r}, not a traffic plan.",
            next="Run 'gatewright deploy' again to have the plan written anew.",
        )
    return decode_plan(signed.payload)
