"""Revoking a release: a signed statement, and a plan without it, recorded together."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatewright.deployments.plan import TrafficPlan
from gatewright.deployments.revoking import Cleared, clear
from gatewright.deployments.transitions import State
from gatewright.kernel.errors import Misuse
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Draft
from gatewright.operations.catalogue import Endpoint, Release, RevokedRelease, body_of, every_live
from gatewright.operations.home import Home
from gatewright.operations.plans import allowed, commit, current_plan, entry_of, signed
from gatewright.operations.released import release, releases
from gatewright.operations.revocations import revoked
from gatewright.operations.signing import seal
from gatewright.operations.users import owner
from gatewright.releases.judgements import Revocation, RevocationReason

WORDS_BYTES = 10_000
"""Most bytes of what the owner writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoking:
    """What a revocation did: its record, the endpoints that it changed, and when it was committed."""

    entry: RevokedRelease
    endpoints: tuple[Endpoint, ...]
    committed: Instant


def revoke(
    home: Home, text: str, *, words: str, reason: RevocationReason = RevocationReason.UNSPECIFIED
) -> Revoking:
    """Take a release back for ever; where it is live the same act takes it out of the plan.

    ``words`` are the owner's own and may be personal: the record and the statement hold a salted
    commitment to them. Raises Misuse where ``text`` may mean several releases, where the release was
    revoked already, and for words that are missing or too long.
    """
    found = _the_release(home, text)
    if not words.strip() or len(words.encode()) > WORDS_BYTES:
        raise Misuse(
            "operations.revocation-words",
            f"A revocation says why, in 1 to {WORDS_BYTES:,} bytes.",
            next=f'Write for example: gatewright release revoke {found.ref} --reason "wrong for students"',
        )
    now, said = home.now(), home.conceal(words.encode())
    claim = Revocation(root=found.root, reason=reason, words=said, time=now)
    before = current_plan(home)
    states = {entry.endpoint: State(entry.state) for entry in every_live(home)}
    cleared = None if before is None else clear(before, found.root, states, now)
    entry = RevokedRelease(
        ref=found.ref,
        root=found.root,
        reason=reason.value,
        statement=home.blobs.put(seal(home, claim)),
        endpoints=() if cleared is None else tuple(sorted(cleared.states)),
    )
    actor = owner(home).principal
    drafts = [
        Draft(
            kind="release.revoked",
            actor=actor,
            subject=found.ref,
            body=body_of(entry),
            commitments={"words": said},
        )
    ]
    if before is None or cleared is None:
        home.archive.append(drafts, now)
        return Revoking(entry=entry, endpoints=(), committed=home.now())
    changed = _entries(home, found, before, cleared)
    drafts += [
        Draft(kind="endpoint.revoked", actor=actor, subject=each.endpoint, body=body_of(each))
        for each in changed
    ]
    number = cleared.plan.number
    return Revoking(entry=entry, endpoints=changed, committed=commit(home, drafts, number))


def _the_release(home: Home, text: str) -> Release:
    """The release that is meant, when that is beyond doubt."""
    found = release(home, text)
    if revoked(home, found.root) is not None:
        raise Misuse(
            "operations.revoked-already",
            f"{found.ref} ({found.root.short}) was revoked already.",
            next=f"See it: gatewright release show {found.root.hex[:12]}",
        )
    same = [
        each.root.hex[:12]
        for each in releases(home)
        if each.ref == found.ref and revoked(home, each.root) is None
    ]
    if len(same) > 1 and not found.root.hex.startswith(text.removeprefix("sha256:")):
        raise Misuse(
            "operations.which-release",
            f"There are {len(same)} releases of {found.ref}, and one revocation takes back one of them.",
            next=f"Name it by the beginning of its root: {', '.join(same)}.",
        )
    return found


def _entries(home: Home, found: Release, before: TrafficPlan, cleared: Cleared) -> tuple[Endpoint, ...]:
    """What the record of each changed endpoint says; all of them name the one plan."""
    plan = cleared.plan
    for name in cleared.states:
        here = plan.endpoint(name)
        assert here is not None  # noqa: S101 - no endpoint leaves by a revocation
        plan = allowed(home, plan, here.endpoint)
    envelope = signed(home, plan)
    entries = []
    for name, state in sorted(cleared.states.items()):
        old, new = before.endpoint(name), plan.endpoint(name)
        assert new is not None  # noqa: S101 - as above
        entry = entry_of(home, plan, old, new, state=state, decisions={})
        what = f"{found.ref} ({found.root.hex[:8]}) was revoked"
        entries.append(replace(entry, plan=envelope, what="; ".join(filter(None, (what, entry.what)))))
    return tuple(entries)
