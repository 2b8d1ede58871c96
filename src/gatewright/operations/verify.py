"""Verifying, offline: a ledger, its tables, its segments. Reads; needs no private key.

Every function raises Tampered, naming the first thing that does not hold and its place, or returns
what was verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gatewright.deployments.plan import ReleaseRef
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.ledger.log_receipts import LOG_RECEIPT_BYTES, LOG_RECEIPT_KIND
from gatewright.ledger.tiles import CHECKPOINT_FILE
from gatewright.operations.files import read_file
from gatewright.ports import Blobs
from gatewright.releases.keys import PublicKey
from gatewright.releases.trust import TrustRoot
from gatewright.releases.verification import (
    VerifiedRelease,
    require_deployable,
    verify_release,
)
from gatewright.releases.worker_keys import certified

STATEMENT_BYTES = 1024**2
PROOF_MARK = f'"kind":"{LOG_RECEIPT_KIND}"'.encode()
BUNDLE_FILE = "model.sig"
PROOF_NAME = ".proof.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was verified (``kind``), in one sentence, with the facts behind it.

    ``lacks`` says that nothing is wrong, and that something people wait for is not there yet.
    """

    kind: str
    sentence: str
    facts: JsonObject = field(default_factory=dict)
    lacks: bool = False


def certified_workers(trust: TrustRoot, certificates: Iterable[bytes]) -> Mapping[str, PublicKey]:
    """The worker keys that both release keys vouch for, by id."""
    return {name: worker.public for name, worker in certified(certificates, trust).items()}


def planned(reference: ReleaseRef, endpoint: str, trust: TrustRoot, blobs: Blobs) -> VerifiedRelease:
    """A release that a plan names, verified with all that stands about it, and decided for the endpoint."""
    statements = [blobs.get(digest) for digest in reference.statements]
    verified = verify_release(
        resources={name: blobs.get(digest) for name, digest in reference.resources.items()},
        bundle=blobs.get(reference.bundle),
        statements=statements,
        trust=trust,
    )
    if verified.root != reference.root:
        raise Tampered(
            "operations.plan-root", "The plan names another root than its files have.", place=endpoint
        )
    require_deployable(verified, statements, trust, endpoint)
    return verified


def is_export(path: Path) -> bool:
    """Whether a folder has the form that ``release export`` writes."""
    return (path / "release").is_dir() and (path / BUNDLE_FILE).is_file()


def what_is(path: Path) -> str:
    """``release``, ``log``, ``ledger``, ``proof`` (a log receipt) or ``receipt``, by content."""
    if path.is_dir():
        if is_export(path):
            return "release"
        if (path / CHECKPOINT_FILE).exists():
            return "log"
        raise Misuse(
            "operations.nothing-to-verify",
            f"{path} is neither an exported release nor an exported log.",
            next="Name a folder written by 'gatewright release export' or 'gatewright evidence log', "
            "a ledger.db or a receipt.",
        )
    content = read_file(path)
    if content[:16] == b"SQLite format 3\x00":
        return "ledger"
    # A spoilt proof must not pass for the plain receipt that it carries, so its name counts as well.
    proof = PROOF_MARK in content[:LOG_RECEIPT_BYTES] or path.name.endswith(PROOF_NAME)
    return "proof" if proof else "receipt"
