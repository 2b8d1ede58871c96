"""The bill as a statement about a root: signed as it is, and never without a required field."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.releases.bom import bill, encode_bill
from gatewright.releases.bom_claim import REQUIRED, BillOfMaterials, missing, serial_number, unstated
from gatewright.releases.statement import decode_claim, encode_claim
from unit.releases.materials import MATERIALS, ROOT

DOCUMENT: Any = canonical.decode(encode_bill(bill(MATERIALS)))


def test_a_bill_is_its_statements_predicate() -> None:
    """The statement's predicate is the document itself, of the type that other tools know."""
    claim = BillOfMaterials(root=ROOT, document=DOCUMENT)
    payload = encode_claim(claim)
    statement: Any = canonical.decode(payload)
    assert ("https://cyclonedx.org/bom", DOCUMENT) == (statement["predicateType"], statement["predicate"])
    assert ROOT.hex == statement["subject"][0]["digest"]["sha256"]
    assert claim == decode_claim(payload)


def _without(path: str) -> Any:
    """The document without a field, in every entry of the lists on the way."""
    found = copy.deepcopy(DOCUMENT)
    heads: list[Any] = [found]
    *way, last = path.split(".")
    for name in way:
        inner = [each[name] for each in heads if name in each]
        heads = [one for each in inner for one in (each if isinstance(each, list) else [each])]
    for each in heads:
        each.pop(last, None)
    return found


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_named_with_what_to_do(field: str) -> None:
    """Without it the bill is not complete, and a statement of it is not read."""
    document = _without(field)
    assert (field, REQUIRED[field]) in [(each.field, each.remedy) for each in missing(document)]
    with pytest.raises(BadInput):
        decode_claim(encode_claim(BillOfMaterials(root=ROOT, document=document)))


@pytest.mark.parametrize("empty", ["", [], None])
def test_an_empty_field_is_a_missing_one(empty: object) -> None:
    """An empty text or list says nothing."""
    document = copy.deepcopy(DOCUMENT)
    document["metadata"]["component"]["modelCard"]["modelParameters"]["inputs"] = empty
    assert ["metadata.component.modelCard.modelParameters.inputs.format"] == [
        each.field for each in missing(document)
    ]


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        (lambda each: each["type"] != "data", "components of type data"),
        (lambda each: each["name"] != "gatewright", "the environment's distributions"),
    ],
)
def test_a_missing_component_is_named(kept: Any, named: str) -> None:
    """There is a dataset, and there is the software that made the release."""
    document = {**DOCUMENT, "components": [each for each in DOCUMENT["components"] if kept(each)]}
    assert [named] == [each.field for each in missing(document)]


def test_a_distribution_without_a_name_to_look_up_and_a_split_without_a_digest_are_named() -> None:
    """Every library has a package URL, every split a digest."""
    document = copy.deepcopy(DOCUMENT)
    del document["components"][1]["purl"]
    del document["components"][0]["components"][0]["hashes"]
    assert ["digest of loans/train", "purl of gatewright"] == [each.field for each in missing(document)]


@pytest.mark.parametrize(
    ("field", "value"),
    [("bomFormat", "SPDX"), ("specVersion", "1.5"), ("serialNumber", serial_number(Digest.of(b"x")))],
)
def test_another_format_and_another_roots_bill_are_refused(field: str, value: str) -> None:
    """The serial number follows from the root; no bill can be moved to another one."""
    with pytest.raises(BadInput, match=field):
        decode_claim(encode_claim(BillOfMaterials(root=ROOT, document={**DOCUMENT, field: value})))


def test_what_the_datasheet_leaves_open_can_be_asked_for() -> None:
    """The questions without an answer are told by their names."""
    assert ("description", "origin", "legal basis", "retention") == unstated(DOCUMENT)
    assert () == unstated({"components": [7, {"properties": "x"}]})
    assert () != missing({})
