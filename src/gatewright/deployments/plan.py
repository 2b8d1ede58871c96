"""The traffic plan: which release answers which endpoint, and who may call it.

A plan is read by workers that have nothing but the bytes and the public keys they trust, so
everything a worker needs to check is in it. Laws: ``decode_plan(encode_plan(p)) == p``;
``encode_plan(decode_plan(b)) == b`` for every ``b`` that ``decode_plan`` takes; a plan that
exists has distinct endpoint names, and never names one release as its own predecessor.

Not here: how a plan changes (``deployment.py``), where it is kept, and secrets: an API key is
known by its digest only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.releases.envelope import PAYLOAD_BYTES, Envelope, require
from gatewright.releases.fields import Fields
from gatewright.releases.trust import TrustRoot

PLAN_FORMAT = 1
PLAN_FILE_BYTES = 16 * 2**20
"""Most bytes of a published plan, its envelope included."""
PLAN_TYPE = "application/vnd.gatewright.traffic-plan.v1+json"
ENDPOINTS = 1_000
KEYS_PER_ENDPOINT = 1_000

_CODE = "deployments.plan"


class Recording(StrEnum):
    """When a prediction is recorded: ``DURABLE`` means on disk before the answer leaves.

    Asynchronous recording has no word here yet: a plan that asks for it is refused until a policy
    can allow it.
    """

    DURABLE = "durable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key that admits a caller: its public id and the SHA-256 of the secret."""

    id: str
    digest: Digest


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
class EndpointPlan:
    """What answers one endpoint. ``previous`` stays warm, so that a rollback is one step."""

    endpoint: Name
    champion: ReleaseRef
    previous: ReleaseRef | None
    keys: tuple[ApiKey, ...]
    recording: Recording = Recording.DURABLE

    def __post_init__(self) -> None:
        if self.previous is not None and self.previous.root == self.champion.root:
            raise _invalid(f"Endpoint {self.endpoint} names one release as champion and as previous.")
        if len(self.keys) > KEYS_PER_ENDPOINT:
            raise _invalid(f"Endpoint {self.endpoint} has more than {KEYS_PER_ENDPOINT:,} keys.")
        if _repeats(key.id for key in self.keys) or _repeats(key.digest.hex for key in self.keys):
            raise _invalid(f"Endpoint {self.endpoint} names an API key twice.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPlan:
    """All endpoints of a home at one moment. ``number`` rises by one with every change."""

    number: int
    issued: Instant
    endpoints: tuple[EndpointPlan, ...]

    def __post_init__(self) -> None:
        if self.number < 1:
            raise _invalid(f"Plan number {self.number} is not possible: numbers begin at 1.")
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


def _write_endpoint(plan: EndpointPlan) -> JsonObject:
    return {
        "champion": _write_release(plan.champion),
        "endpoint": plan.endpoint,
        "keys": [{"digest": key.digest.hex, "id": key.id} for key in plan.keys],
        "previous": None if plan.previous is None else _write_release(plan.previous),
        "recording": plan.recording.value,
    }


def encode_plan(plan: TrafficPlan) -> bytes:
    """Canonical JSON of the plan, format 1. Raises BadInput for a plan too large for an envelope."""
    data = canonical.encode(
        {
            "endpoints": [_write_endpoint(found) for found in plan.endpoints],
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
    return ApiKey(id=found.exactly("digest", "id").text("id"), digest=found.digest("digest"))


def _read_recording(found: Fields) -> Recording:
    word = found.text("recording")
    if word != Recording.DURABLE:
        raise BadInput(
            "deployments.recording",
            f"The plan asks for {word[:40]!r} recording.",
            why="Only durable recording exists: the record is on disk before the answer leaves.",
        )
    return Recording.DURABLE


def _read_endpoint(found: Fields) -> EndpointPlan:
    found.exactly("champion", "endpoint", "keys", "previous", "recording")
    return EndpointPlan(
        endpoint=found.name("endpoint"),
        champion=_read_release(found.object("champion")),
        previous=None if found.value["previous"] is None else _read_release(found.object("previous")),
        keys=tuple(map(_read_key, found.objects("keys", least=0, most=KEYS_PER_ENDPOINT))),
        recording=_read_recording(found),
    )


def decode_plan(data: bytes) -> TrafficPlan:
    """Read a plan strictly.

    Raises BadInput for bytes that :func:`encode_plan` would not write, a newer format included.
    """
    found = Fields.read(canonical.decode(data), of="the plan", code=_CODE)
    if found.value.get("format") != PLAN_FORMAT:
        raise BadInput(
            "deployments.plan-format",
            f"The plan has format {str(found.value.get('format'))[:40]}; this version reads {PLAN_FORMAT}.",
            next="Use the version of gatewright that wrote the plan, or a newer one.",
        )
    found.exactly("endpoints", "format", "issued", "number").constant("format", PLAN_FORMAT)
    return TrafficPlan(
        number=found.whole("number", least=1),
        issued=found.instant("issued"),
        endpoints=tuple(map(_read_endpoint, found.objects("endpoints", least=0, most=ENDPOINTS))),
    )


def read_plan(envelope: bytes, trust: TrustRoot) -> TrafficPlan:
    """Return the plan inside a DSSE envelope that *both* trusted release keys signed.

    Raises BadInput for bytes that are no envelope or no plan, and Tampered when the P-256 or the
    ML-DSA-65 signature is absent or does not hold, or when something else was signed.
    """
    signed = Envelope.decode(envelope)
    require(signed, trust.release_keys)
    if signed.payload_type != PLAN_TYPE:
        raise Tampered(
            "deployments.plan-type",
            f"The envelope holds {signed.payload_type[:80]!r}, not a traffic plan.",
            next="Run 'gatewright deploy' again to have the plan written anew.",
        )
    return decode_plan(signed.payload)
