"""The bill of materials of a release: CycloneDX 1.6 with a model card, from values that are known.

What the owner did not state is named as not stated; nothing is filled in for them. Every number of the
model card is a number of the report, written as the report writes it.

Law: the same values give the same bytes: the serial number follows from the root, the time is that of
the release.

Source: CycloneDX 1.6 JSON (ECMA-424), with the machine-learning model card and data components.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gatewright.checks.finding import EXACT, Finding, Metric, Outcome
from gatewright.checks.package_urls import distribution_url, model_url, normalised
from gatewright.checks.report import Report
from gatewright.datasets.datasheet import NOT_STATED, Datasheet
from gatewright.kernel import canonical
from gatewright.kernel.canonical import Json, JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.models.facts import ModelFacts
from gatewright.models.signature import ModelSignature, TensorSpec
from gatewright.releases.bom_claim import PRODUCT, SPEC, UNSTATED, serial_number

METRICS = 1_000
METRICS_BYTES = 200_000
"""Most metrics of a model card, and most bytes of them; those over all rows come first, the rest is counted."""
GROUPS = 100
"""Most sensitive columns that the considerations name."""
DISTRIBUTIONS = 600
"""Most distributions; beyond, those that the product does not ask for are left out and counted."""
LONG_TEXT = 1_000
SHORT_TEXT = 200

FAMILIES = {
    "TreeEnsembleClassifier": "tree ensemble",
    "TreeEnsembleRegressor": "tree ensemble",
    "TreeEnsemble": "tree ensemble",
    "LinearClassifier": "linear model",
    "LinearRegressor": "linear model",
    "SVMClassifier": "support vector machine",
    "SVMRegressor": "support vector machine",
    "Conv": "convolutional neural network",
    "LSTM": "recurrent neural network",
    "GRU": "recurrent neural network",
    "RNN": "recurrent neural network",
    "Attention": "transformer network",
}
"""Families that one operator gives away; a family that none does is not guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """An installed distribution. ``licence`` is an SPDX expression, or with ``spdx`` false a free text.

    ``requires`` are the normalised names of what it asks for and what is installed too.
    """

    name: str
    version: str
    licence: str = ""
    spdx: bool = False
    requires: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Its package URL."""
        return distribution_url(self.name, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """Everything that a release is made of.

    ``splits`` maps ``train``, ``test`` (and ``trained-on``, ``recipe``) to digests, ``rows`` the first
    two to how many they have; ``origin`` is what another system said of the model, by name.
    """

    home: str
    root: Digest
    created: Instant
    name: str
    version: int
    tier: str
    model: Digest
    facts: ModelFacts
    signature: ModelSignature
    dataset: str
    dataset_version: int
    target: str
    splits: Mapping[str, Digest]
    rows: Mapping[str, int]
    sensitive: tuple[str, ...]
    datasheet: Datasheet
    report: Report
    report_digest: Digest
    software: tuple[Distribution, ...]
    parent: Digest | None = None
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The model's package URL."""
        return model_url(self.name, self.version, self.model)

    @property
    def data(self) -> str:
        """How the dataset is called inside the bill."""
        return f"dataset:{self.dataset}@{self.dataset_version}"


def bill(of: Materials) -> JsonObject:
    """The bill of materials, as the document that CycloneDX describes."""
    software, left_out = _listed(of.software)
    properties = [
        ("gatewright:release", of.root.hex),
        ("gatewright:tier", of.tier),
        *([("gatewright:parent", of.parent.hex)] if of.parent else []),
        *([("gatewright:distributions-left-out", str(left_out))] if left_out else []),
    ]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": serial_number(of.root),
        "version": 1,
        "metadata": {
            "timestamp": str(of.created),
            "lifecycles": [{"phase": "post-build"}],
            "tools": {"components": [_product(of.software)]},
            "component": _model(of),
            "properties": _properties(properties),
        },
        "components": [_dataset(of), *(_distribution(each) for each in software)],
        "dependencies": _dependencies(of, software),
    }


def encode_bill(document: JsonObject) -> bytes:
    """The bytes of ``bom.cdx.json``: canonical JSON, so that one bill has one digest."""
    return canonical.encode(document)


def _properties(pairs: Iterable[tuple[str, str]]) -> list[Json]:
    return [{"name": name, "value": value[:LONG_TEXT]} for name, value in pairs]


def _hashes(digest: Digest) -> list[Json]:
    return [{"alg": "SHA-256", "content": digest.hex}]


def _product(software: Sequence[Distribution]) -> JsonObject:
    version = next((each.version for each in software if normalised(each.name) == PRODUCT), "")
    return {"type": "application", "name": PRODUCT, "version": version}


# ---- the model and its card ----------------------------------------------------------------------


def _model(of: Materials) -> JsonObject:
    said = [(f"gatewright:origin:{name}"[:SHORT_TEXT], value) for name, value in sorted(of.origin.items())]
    facts = of.facts
    return {
        "type": "machine-learning-model",
        "bom-ref": of.url,
        "name": of.name,
        "version": str(of.version),
        "purl": of.url,
        "mime-type": "application/octet-stream",
        "description": f"{of.signature.task.value} of {of.target} in {of.dataset}"[:SHORT_TEXT],
        "hashes": _hashes(of.model),
        "externalReferences": [
            {
                "type": "quality-metrics",
                "url": "release/report.json",
                "hashes": _hashes(of.report_digest),
                "comment": "the report whose numbers the model card shows",
            }
        ],
        "modelCard": _card(of),
        "properties": _properties(
            [
                ("gatewright:bytes", str(facts.bytes)),
                ("gatewright:parameters", str(facts.parameters)),
                ("gatewright:producer", facts.producer or NOT_STATED),
                *(
                    (f"gatewright:opset:{domain}", str(number))
                    for domain, number in sorted(facts.opsets.items())
                ),
                *(
                    (f"gatewright:{name}", of.splits[name].hex)
                    for name in ("trained-on", "recipe")
                    if name in of.splits
                ),
                *said,
            ]
        ),
    }


def _card(of: Materials) -> JsonObject:
    metrics, left_out = card_metrics(of.report)
    methods = {
        (f"{finding.check}/{metric.name}", metric.method, metric.confidence)
        for finding in of.report.findings
        for metric in finding.metrics
        if metric.method != EXACT
    }
    told = [
        (f"gatewright:interval:{name}", f"{method}, {level:g}") for name, method, level in sorted(methods)
    ]
    if left_out:
        told.append(("gatewright:metrics-left-out", str(left_out)))
    return {
        "bom-ref": f"model-card:{of.name}@{of.version}",
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": of.signature.task.value,
            **_architecture(of.facts),
            "datasets": [{"ref": f"{of.data}/{split}"} for split in ("train", "test") if split in of.splits],
            "inputs": [{"format": _tensor(each)} for each in of.signature.inputs],
            "outputs": [{"format": _tensor(each)} for each in of.signature.outputs],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": _considerations(of),
        "properties": _properties(told),
    }


def _architecture(facts: ModelFacts) -> dict[str, Json]:
    operators = sorted(facts.operators)
    families = dict.fromkeys(
        FAMILIES[name] for each in operators if (name := each.rpartition(":")[2]) in FAMILIES
    )
    counted = ", ".join(f"{each.rpartition(':')[2]} ({facts.operators[each]})" for each in operators)
    found: dict[str, Json] = {"modelArchitecture": f"ONNX graph of {counted}"[:LONG_TEXT]}
    if families:
        found["architectureFamily"] = ", ".join(families)
    return found


def _tensor(spec: TensorSpec) -> str:
    shape = ", ".join("any" if size < 0 else str(size) for size in spec.shape)
    of = f" of {', '.join(spec.columns)}" if spec.columns else ""
    return f"{spec.name}: {spec.datatype.value} [{shape}]{of}"[:LONG_TEXT]


def number(value: float) -> str:
    """A number as the report writes it."""
    return canonical.encode(value).decode()


def card_metrics(report: Report) -> tuple[list[Json], int]:
    """The metrics of a model card, and how many of the report are left out beyond the limits.

    ``type`` is the check and the metric; ``value`` and the interval are the report's own numbers.
    """
    named = [(finding.check, metric) for finding in report.findings for metric in finding.metrics]
    ordered = sorted(named, key=lambda each: bool(each[1].slice))
    shown: list[Json] = []
    size = 0
    for check, metric in ordered[:METRICS]:
        one = _metric(check, metric)
        size += len(canonical.encode(one))
        if size > METRICS_BYTES:
            break
        shown.append(one)
    return shown, len(ordered) - len(shown)


def _metric(check: str, metric: Metric) -> JsonObject:
    unit = f" ({metric.unit})" if metric.unit else ""
    found: dict[str, Json] = {"type": f"{check}/{metric.name}{unit}", "value": number(metric.value)}
    if metric.slice:
        found["slice"] = metric.slice
    if metric.method != EXACT:
        found["confidenceInterval"] = {"lowerBound": number(metric.low), "upperBound": number(metric.high)}
    return found


def _considerations(of: Materials) -> JsonObject:
    limits = [
        f"{finding.check} {finding.outcome.value}: {finding.reason or finding.summary}"[:LONG_TEXT]
        for finding in of.report.findings
        if finding.outcome not in (Outcome.PASSED, Outcome.SKIPPED)
    ]
    found: dict[str, Json] = {"useCases": list(of.datasheet.allowed_uses)}
    found["technicalLimitations"] = limits
    found["fairnessAssessments"] = [
        {"groupAtRisk": column, "harms": _harms(finding, column)}
        for finding in of.report.findings
        if finding.check.startswith("fairness.") and finding.outcome is not Outcome.SKIPPED
        for column in of.sensitive[:GROUPS]
    ]
    found["ethicalConsiderations"] = [
        {"name": f"The column {column} describes a protected group or a person."}
        for column in of.sensitive[:GROUPS]
    ]
    return {name: value for name, value in found.items() if value}


def _harms(finding: Finding, column: str) -> str:
    numbers = sum(metric.slice.startswith(f"{column}=") for metric in finding.metrics)
    told = f"; {numbers} numbers of {column} stand among the metrics" if numbers else ""
    return f"{finding.check} {finding.outcome.value}: {finding.summary}{told}"[:SHORT_TEXT]


# ---- the data ------------------------------------------------------------------------------------


def _dataset(of: Materials) -> JsonObject:
    sheet = of.datasheet
    stated = {
        "origin": sheet.origin,
        "legal-basis": sheet.legal_basis,
        "retention": sheet.retention,
        "allowed-uses": "; ".join(sheet.allowed_uses) or NOT_STATED,
    }
    unstated = ", ".join(sheet.unstated())
    return {
        "type": "data",
        "bom-ref": of.data,
        "name": of.dataset,
        "version": str(of.dataset_version),
        "description": (sheet.title if sheet.description == NOT_STATED else sheet.description)[:LONG_TEXT],
        **_licences(sheet.licence if sheet.licence != NOT_STATED else "", spdx=True),
        "components": [_split(of, split) for split in ("train", "test") if split in of.splits],
        "properties": _properties(
            [
                *((f"gatewright:datasheet:{name}", value) for name, value in stated.items()),
                ("gatewright:datasheet:licence", sheet.licence),
                *([(UNSTATED, unstated)] if unstated else []),
                ("gatewright:target", of.target),
            ]
        ),
    }


def _split(of: Materials, split: str) -> JsonObject:
    digest = of.splits[split]
    classification = "describes protected groups or persons" if of.sensitive else "no sensitive column stated"
    return {
        "type": "data",
        "bom-ref": f"{of.data}/{split}",
        "name": f"{of.dataset}/{split}",
        "version": str(of.dataset_version),
        "hashes": _hashes(digest),
        "data": [
            {
                "type": "dataset",
                "name": split,
                "contents": {
                    "properties": _properties(
                        [("gatewright:rows", str(of.rows.get(split, 0))), ("gatewright:sha256", digest.hex)]
                    )
                },
                "classification": classification,
                "sensitiveData": list(of.sensitive),
                "governance": {"custodians": [{"organization": {"name": of.home}}]},
            }
        ],
    }


# ---- the software --------------------------------------------------------------------------------


def _licences(licence: str, *, spdx: bool) -> dict[str, Json]:
    if not licence:
        return {}
    one: JsonObject = {"expression": licence} if spdx else {"license": {"name": licence[:SHORT_TEXT]}}
    return {"licenses": [one]}


def _distribution(of: Distribution) -> JsonObject:
    return {
        "type": "library",
        "bom-ref": of.url,
        "name": of.name,
        "version": of.version,
        "purl": of.url,
        **_licences(of.licence, spdx=of.spdx),
    }


def _listed(software: Sequence[Distribution]) -> tuple[tuple[Distribution, ...], int]:
    """All of them by name, or, where they are too many, what the product asks for first."""
    ordered = sorted(software, key=lambda each: (normalised(each.name), each.version))
    if len(ordered) <= DISTRIBUTIONS:
        return tuple(ordered), 0
    needed = closure(ordered, PRODUCT)
    first = sorted(ordered, key=lambda each: normalised(each.name) not in needed)[:DISTRIBUTIONS]
    kept = tuple(each for each in ordered if each in first)
    return kept, len(ordered) - len(kept)


def closure(software: Sequence[Distribution], name: str) -> frozenset[str]:
    """The normalised names of a distribution and all that it asks for, directly or through others."""
    by_name = {normalised(each.name): each for each in software}
    found: set[str] = set()
    ahead = [normalised(name)]
    while ahead:
        one = ahead.pop()
        if one in by_name and one not in found:
            found.add(one)
            ahead += by_name[one].requires
    return frozenset(found)


def _dependencies(of: Materials, software: Sequence[Distribution]) -> list[Json]:
    by_name = {normalised(each.name): each.url for each in software}
    splits = [f"{of.data}/{split}" for split in ("train", "test") if split in of.splits]
    runs = [by_name[PRODUCT]] if PRODUCT in by_name else []
    graph: list[Json] = [
        {"ref": of.url, "dependsOn": [of.data, *runs]},
        {"ref": of.data, "dependsOn": splits},
    ]
    for each in software:
        needs = sorted({by_name[name] for name in each.requires if name in by_name} - {each.url})
        graph.append({"ref": each.url, "dependsOn": needs} if needs else {"ref": each.url})
    return graph
