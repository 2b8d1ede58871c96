"""``release.json``: what a release says of itself, and the names of the files it is made of.

Law: ``ReleaseManifest.decode(m.encode()) == m``. Format 1; unknown fields are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.kernel.instants import Instant
from gatewright.releases.fields import Fields

MANIFEST_FORMAT = 1
MANIFEST_BYTES = 1_048_576

MODEL = "model.onnx"
SIGNATURE = "signature.json"
REPORT = "report.json"
VERDICT = "verdict.json"
POLICY = "policy.toml"
MANIFEST = "release.json"
RESOURCES = (MODEL, POLICY, MANIFEST, REPORT, SIGNATURE, VERDICT)
"""The names of all resources, in code point order."""

_CODE = "releases.manifest"
_FIELDS = (
    "created",
    "data",
    "dataset",
    "format",
    "model",
    "name",
    "parent",
    "processing",
    "thresholds",
    "tier",
    "trained-on",
    "version",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseManifest:
    """Which model version this is, what it was tried on, and where it comes from.

    ``name`` and ``version`` name the model version; ``model`` is the digest of its exact bytes.
    ``data`` maps split names (train, test) to the digests of the exact files; ``trained_on`` is the
    digest of the declared training rows, None where none were declared. ``parent`` is the root of
    the release this one descends from. ``thresholds`` maps class or output names to decision
    limits. No processing step exists in format 1: ``processing`` is written with its two empty
    stages, and a manifest that names a step is refused, because nothing here could run it.
    """

    name: str
    version: int
    tier: str
    model: Digest
    dataset: str
    data: Mapping[str, Digest]
    trained_on: Digest | None
    created: Instant
    parent: Digest | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    format: int = MANIFEST_FORMAT

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical.encode(
            {
                "created": str(self.created),
                "data": {name: digest.hex for name, digest in self.data.items()},
                "dataset": self.dataset,
                "format": self.format,
                "model": self.model.hex,
                "name": self.name,
                "parent": self.parent.hex if self.parent else "",
                "processing": {"post": {}, "pre": {}},
                "thresholds": dict(self.thresholds),
                "tier": self.tier,
                "trained-on": self.trained_on.hex if self.trained_on else "",
                "version": self.version,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> ReleaseManifest:
        """Read a manifest; raises BadInput for anything that :meth:`encode` would not write."""
        if len(data) > MANIFEST_BYTES:
            raise BadInput("releases.manifest-too-large", f"{MANIFEST} takes {len(data):,} bytes.")
        fields = Fields.read(canonical.decode(data), of=MANIFEST, code=_CODE)
        if isinstance(fields.value.get("format"), int) and fields.value["format"] > MANIFEST_FORMAT:
            raise BadInput(
                "releases.manifest-format",
                f"{MANIFEST} has format {fields.value['format']}; this version reads {MANIFEST_FORMAT}.",
                next="Use the version of gatewright that wrote it.",
                place="format",
            )
        fields.exactly(*_FIELDS).constant("format", MANIFEST_FORMAT)
        _no_processing(fields.object("processing").exactly("post", "pre"))
        return cls(
            name=fields.name("name"),
            version=fields.whole("version", least=1),
            tier=fields.name("tier"),
            model=fields.digest("model"),
            dataset=fields.name("dataset"),
            data=fields.digests("data"),
            trained_on=fields.digest_or_none("trained-on"),
            created=fields.instant("created"),
            parent=fields.digest_or_none("parent"),
            thresholds=_thresholds(fields.object("thresholds")),
        )


def _no_processing(stages: Fields) -> None:
    for stage in ("pre", "post"):
        stages.object(stage).exactly()


def _thresholds(fields: Fields) -> dict[str, float]:
    for name, value in fields.value.items():
        if type(value) not in (int, float) or not math.isfinite(value):
            raise fields.refuse(name, "a number")
    return {name: float(value) for name, value in fields.value.items()}
