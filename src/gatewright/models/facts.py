"""What an inspection found in a model, as plain values that cross a process border as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatewright.kernel import canonical
from gatewright.kernel.canonical import Json
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.models.signature import DataType, TensorSpec

FACTS_FORMAT = 1
_FIELDS = {
    "bytes", "digest", "graph", "inputs", "ir_version", "labels", "operators", "opsets", "outputs",
    "parameters", "producer", "v",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Facts read from ONNX bytes without running them.

    ``opsets`` maps domains to versions (the main domain is ``ai.onnx``); ``operators`` maps
    ``domain:operator`` to how often it occurs, nested graphs and functions included;
    ``parameters`` counts the numbers held in initialisers and constants; ``labels`` holds the class
    labels that the graph's classifier names, or nothing where it names none or several lists.
    """

    graph: str
    producer: str
    ir_version: int
    opsets: Mapping[str, int]
    operators: Mapping[str, int]
    parameters: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    bytes: int
    digest: Digest


def encode_facts(facts: ModelFacts) -> bytes:
    """Canonical JSON. Law: ``decode_facts(encode_facts(f)) == f``."""
    return canonical.encode(
        {
            "bytes": facts.bytes,
            "digest": facts.digest.hex,
            "graph": facts.graph,
            "inputs": [spec_to_json(spec) for spec in facts.inputs],
            "ir_version": facts.ir_version,
            "labels": list(facts.labels),
            "operators": dict(facts.operators),
            "opsets": dict(facts.opsets),
            "outputs": [spec_to_json(spec) for spec in facts.outputs],
            "parameters": facts.parameters,
            "producer": facts.producer,
            "v": FACTS_FORMAT,
        }
    )


def decode_facts(data: bytes) -> ModelFacts:
    """Read what :func:`encode_facts` wrote; raises :class:`BadInput` for anything else."""
    value = canonical.decode(data)
    if not isinstance(value, dict) or set(value) != _FIELDS or value["v"] != FACTS_FORMAT:
        raise BadInput("models.facts", "The bytes are not version 1 model facts.")
    try:
        facts = ModelFacts(
            graph=str(value["graph"]),
            producer=str(value["producer"]),
            ir_version=int(value["ir_version"]),
            opsets=_counts(value["opsets"]),
            operators=_counts(value["operators"]),
            parameters=int(value["parameters"]),
            inputs=tuple(spec_from_json(spec) for spec in value["inputs"]),
            outputs=tuple(spec_from_json(spec) for spec in value["outputs"]),
            labels=tuple(str(label) for label in value["labels"]),
            bytes=int(value["bytes"]),
            digest=Digest(value["digest"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        facts = None
    if facts is None or encode_facts(facts) != data:
        raise BadInput("models.facts", "A field of the model facts has the wrong type.")
    return facts


def _counts(value: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(count) for name, count in value.items()}


def spec_to_json(spec: TensorSpec) -> Mapping[str, Json]:
    """A tensor specification as JSON."""
    return {
        "columns": list(spec.columns),
        "datatype": spec.datatype.value,
        "name": spec.name,
        "shape": list(spec.shape),
    }


def spec_from_json(value: Mapping[str, Any]) -> TensorSpec:
    """The specification that :func:`spec_to_json` wrote; raises KeyError, TypeError or ValueError."""
    if set(value) != {"columns", "datatype", "name", "shape"}:
        raise KeyError("tensor")
    return TensorSpec(
        name=str(value["name"]),
        datatype=DataType(value["datatype"]),
        shape=tuple(int(size) for size in value["shape"]),
        columns=tuple(str(column) for column in value["columns"]),
    )
