"""The first records of a home: whose it is, which keys speak for it, which worker may serve."""

from __future__ import annotations

from importlib.resources import files

from gatewright.ledger.records import Draft
from gatewright.operations import users
from gatewright.operations.files import file_failures
from gatewright.operations.home import Home
from gatewright.operations.signing import release_signers
from gatewright.releases.statement import WorkerKey
from gatewright.releases.worker_keys import certify


def default_policy() -> bytes:
    """The commented default policy that ``init`` writes."""
    return files("gatewright.policy").joinpath("default_policy.toml").read_bytes()


def initialise(home: Home, owner_name: str) -> None:
    """Record the opening of a new home; called once, on an empty ledger."""
    owner = users.draft_user(home, owner_name, owner=True)
    worker = home.keys.worker.public
    now = home.now()
    certificate = certify(WorkerKey(public=worker, valid_from=now, origin=home.origin), release_signers(home))
    with file_failures("make the home", home.folder):
        (home.folder / "workers").mkdir(mode=0o700, exist_ok=True)
    home.write(home.folder / "workers" / f"{worker.id}.dsse.json", certificate)
    home.archive.append(
        (
            Draft(
                kind="home.opened",
                actor=owner.actor,
                subject=home.origin,
                body={"origin": home.origin, "trust": home.trust.fingerprint().hex},
            ),
            owner,
            Draft(
                kind="worker.certified",
                actor=owner.actor,
                subject=worker.id,
                body={"key": worker.id, "statement": home.blobs.put(certificate).hex},
            ),
        ),
        now,
    )
