"""The cryptographic bill: every algorithm with its strength, every key by id, none in the bill."""

from __future__ import annotations

from typing import Any

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.releases.crypto_bom import (
    ALGORITHMS,
    BY_KEY,
    COMPROMISED,
    SUITES,
    KeyAsset,
    crypto_bill,
    encode_crypto_bill,
)
from gatewright.releases.keys import Algorithm
from unit.releases.strict_validator import complaint

NOW = Instant.parse("2026-03-03T14:05:00Z")
KEYS = tuple(
    KeyAsset(
        role=f"role{number}",
        id=f"{number:032x}",
        algorithm=algorithm,
        state=COMPROMISED,
        created=NOW,
        until=NOW,
    )
    for number, algorithm in enumerate(BY_KEY)
)
CONTENT = encode_crypto_bill(
    crypto_bill(home="gatewright/1", version="0.1.0", fingerprint=Digest.of(b"trust"), now=NOW, keys=KEYS)
)
DOCUMENT: Any = canonical.decode(CONTENT)


def test_the_bill_is_valid() -> None:
    """The strict validator of the standard accepts it."""
    assert "" == complaint(CONTENT)


def test_every_algorithm_that_a_key_can_have_is_listed() -> None:
    """No key of this product is of an algorithm that the bill does not know; nor is a cipher suite."""
    names = {one.name for one in ALGORITHMS}
    assert {algorithm.value for algorithm in Algorithm} <= set(BY_KEY)
    assert set(BY_KEY.values()) <= names
    assert {name for suite in SUITES.values() for name in suite} <= names
    assert {"scrypt", "X25519MLKEM768", "SHA-256"} <= names
    assert all(one.used for one in ALGORITHMS)


def test_every_reference_leads_somewhere() -> None:
    """Keys and cipher suites name algorithms of this bill; no name is used twice."""
    refs = [each["bom-ref"] for each in DOCUMENT["components"]]
    assert len(refs) == len(set(refs))
    materials = [
        found
        for each in DOCUMENT["components"]
        if (found := each["cryptoProperties"].get("relatedCryptoMaterialProperties"))
    ]
    assert len(KEYS) == len(materials)
    assert {each["algorithmRef"] for each in materials} <= set(refs)
    assert {COMPROMISED} == {each["state"] for each in materials}


def test_what_a_quantum_computer_breaks_is_said_to_be_broken() -> None:
    """The NIST categories of FIPS 204 and of the call for proposals; 0 for elliptic curves."""
    levels = {
        each["name"]: each["cryptoProperties"]["algorithmProperties"].get("nistQuantumSecurityLevel")
        for each in DOCUMENT["components"]
        if each["cryptoProperties"]["assetType"] == "algorithm"
    }
    expected = {"ECDSA-P256-SHA256": 0, "Ed25519": 0, "X25519": 0, "ML-DSA-44": 2, "ML-DSA-65": 3, "SHA-256": 2,
                "AES-256-GCM": 5, "X25519MLKEM768": 3, "scrypt": None}  # fmt: skip
    assert expected == {name: levels[name] for name in expected}
