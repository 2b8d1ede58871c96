"""The certificate of a worker's key: a statement signed with both release keys.

A worker faces the network, so its key may sign receipts and nothing else; what makes it count is
this statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gatewright.kernel.errors import Tampered
from gatewright.releases.envelope import Envelope, SigningKey, require
from gatewright.releases.fields import held
from gatewright.releases.statement import WorkerKey, open_claim, sealed_claim
from gatewright.releases.trust import TrustRoot

PLACE = "worker-key"


def certify(worker: WorkerKey, signers: Sequence[SigningKey]) -> bytes:
    """Sign a worker's key with the given signers: the P-256 and the ML-DSA-65 release key."""
    return sealed_claim(worker, signers).encode()


def verify_worker_key(certificate: bytes, trust: TrustRoot) -> WorkerKey:
    """Return the worker key once both release keys vouch for it in this home; raises Tampered."""
    envelope = held(PLACE, Envelope.decode, certificate)
    held(PLACE, partial(require, keys=trust.release_keys), envelope)
    worker = held(PLACE, open_claim, envelope)
    if not isinstance(worker, WorkerKey):
        raise Tampered(
            "releases.worker-key", "The statement is not the certificate of a worker key.", place=PLACE
        )
    if worker.origin != trust.origin:
        raise Tampered(
            "releases.worker-origin",
            f"The worker key belongs to the home {worker.origin[:80]!r}, not to {trust.origin!r}.",
            place=f"{PLACE}: origin",
        )
    return worker
