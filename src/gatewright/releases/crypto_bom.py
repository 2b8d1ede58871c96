"""The cryptographic bill of materials (CBOM): which algorithms a home uses where, and its keys by id.

It is made for whoever plans the move to post-quantum cryptography, and for audits: CycloneDX 1.6
cryptographic assets. No key is in it, public ones included: a key is named by its id, and
``trust.json`` holds the public ones.

``nistQuantumSecurityLevel`` is 0 where a quantum computer of sufficient size breaks an algorithm, else
its NIST category; the algorithms are those of OpenSSL as the ``cryptography`` package carries it, which
is no certified module (``certificationLevel`` is ``none``).

Law: the same values give the same bytes.

Source: CycloneDX 1.6 (``cryptoProperties``); NIST call for proposals, section 4.A.5, for the categories;
FIPS 186-5, 197, 203, 204; SP 800-57 part 1, section 7 for the states of keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatewright.kernel import canonical
from gatewright.kernel.canonical import Json, JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.releases.bom_claim import PRODUCT, SPEC

ACTIVE = "active"
DEACTIVATED = "deactivated"
COMPROMISED = "compromised"

_SIGNATURE = ("keygen", "sign", "verify")
_AEAD = ("encrypt", "decrypt")


@dataclass(frozen=True, slots=True, kw_only=True)
class CryptoAlgorithm:
    """An algorithm with its parameters, its strength, and where it is used.

    ``classical`` is in bits, ``quantum`` the NIST category (0: broken by a quantum computer).
    """

    name: str
    primitive: str
    parameters: str
    functions: tuple[str, ...]
    classical: int
    quantum: int
    used: tuple[str, ...]
    oid: str = ""
    curve: str = ""
    mode: str = ""

    @property
    def ref(self) -> str:
        """How the bill calls it."""
        return f"crypto:algorithm:{self.name.lower()}"


ALGORITHMS: tuple[CryptoAlgorithm, ...] = (
    CryptoAlgorithm(
        name="ECDSA-P256-SHA256", primitive="signature", parameters="P-256", curve="nist/P-256",
        functions=_SIGNATURE, classical=128, quantum=0, oid="1.2.840.10045.4.3.2",
        used=("releases, statements, traffic plans and trust.json, beside ML-DSA-65", "approvals of people",
              "the local TLS authority"),
    ),
    CryptoAlgorithm(
        name="ML-DSA-65", primitive="signature", parameters="65", functions=_SIGNATURE, classical=192, quantum=3,
        oid="2.16.840.1.101.3.4.3.18",
        used=("releases, statements, traffic plans and trust.json, beside ECDSA",),
    ),
    CryptoAlgorithm(
        name="ML-DSA-44", primitive="signature", parameters="44", functions=_SIGNATURE, classical=128, quantum=2,
        oid="2.16.840.1.101.3.4.3.17", used=("checkpoints of the log, beside Ed25519",),
    ),
    CryptoAlgorithm(
        name="Ed25519", primitive="signature", parameters="255", curve="edwards25519", functions=_SIGNATURE,
        classical=128, quantum=0, oid="1.3.101.112",
        used=("checkpoints of the log, beside ML-DSA-44", "receipts of predictions, by the worker's key"),
    ),
    CryptoAlgorithm(
        name="SHA-256", primitive="hash", parameters="256", functions=("digest",), classical=128, quantum=2,
        oid="2.16.840.1.101.3.4.2.1",
        used=("digests, roots, the log's tree, salted commitments, key ids, stored API keys",),
    ),
    CryptoAlgorithm(
        name="AES-256-GCM", primitive="ae", parameters="256", mode="gcm", functions=_AEAD, classical=256, quantum=5,
        oid="2.16.840.1.101.3.4.1.46",
        used=("stored contents, payloads of predictions and backups", "private keys under a passphrase",
              "TLS 1.3"),
    ),
    CryptoAlgorithm(
        name="scrypt", primitive="kdf", parameters="N=32768, r=8, p=1", functions=("keyderive",),
        classical=0, quantum=0, oid="1.3.6.1.4.1.11591.4.11",
        used=("the key that encrypts private keys, from a passphrase, whose strength is that of the result",),
    ),
    CryptoAlgorithm(
        name="X25519MLKEM768", primitive="combiner", parameters="X25519 and ML-KEM-768", curve="curve25519",
        functions=("keygen", "encapsulate", "decapsulate"), classical=192, quantum=3,
        used=("key exchange of TLS 1.3 where the client has it",),
    ),
    CryptoAlgorithm(
        name="X25519", primitive="key-agree", parameters="255", curve="curve25519",
        functions=("keygen", "keyderive"), classical=128, quantum=0, oid="1.3.101.110",
        used=("key exchange of TLS 1.3 with clients that have nothing newer",),
    ),
    CryptoAlgorithm(
        name="AES-128-GCM", primitive="ae", parameters="128", mode="gcm", functions=_AEAD, classical=128, quantum=1,
        oid="2.16.840.1.101.3.4.1.6", used=("TLS 1.3 with clients that ask for it",),
    ),
    CryptoAlgorithm(
        name="ChaCha20-Poly1305", primitive="ae", parameters="256", functions=_AEAD, classical=256, quantum=5,
        oid="1.2.840.113549.1.9.16.3.18", used=("TLS 1.3 with clients that ask for it",),
    ),
    CryptoAlgorithm(
        name="SHA-384", primitive="hash", parameters="384", functions=("digest",), classical=192, quantum=4,
        oid="2.16.840.1.101.3.4.2.2", used=("TLS 1.3",),
    ),
)  # fmt: skip
"""Everything in use."""

SUITES = {
    "TLS_AES_256_GCM_SHA384": ("AES-256-GCM", "SHA-384"),
    "TLS_CHACHA20_POLY1305_SHA256": ("ChaCha20-Poly1305", "SHA-256"),
    "TLS_AES_128_GCM_SHA256": ("AES-128-GCM", "SHA-256"),
}

BY_KEY = {
    "ecdsa-p256": "ECDSA-P256-SHA256",
    "ml-dsa-65": "ML-DSA-65",
    "ml-dsa-44": "ML-DSA-44",
    "ed25519": "Ed25519",
    "aes-256-gcm": "AES-256-GCM",
}
"""The names of algorithms as keys have them, to those of the bill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAsset:
    """One key, by its id: what it is for, its algorithm, its state by SP 800-57, and since when.

    ``kind`` is ``public-key`` for a pair, of which the id is that of the public half, or
    ``secret-key``. ``until`` is when it stopped, or will.
    """

    role: str
    id: str
    algorithm: str
    state: str
    kind: str = "public-key"
    created: Instant | None = None
    until: Instant | None = None

    @property
    def ref(self) -> str:
        """How the bill calls it."""
        return f"crypto:key:{self.role}:{self.id}"


def crypto_bill(
    *, home: str, version: str, fingerprint: Digest, now: Instant, keys: Sequence[KeyAsset]
) -> JsonObject:
    """The bill of a home whose ``trust.json`` has this fingerprint, as CycloneDX describes it."""
    named = {one.name: one for one in ALGORITHMS}
    text = Digest.of(b"gatewright cryptographic bill\n" + fingerprint.raw + str(now).encode()).hex
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{text[:8]}-{text[8:12]}-8{text[13:16]}-8{text[17:20]}-{text[20:32]}",
        "version": 1,
        "metadata": {
            "timestamp": str(now),
            "component": {
                "type": "application",
                "bom-ref": PRODUCT,
                "name": PRODUCT,
                "version": version,
                "properties": [
                    {"name": "gatewright:home", "value": home},
                    {"name": "gatewright:trust-fingerprint", "value": fingerprint.hex},
                ],
            },
        },
        "components": [
            *(_algorithm(one) for one in ALGORITHMS),
            _tls(named),
            *(_key(one, named) for one in sorted(keys, key=lambda each: each.ref)),
        ],
        "dependencies": [
            {"ref": PRODUCT, "dependsOn": [*(one.ref for one in ALGORITHMS), "crypto:protocol:tls-1.3"]}
        ],
    }


def encode_crypto_bill(document: JsonObject) -> bytes:
    """Canonical JSON."""
    return canonical.encode(document)


def _algorithm(of: CryptoAlgorithm) -> JsonObject:
    properties: dict[str, Json] = {
        "primitive": of.primitive,
        "parameterSetIdentifier": of.parameters,
        "executionEnvironment": "software-plain-ram",
        "certificationLevel": ["none"],
        "cryptoFunctions": list(of.functions),
    }
    if of.primitive != "kdf":  # its strength is that of the passphrase
        properties |= {"classicalSecurityLevel": of.classical, "nistQuantumSecurityLevel": of.quantum}
    properties |= {name: value for name, value in (("curve", of.curve), ("mode", of.mode)) if value}
    asset: dict[str, Json] = {"assetType": "algorithm", "algorithmProperties": properties}
    if of.oid:
        asset["oid"] = of.oid
    return {
        "type": "cryptographic-asset",
        "bom-ref": of.ref,
        "name": of.name,
        "cryptoProperties": asset,
        "properties": [{"name": "gatewright:used-for", "value": use} for use in of.used],
    }


def _tls(named: Mapping[str, CryptoAlgorithm]) -> JsonObject:
    exchange = [named[name].ref for name in ("X25519MLKEM768", "X25519")]
    suites: list[Json] = [
        {"name": suite, "algorithms": [*(named[name].ref for name in names), *exchange]}
        for suite, names in SUITES.items()
    ]
    return {
        "type": "cryptographic-asset",
        "bom-ref": "crypto:protocol:tls-1.3",
        "name": "TLS 1.3",
        "cryptoProperties": {
            "assetType": "protocol",
            "protocolProperties": {"type": "tls", "version": "1.3", "cipherSuites": suites},
        },
        "properties": [{"name": "gatewright:used-for", "value": "every connection beyond the loopback"}],
    }


def _key(of: KeyAsset, named: Mapping[str, CryptoAlgorithm]) -> JsonObject:
    properties: dict[str, Json] = {
        "type": of.kind,
        "id": of.id,
        "state": of.state,
        "algorithmRef": named[BY_KEY[of.algorithm]].ref,
    }
    if of.created is not None:
        properties["creationDate"] = str(of.created)
    if of.until is not None:
        properties["expirationDate"] = str(of.until)
    return {
        "type": "cryptographic-asset",
        "bom-ref": of.ref,
        "name": f"{of.role} key",
        "cryptoProperties": {
            "assetType": "related-crypto-material",
            "relatedCryptoMaterialProperties": properties,
        },
    }
