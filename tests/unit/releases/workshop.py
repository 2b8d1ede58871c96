"""Real keys and small real releases for the tests about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.signature_format import encode_signature
from gatewright.releases.bundle import root_of_resources, sealed_bundle
from gatewright.releases.keys import PublicKey
from gatewright.releases.manifest import (
    MANIFEST,
    MODEL,
    POLICY,
    REPORT,
    SIGNATURE,
    VERDICT,
    ReleaseManifest,
)
from gatewright.releases.statement import (
    ApprovalReference,
    Claim,
    Countersignature,
    DeploymentDecision,
    sealed_claim,
)
from gatewright.releases.trust import TrustRoot

Private: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey


@dataclass(frozen=True)
class MemorySigner:
    """A signer on a key that lives as long as the test."""

    private: Private

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey.from_der(
            self.private.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def sign(self, message: bytes) -> bytes:
        """Signature over the message."""
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            return self.private.sign(message, ec.ECDSA(hashes.SHA256()))
        return self.private.sign(message)


def p256() -> MemorySigner:
    """A new P-256 signer."""
    return MemorySigner(ec.generate_private_key(ec.SECP256R1()))


def ed() -> MemorySigner:
    """A new Ed25519 signer."""
    return MemorySigner(ed25519.Ed25519PrivateKey.generate())


def ml_dsa() -> MemorySigner:
    """A new ML-DSA-65 signer."""
    return MemorySigner(mldsa.MLDSA65PrivateKey.generate())


RELEASE_KEY, RELEASE_PQ_KEY, LOG_KEY = p256(), ml_dsa(), ed()
STRANGER, STRANGER_PQ = p256(), ml_dsa()
SIGNERS = (RELEASE_KEY, RELEASE_PQ_KEY)
TRUST = TrustRoot(
    origin="gatewright/test",
    release=RELEASE_KEY.public,
    release_pq=RELEASE_PQ_KEY.public,
    log=LOG_KEY.public,
)
NOW = Instant.parse("2026-03-03T14:05:00Z")
POLICY_TEXT = b"# the rules\nformat = 1\n"
ENDPOINT = "breast-cancer"


def signature() -> ModelSignature:
    """A small model signature."""
    return ModelSignature(
        task=Task.BINARY,
        inputs=(TensorSpec(name="x", datatype=DataType.FP32, shape=(-1, 2), columns=("a", "b")),),
        outputs=(TensorSpec(name="label", datatype=DataType.INT64, shape=(-1,)),),
        label_output="label",
        classes=("no", "yes"),
    )


def manifest(model: bytes) -> ReleaseManifest:
    """A manifest of the given model bytes."""
    return ReleaseManifest(
        name="breast-cancer",
        version=2,
        tier="low",
        model=Digest.of(model),
        dataset="wisconsin",
        data={"train": Digest.of(b"train"), "test": Digest.of(b"test")},
        trained_on=Digest.of(b"rows"),
        created=NOW,
        thresholds={"yes": 0.5},
    )


def resources(model: bytes = b"model bytes", decision: str = "allow") -> dict[str, bytes]:
    """The six files of a release that agree with one another."""
    report = canonical.encode({"findings": [], "format": 1, "model": Digest.of(model).hex})
    return {
        MODEL: model,
        SIGNATURE: encode_signature(signature()),
        REPORT: report,
        POLICY: POLICY_TEXT,
        VERDICT: canonical.encode(
            {"decision": decision, "policy": Digest.of(POLICY_TEXT).hex, "report": Digest.of(report).hex}
        ),
        MANIFEST: manifest(model).encode(),
    }


def digests(files: Mapping[str, bytes]) -> dict[str, Digest]:
    """Digest of each file."""
    return {name: Digest.of(data) for name, data in files.items()}


def sealed_bytes(claim: Claim, *signers: MemorySigner) -> bytes:
    """The envelope of a claim, by the release keys where no signer is named."""
    return sealed_claim(claim, signers or SIGNERS).encode()


@dataclass(frozen=True, kw_only=True)
class Made:
    """A release as it lies in a folder: files, bundle, statements."""

    files: Mapping[str, bytes]
    bundle: bytes
    statements: tuple[bytes, ...] = field(default=())

    @property
    def root(self) -> Digest:
        """The root of the files."""
        return root_of_resources(digests(self.files))

    def decision(
        self, *, endpoint: str = ENDPOINT, plan: int = 1, approvals: tuple[ApprovalReference, ...] = ()
    ) -> DeploymentDecision:
        """A decision that allows this release at an endpoint."""
        return DeploymentDecision(
            root=self.root,
            endpoint=endpoint,
            verdict=Digest.of(self.files[VERDICT]),
            approvals=approvals,
            plan=plan,
            time=NOW,
        )

    def beside(self, *statements: bytes) -> Made:
        """The release with more statements beside it."""
        return replace(self, statements=(*self.statements, *statements))


def signed(files: Mapping[str, bytes]) -> Made:
    """Sign files as a release, whatever they hold."""
    root = root_of_resources(digests(files))
    return Made(
        files=files,
        bundle=sealed_bundle(digests(files), RELEASE_KEY),
        statements=(sealed_bytes(Countersignature(root=root), RELEASE_PQ_KEY),),
    )


def made(model: bytes = b"model bytes", decision: str = "allow") -> Made:
    """A whole, honest release."""
    return signed(resources(model, decision))
