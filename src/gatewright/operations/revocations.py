"""Which releases are revoked, and the refusals that follow from it."""

from __future__ import annotations

from gatewright.deployments.plan import TrafficPlan
from gatewright.deployments.wording import ref_text
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refused
from gatewright.operations.catalogue import RevokedRelease, find
from gatewright.operations.home import Home

CODE = "operations.revoked"


def revoked(home: Home, root: Digest) -> RevokedRelease | None:
    """What was recorded when a release was revoked, or None where it stands."""
    return find(home, "revocations", root.hex, RevokedRelease)


def require_not_revoked(home: Home, root: Digest, ref: str) -> None:
    """Raise Refused where a release was revoked."""
    found = revoked(home, root)
    if found is not None:
        raise _refused(found, ref)


def require_none_revoked(home: Home, plan: TrafficPlan) -> None:
    """Raise Refused where a plan that is to be signed names a revoked release.

    The champion of an endpoint that is stopped may be one: nothing stood behind it, and it answers nothing.
    """
    for endpoint in plan.endpoints:
        for release in endpoint.releases():
            found = revoked(home, release.root)
            if found is not None and not (endpoint.stopped and release.root == endpoint.champion.root):
                raise _refused(found, ref_text(release))


def _refused(found: RevokedRelease, ref: str) -> Refused:
    return Refused(
        CODE,
        f"{ref} ({found.root.short}) was revoked ({found.reason}).",
        why="A revoked release never answers again: not as champion, beside it, or by a rollback.",
        next="Release another version of the model, and deploy that one.",
    )
