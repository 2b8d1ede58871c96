"""The bill of materials as a claim about a root, and the fields that every bill must have.

The statement's predicate is the CycloneDX document itself, so other programs find in it what they know.

Law: a bill that lacks a required field can be neither made nor read.

Source: in-toto attestation, predicate ``https://cyclonedx.org/bom``; CycloneDX 1.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.releases.fields import Fields
from gatewright.releases.in_toto import RELEASE_SUBJECT, Statement, about

BILL_OF_MATERIALS = "https://cyclonedx.org/bom"
SPEC = "1.6"
PRODUCT = "gatewright"
UNSTATED = "gatewright:datasheet:unstated"

_CARD = "metadata.component.modelCard"
REQUIRED: Mapping[str, str] = {
    "serialNumber": "make the release anew",
    "metadata.timestamp": "make the release anew",
    "metadata.tools.components.version": "install gatewright with pip, so that its version is known",
    "metadata.component.name": "add the model with --name",
    "metadata.component.version": "add the model again",
    "metadata.component.hashes.content": "add the model again",
    f"{_CARD}.modelParameters.task": "add the model again, on a dataset with a target",
    f"{_CARD}.modelParameters.modelArchitecture": "add the model again",
    f"{_CARD}.modelParameters.datasets.ref": "add the dataset with its train and test rows",
    f"{_CARD}.modelParameters.inputs.format": "add the model again: its inputs have no names",
    f"{_CARD}.modelParameters.outputs.format": "add the model again: its outputs have no names",
    f"{_CARD}.quantitativeAnalysis.performanceMetrics.value": "check the model: its report measures nothing",
    "components.name": "add the dataset again, and install gatewright with pip",
    "components.version": "install every distribution with a version",
    "dependencies.ref": "make the release anew",
}
"""Each field that must be there and not empty, and what to do where it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillOfMaterials:
    """What the release ``root`` is made of, as a CycloneDX document."""

    root: Digest
    document: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A required field that a bill lacks, and what to do about it."""

    field: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field} is missing: {self.remedy}"


def serial_number(root: Digest) -> str:
    """A UUID that follows from the root (RFC 9562, version 8)."""
    text = Digest.of(b"gatewright bill of materials\n" + root.raw).hex
    variant = "89ab"[int(text[16], 16) % 4]
    return f"urn:uuid:{text[:8]}-{text[8:12]}-8{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def missing(document: JsonObject) -> tuple[Missing, ...]:
    """The required fields that a bill lacks; of a list every entry must have the field."""
    lacking = [
        Missing(field=name, remedy=todo) for name, todo in REQUIRED.items() if not _held(document, name)
    ]
    kinds = [each.get("type") for each in _objects(document.get("components"))]
    if "data" not in kinds:
        lacking.append(Missing(field="components of type data", remedy="add the dataset again"))
    if PRODUCT not in [each.get("name") for each in _objects(document.get("components"))]:
        lacking.append(Missing(field="the environment's distributions", remedy="install gatewright with pip"))
    for each in _objects(document.get("components")):
        name = str(each.get("name"))[:80]
        if each.get("type") == "library" and not each.get("purl"):
            lacking.append(Missing(field=f"purl of {name}", remedy="install it with pip"))
        lacking += [
            Missing(field=f"digest of {split.get('name')}", remedy="add the dataset again")
            for split in _objects(each.get("components"))
            if not _held(split, "hashes.content")
        ]
    return tuple(lacking)


def unstated(document: JsonObject) -> tuple[str, ...]:
    """What the datasheet of the bill's dataset does not state."""
    found = [
        str(one.get("value"))
        for each in _objects(document.get("components"))
        for one in _objects(each.get("properties"))
        if one.get("name") == UNSTATED
    ]
    return tuple(question for text in found for question in text.split(", "))


def _objects(value: object) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def _held(value: object, path: str) -> bool:
    """Whether there is something at the end of a path, in every entry of each list on the way."""
    if isinstance(value, list | tuple):
        return bool(value) and all(_held(each, path) for each in value)
    if not path:
        return value not in (None, "", {}, [])
    name, _, rest = path.partition(".")
    return isinstance(value, Mapping) and _held(value.get(name), rest)


def bill_statement(claim: BillOfMaterials) -> Statement:
    """The in-toto form of a bill: its document is the predicate."""
    return about(claim.root, BILL_OF_MATERIALS, claim.document)


def _bill(statement: Statement, fields: Fields) -> BillOfMaterials:
    """The claim of a statement; raises BadInput for another format and for a missing field."""
    root = statement.subject(RELEASE_SUBJECT)
    fields.constant("bomFormat", "CycloneDX")
    fields.constant("specVersion", SPEC)
    fields.constant("serialNumber", serial_number(root))
    for lacking in missing(fields.value):
        raise fields.refuse(lacking.field, "there")
    return BillOfMaterials(root=root, document=fields.value)


READERS: Mapping[str, Callable[[Statement, Fields], BillOfMaterials]] = {BILL_OF_MATERIALS: _bill}
"""How the statements of this module are read."""
