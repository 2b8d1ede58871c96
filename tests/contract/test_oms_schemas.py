"""The published schemas of OpenSSF Model Signing v1.0 judge our bundles; its vectors, our reader."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]
from referencing import Registry, Resource

from gatewright.kernel.errors import BadInput
from gatewright.releases.bundle import decode_bundle, decode_payload
from unit.releases.workshop import made

HERE = Path(__file__).parent
PARTS = ("bundle", "envelope", "statement", "predicate")
SCHEMAS: dict[str, dict[str, Any]] = {
    part: json.loads((HERE / "oms_schemas" / f"{part}.schema.json").read_text("utf-8")) for part in PARTS
}
REGISTRY: Registry[Any] = Registry().with_resources(
    [(schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()]
)
VECTORS = {
    path.name.removesuffix(".bundle.json"): path for path in (HERE / "oms_vectors").glob("*.bundle.json")
}


def parts(bundle: bytes) -> dict[str, Any]:
    """A bundle taken apart as the four schemas see it."""
    whole = json.loads(bundle)
    statement = json.loads(base64.b64decode(whole["dsseEnvelope"]["payload"]))
    return {
        "bundle": whole,
        "envelope": whole["dsseEnvelope"],
        "statement": statement,
        "predicate": statement["predicate"],
    }


def judge(part: str, value: object) -> None:
    """Raise ValidationError where a schema refuses a value."""
    Draft202012Validator(SCHEMAS[part], registry=REGISTRY).validate(value)


@pytest.mark.parametrize("part", PARTS)
def test_our_bundles_are_valid(part: str) -> None:
    """Bundle, envelope, statement and predicate of a release of ours pass the published schemas."""
    judge(part, parts(made().bundle)[part])


@pytest.mark.parametrize(
    ("part", "path", "value"),
    [
        ("bundle", ("mediaType",), "application/json"),
        ("bundle", ("verificationMaterial",), {}),
        ("envelope", ("payloadType",), "application/json"),
        ("envelope", ("signatures",), []),
        ("statement", ("predicateType",), "urn:x"),
        ("statement", ("subject",), []),
        ("predicate", ("serialization", "hash_type"), "md5"),
        ("predicate", ("resources", 0, "digest"), "XYZ"),
    ],
)
def test_the_schemas_bite(part: str, path: tuple[str | int, ...], value: object) -> None:
    """The same bundle with one value changed is refused: the schemas were really asked."""
    document = parts(made().bundle)[part]
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(ValidationError):
        judge(part, document)


def test_every_vector_is_here() -> None:
    """One valid vector for each way of signing, and four invalid ones."""
    assert 3 == sum(name.startswith("valid-") for name in VECTORS)
    assert 4 == sum(name.startswith("invalid") for name in VECTORS)


def test_we_read_the_vector_of_a_key() -> None:
    """The published bundle that a plain key signed is read, with its ignored paths."""
    signed = decode_payload(decode_bundle(VECTORS["valid-key"].read_bytes()).payload)
    assert {"signme-1", "signme-2"} == set(signed.resources)
    assert "ignore-me" in signed.ignored


@pytest.mark.parametrize("name", sorted(set(VECTORS) - {"valid-key"}))
def test_we_refuse_every_other_vector(name: str) -> None:
    """Certificates and Sigstore identities are refused by name; what the specification calls invalid is refused."""
    with pytest.raises(BadInput):
        decode_payload(decode_bundle(VECTORS[name].read_bytes()).payload)
