"""The certificate of a worker's key: a statement signed with both release keys.

A worker faces the network, so its key may sign receipts and nothing else; what makes it count is
this statement, for the time that it states and until the key is revoked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from gatewright.kernel.errors import Tampered
from gatewright.kernel.instants import Instant
from gatewright.releases.envelope import Envelope, SigningKey, require, verify
from gatewright.releases.fields import held
from gatewright.releases.statement import WorkerKey, open_claim, sealed_claim
from gatewright.releases.trust import TrustRoot

PLACE = "worker-key"


def certify(worker: WorkerKey, signers: Sequence[SigningKey]) -> bytes:
    """Sign a worker's key with the given signers: the P-256 and the ML-DSA-65 release key."""
    return sealed_claim(worker, signers).encode()


def verify_worker_key(certificate: bytes, trust: TrustRoot) -> WorkerKey:
    """Return the worker key once release keys that count vouch for it in this home; raises Tampered.

    Keys that were retired vouch for the workers of their time; that of a revoked worker is read, too
    (see :func:`require_counts`).
    """
    envelope = held(PLACE, Envelope.decode, certificate)
    signed_by = held(PLACE, partial(verify, keys=trust.counting_keys), envelope)
    worker = held(PLACE, open_claim, envelope)
    if not isinstance(worker, WorkerKey):
        raise Tampered(
            "releases.worker-key", "The statement is not the certificate of a worker key.", place=PLACE
        )
    if not trust.vouches(signed_by, worker.valid_from):
        held(PLACE, partial(require, keys=trust.release_keys), envelope)
        raise Tampered(
            "releases.worker-late",
            f"The worker key is certified from {worker.valid_from} on, after the keys that say so expired.",
            place=f"{PLACE}: valid-from",
        )
    if worker.origin not in trust.origins:
        raise Tampered(
            "releases.worker-origin",
            f"The worker key belongs to the home {worker.origin[:80]!r}, not to {trust.origin!r}.",
            place=f"{PLACE}: origin",
        )
    return worker


def certified(certificates: Iterable[bytes], trust: TrustRoot) -> Mapping[str, WorkerKey]:
    """The worker keys that are vouched for, by id; raises Tampered for a certificate that does not hold."""
    found = (verify_worker_key(certificate, trust) for certificate in certificates)
    return {worker.public.id: worker for worker in found}


def newest(workers: Iterable[WorkerKey], trust: TrustRoot) -> WorkerKey | None:
    """The worker key that was certified last and is not revoked: the one in use."""
    standing = [worker for worker in workers if trust.revoked_worker(worker.public.id) is None]
    return max(standing, key=lambda worker: (worker.valid_from, worker.public.id), default=None)


def require_counts(worker: WorkerKey, time: Instant, trust: TrustRoot, *, recorded: int | None) -> None:
    """Raise Tampered unless what a worker signed at ``time`` counts.

    It lies in the time of its certificate; and of a revoked key only segments count that the log had
    among its records when the key was revoked: ``recorded`` is the number of the segment's record,
    None where it is not known.
    """
    late = worker.valid_until is not None and time > worker.valid_until
    if time < worker.valid_from or late:
        until = "" if worker.valid_until is None else f" to {worker.valid_until}"
        raise Tampered(
            "releases.worker-time",
            f"The record is of {time}; its worker's key is certified for {worker.valid_from}{until}.",
            why="What a worker signs outside the time of its certificate does not count.",
            next="Ask the owner for the newest workers/ folder.",
            place="worker",
        )
    gone = trust.revoked_worker(worker.public.id)
    if gone is None or (recorded is not None and recorded < gone.records):
        return
    raise Tampered(
        "releases.worker-revoked",
        f"The worker key {worker.public.id[:12]} was revoked on {str(gone.time)[:19]}Z.",
        why=f"Only what the log had among its first {gone.records:,} records counts of it."
        if recorded is None
        else f"The log has it as record {recorded:,}, and only its first {gone.records:,} count.",
        next="Give the receipt's proof from the log (*.proof.json); ask the owner for it.",
        place="worker",
    )
