"""Shipping: check, release, approve where the policy lets one person, deploy; each step told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gatewright.checks.report_format import decode_report
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refused
from gatewright.operations import check as checking
from gatewright.operations.approve import approve
from gatewright.operations.catalogue import ModelVersion, Release
from gatewright.operations.check import Checked
from gatewright.operations.deploy import deploy_release
from gatewright.operations.home import Home
from gatewright.operations.models import model
from gatewright.operations.plans import Changed
from gatewright.operations.release import create
from gatewright.operations.released import approvals, releases
from gatewright.operations.revocations import CODE, revoked
from gatewright.operations.users import owner
from gatewright.policy.verdict import decode_verdict
from gatewright.releases.manifest import POLICY, REPORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What each step made."""

    checked: Checked
    release: Release
    deployed: Changed


def ship(
    home: Home,
    ref: str,
    *,
    endpoint: str = "",
    policy_file: Path | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Shipped:
    """Take a model version from its bytes to an endpoint, or say at which gate it stopped.

    Shipping again goes on where it stopped: approvals given to a waiting release count.
    Raises Refused when the policy denies it, ApprovalNeeded when it waits for other people; what
    was done until then stays done and is recorded.
    """
    subject = model(home, ref)
    _require_not_taken_back(home, subject)
    begun = _begun(home, subject, policy_file)
    if begun is None:
        progress(f"checking {subject.ref}")
        checked = checking.check(home, subject.ref, policy_file=policy_file, seed=seed, progress=progress)
        release = None
    else:
        progress(f"{subject.ref} is released already; going on from there")
        checked, release = begun
    with home.exclusive():
        if release is None:
            progress("signing the release")
            release = create(home, subject.ref, policy_file=policy_file)
        if approve_as_owner(home, release):
            progress("approved as the owner, as the policy allows at this tier")
        progress("deploying")
        deployed = deploy_release(home, release.root.hex, endpoint=endpoint)
    return Shipped(checked=checked, release=release, deployed=deployed)


def _require_not_taken_back(home: Home, subject: ModelVersion) -> None:
    """The bytes of a revoked release do not come back by the way: only step by step, by people."""
    roots = [found.root for found in releases(home) if found.ref == subject.ref]
    if roots and all(revoked(home, root) is not None for root in roots):
        raise Refused(
            CODE,
            f"The release of {subject.ref} was revoked, and shipping would release the same model again.",
            next=f"Add a mended model. If these very bytes are meant: gatewright release create {subject.ref}",
        )


def _begun(home: Home, subject: ModelVersion, policy_file: Path | None) -> tuple[Checked, Release] | None:
    """A release of this version under this very policy that was never live: its check and itself."""
    policy = Digest.of(checking.load_policy(home, policy_file)[1])
    newest = checking.newest(home, subject)
    served = {Digest(str(document["root"])) for _, document in home.archive.scan("decisions")}
    waiting = [
        found
        for found in releases(home)
        if found.ref == subject.ref
        and found.root not in served
        and found.resources[POLICY] == policy
        and revoked(home, found.root) is None
    ]
    if newest is None or not waiting:
        return None
    release = max(waiting, key=lambda found: len(approvals(home, found.root)))
    report = decode_report(home.blobs.get(release.resources[REPORT]))
    verdict = decode_verdict(home.blobs.get(release.verdict))
    return Checked(entry=newest, report=report, verdict=verdict), release


def approve_as_owner(home: Home, release: Release) -> bool:
    """Approve as the owner where the policy lets one person; returns whether it did."""
    verdict = decode_verdict(home.blobs.get(release.verdict))
    alone = verdict.owner_may_approve and verdict.approvals_needed == 1
    if alone and not approvals(home, release.root):
        approve(home, release.root.hex, name=owner(home).name)
    return alone
