"""Approving: a person signs a statement about a root with their own key."""

from __future__ import annotations

from gatewright.kernel.errors import Misuse
from gatewright.ledger.records import Draft
from gatewright.operations.catalogue import ApprovalEntry, Release, User, body_of
from gatewright.operations.home import Home
from gatewright.operations.released import approvals, release
from gatewright.operations.revocations import require_not_revoked
from gatewright.operations.signing import seal
from gatewright.operations.users import FORGOTTEN, people, person
from gatewright.policy.approvals import Approval, Tally, tally
from gatewright.policy.verdict import decode_verdict
from gatewright.releases.approvals import signed_approvals
from gatewright.releases.judgements import Role
from gatewright.releases.keys import PublicKey
from gatewright.releases.statement import Approval as ApprovalClaim
from gatewright.releases.statement import ApprovalReference

COMMENT_BYTES = 10_000


def approve(home: Home, text: str, *, name: str = "", comment: str = "") -> ApprovalEntry:
    """Sign and record one person's approval of a release; without a name the owner's, where nobody else may.

    Raises Misuse, which names the people who may, where it is not said who approves and it is not evident.
    """
    found = release(home, text, newest=True)
    require_not_revoked(home, found.root, found.ref)
    user = person(home, name) if name else _evident(home, found)
    if len(comment.encode()) > COMMENT_BYTES:
        raise Misuse("operations.comment", f"The comment has more than {COMMENT_BYTES:,} bytes, the limit.")
    signer = home.keys.person(user.principal)
    if any(entry.key == signer.public.id for entry in approvals(home, found.root)):
        raise Misuse("operations.approved-already", f"{user.name} approved {found.ref} already.")
    role = Role.OWNER if user.owner else Role.APPROVER
    said = home.conceal(comment.encode()) if comment else None
    claim = ApprovalClaim(
        root=found.root,
        principal=user.principal,
        role=role,
        time=home.now(),
        verdict=found.verdict,
        comment=said,
    )
    entry = ApprovalEntry(
        ref=found.ref,
        root=found.root,
        principal=user.principal,
        key=signer.public.id,
        role=role.value,
        statement=home.blobs.put(seal(home, claim, (signer,))),
    )
    draft = Draft(
        kind="release.approved",
        actor=user.principal,
        subject=found.ref,
        body=body_of(entry),
        commitments={} if said is None else {"comment": said},
    )
    home.archive.append((draft,), home.now())
    return entry


def _evident(home: Home, found: Release) -> User:
    """The owner, where nobody else may approve; nobody is ever taken to be another person than the owner."""
    verdict = decode_verdict(home.blobs.get(found.verdict))
    able = [
        user
        for user in people(home)
        if user.name != FORGOTTEN and (verdict.owner_may_approve or not user.owner)
    ]
    if len(able) == 1 and able[0].owner:
        return able[0]
    names = " or ".join(sorted(user.name for user in able))
    owner = "" if verdict.owner_may_approve else f" The owner cannot approve at tier {verdict.tier}."
    raise Misuse(
        "operations.who-approves",
        "It is not said who approves.",
        why=f"An approval is signed with the key of one person.{owner}",
        next=f"Name that person: gatewright approve {found.ref} --as NAME   (NAME is {names})"
        if able
        else f"Add a person: gatewright user add NAME   Then: gatewright approve {found.ref} --as NAME",
    )


def standing(home: Home, found: Release) -> Tally:
    """Which approvals of a release count under its verdict, and why others do not."""
    verdict = decode_verdict(home.blobs.get(found.verdict))
    return tally(verdict, found.root, [approval for approval, _ in verified_approvals(home, found)])


def verified_approvals(home: Home, found: Release) -> tuple[tuple[Approval, ApprovalReference], ...]:
    """The approvals of a root whose signatures hold, each by the key of the person it names."""
    everybody = {user.principal: user for user in people(home)}
    keys = [PublicKey.from_text(user.key) for user in everybody.values()]
    statements = [home.blobs.get(entry.statement) for entry in approvals(home, found.root)]
    verified = []
    for one in signed_approvals(statements, root=found.root, verdict=found.verdict, people=keys):
        user = everybody.get(one.approval.principal)
        if user is None or PublicKey.from_text(user.key).id != one.key_id:
            continue
        value = Approval(
            principal=user.principal,
            key_id=one.key_id,
            root=found.root,
            time=one.approval.time,
            role=Role.OWNER if user.owner else Role.APPROVER,
        )
        verified.append((value, one.reference))
    return tuple(verified)
