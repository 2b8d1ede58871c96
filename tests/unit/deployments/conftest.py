"""Builders of plans, deployments and signing keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from gatewright.deployments.plan import ApiKey, EndpointPlan, ReleaseRef, TrafficPlan
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.policy.rules import Tier
from gatewright.policy.verdict import Decision, Reason, Standing, Verdict
from gatewright.releases.keys import PublicKey
from gatewright.releases.trust import TrustRoot

Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A private key in memory, with the shape of the signer port."""

    key: Private

    @property
    def public(self) -> PublicKey:
        """The public half."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return PublicKey.from_der(self.key.public_key().public_bytes(serialization.Encoding.DER, form))

    def sign(self, message: bytes) -> bytes:
        """Signature over the message."""
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        return self.key.sign(message)


@dataclass(frozen=True, slots=True)
class Keys:
    """The release keys of a home, strangers of the same kinds, and what a verifier trusts."""

    release: HeldKey
    release_pq: HeldKey
    stranger: HeldKey
    stranger_pq: HeldKey
    trust: TrustRoot


@pytest.fixture(scope="session")
def keys() -> Keys:
    """Freshly made keys."""
    p256, other = (HeldKey(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    pq, other_pq = (HeldKey(mldsa.MLDSA65PrivateKey.generate()) for _ in range(2))
    log = HeldKey(ed25519.Ed25519PrivateKey.generate())
    trust = TrustRoot(origin="home.example", release=p256.public, release_pq=pq.public, log=log.public)
    return Keys(p256, pq, other, other_pq, trust)


@pytest.fixture(scope="session")
def release_of() -> Callable[..., ReleaseRef]:
    """A release told apart by its version; ``signature`` tells apart what it takes and gives."""

    def build(version: int, signature: bytes = b"signature") -> ReleaseRef:
        return ReleaseRef(
            root=Digest.of(b"root %d" % version),
            model=Name("breast-cancer"),
            version=version,
            resources={
                "model.onnx": Digest.of(b"model %d" % version),
                "report.json": Digest.of(b"report"),
                "signature.json": Digest.of(signature),
            },
            bundle=Digest.of(b"bundle"),
            statements=(Digest.of(b"countersignature"), Digest.of(b"decision")),
        )

    return build


@pytest.fixture(scope="session")
def plan_of(release_of: Callable[..., ReleaseRef]) -> Callable[..., TrafficPlan]:
    """A plan with one endpoint for each given (name, champion, previous or 0)."""

    def build(*endpoints: tuple[str, int, int], number: int = 1) -> TrafficPlan:
        return TrafficPlan(
            number=number,
            issued=Instant(1),
            endpoints=tuple(
                EndpointPlan(
                    endpoint=Name(name),
                    champion=release_of(champion),
                    previous=release_of(previous) if previous else None,
                    keys=(ApiKey(id="k1", digest=Digest.of(name.encode())),),
                )
                for name, champion, previous in endpoints
            ),
        )

    return build


@pytest.fixture(scope="session")
def verdict_of() -> Callable[..., Verdict]:
    """A verdict whose one rule is satisfied or not."""

    def build(*, good: bool = True, count: int = 0) -> Verdict:
        decision = (Decision.NEEDS_APPROVAL if count else Decision.ALLOW) if good else Decision.DENY
        standing = Standing.OK if good else Standing.VIOLATED
        return Verdict(
            decision=decision,
            reasons=(Reason(rule="data.leakage must be passed", outcome=standing, what="seen"),),
            report=Digest.of(b"report"),
            policy=Digest.of(b"policy"),
            model=Digest.of(b"model"),
            tier=Tier.LOW,
            approvals_needed=count,
            owner_may_approve=True,
        )

    return build
