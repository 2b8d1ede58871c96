"""The first records of a home: whose it is, which keys speak for it, which worker may serve."""

from __future__ import annotations

from importlib.resources import files

from gatewright.ledger.records import Draft
from gatewright.operations import users
from gatewright.operations.home import Home
from gatewright.operations.workers import draft_certificate, publish_certificates
from gatewright.releases.statement import WorkerKey


def default_policy() -> bytes:
    """The commented default policy that ``init`` writes."""
    return files("gatewright.policy").joinpath("default_policy.toml").read_bytes()


def initialise(home: Home, owner_name: str) -> None:
    """Record the opening of a new home; called once, on an empty ledger."""
    owner = users.draft_user(home, owner_name, owner=True)
    worker = home.keys.worker.public
    now = home.now()
    first = WorkerKey(public=worker, valid_from=now, origin=home.origin)
    home.archive.append(
        (
            Draft(
                kind="home.opened",
                actor=owner.actor,
                subject=home.origin,
                body={"origin": home.origin, "trust": home.trust.fingerprint().hex},
            ),
            owner,
            draft_certificate(home, first, actor=owner.actor),
        ),
        now,
    )
    publish_certificates(home)
