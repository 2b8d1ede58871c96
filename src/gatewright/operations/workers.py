"""The certificates of a home's worker keys: made, recorded, published, and renewed in time.

A certificate is recorded before its file is written; one that was recorded and not published,
because a process died in between, is published by whoever opens the home next.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import GatewrightError
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Draft
from gatewright.operations.files import file_failures, read_file
from gatewright.operations.home import Home
from gatewright.operations.signing import may_sign, release_signers
from gatewright.operations.users import owner
from gatewright.releases.envelope import ENVELOPE_BYTES
from gatewright.releases.statement import WorkerKey
from gatewright.releases.trust import TrustRoot
from gatewright.releases.worker_keys import certify, newest, verify_worker_key

WORKERS_FOLDER = "workers"
CERTIFICATE_SUFFIX = ".dsse.json"
CERTIFICATE_LAST_NS = 90 * 24 * 3_600 * 10**9
"""How long a worker's key may sign before its certificate is renewed: ninety days."""


def certificates(folder: Path) -> tuple[bytes, ...]:
    """Every certificate in ``folder/workers``, by key id."""
    places = sorted((folder / WORKERS_FOLDER).glob(f"*{CERTIFICATE_SUFFIX}"))
    return tuple(read_file(place, limit=ENVELOPE_BYTES) for place in places)


def certified_here(folder: Path, trust: TrustRoot) -> tuple[WorkerKey, ...]:
    """The worker keys in ``folder/workers`` that are vouched for; what does not hold is passed over."""
    found = []
    for certificate in certificates(folder):
        try:
            found.append(verify_worker_key(certificate, trust))
        except GatewrightError:
            continue  # the verifier names it
    return tuple(found)


def in_use(folder: Path, trust: TrustRoot) -> WorkerKey | None:
    """The worker key that signs now, or None before the first."""
    return newest(certified_here(folder, trust), trust)


def draft_certificate(home: Home, worker: WorkerKey, *, actor: str = "", lifetime: int = 0) -> Draft:
    """The record of a worker's key, certified by the home's release keys of now for a time from now."""
    until = Instant(home.now().ns + (lifetime or CERTIFICATE_LAST_NS))
    again = WorkerKey(
        public=worker.public, valid_from=worker.valid_from, origin=home.origin, valid_until=until
    )
    certificate = home.blobs.put(certify(again, release_signers(home)))
    return Draft(
        kind="worker.certified",
        actor=actor or owner(home).principal,
        subject=worker.public.id,
        body={"key": worker.public.id, "statement": certificate.hex},
    )


def certified_again(home: Home, workers: Sequence[WorkerKey]) -> tuple[Draft, ...]:
    """Records that certify worker keys anew, by the release keys and under the origin of now."""
    return tuple(draft_certificate(home, worker) for worker in workers)


def publish_certificates(home: Home) -> None:
    """Make the files of certificates those that were recorded last."""
    folder = home.folder / WORKERS_FOLDER
    with file_failures("make the folder of certificates", folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    for key, document in home.archive.scan("workers"):
        place, recorded = folder / f"{key}{CERTIFICATE_SUFFIX}", Digest(str(document["statement"]))
        if not os.path.lexists(place) or Digest.of(read_file(place, limit=ENVELOPE_BYTES)) != recorded:
            home.write(place, home.blobs.get(recorded))


def renew_certificate(home: Home, *, lifetime: int = 0) -> bool:
    """Certify the worker's key anew where less than half of the time is left, or for ``lifetime`` from now.

    Returns whether it did so.
    """
    worker, now = in_use(home.folder, home.trust), home.now()
    if worker is None or not (lifetime or may_sign(home)):
        return False
    left = 0 if worker.valid_until is None else worker.valid_until.ns - now.ns
    if left >= (lifetime or CERTIFICATE_LAST_NS // 2):
        return False
    home.archive.append((draft_certificate(home, worker, lifetime=lifetime),), now)
    publish_certificates(home)
    return True
