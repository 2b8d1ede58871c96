"""Waiving rules for one release: with leave of the policy, openly, signed by who waives."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Refused, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.commitments import open_preimage
from gatewright.ledger.records import Draft
from gatewright.models.signature import Task
from gatewright.operations.catalogue import Release, User, WaiverEntry, body_of, every
from gatewright.operations.home import Home
from gatewright.operations.released import waivers
from gatewright.operations.signing import release_signers, seal
from gatewright.operations.users import FORGOTTEN, people, person
from gatewright.policy.rules import Policy
from gatewright.policy.verdict import Verdict
from gatewright.policy.waivers import DAY_NS, Waived, named_rules, refused
from gatewright.releases.envelope import Envelope, require
from gatewright.releases.judgements import Role, Waiver
from gatewright.releases.keys import PublicKey
from gatewright.releases.statement import open_claim

WORDS_BYTES = 10_000
"""Most bytes of the grounds of a waiver."""
RULES = 20
"""Most rules that one call waives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaivedRule:
    """A rule that a release does not satisfy and that somebody waived; ``over`` when that has ended."""

    ref: str
    root: Digest
    rule: str
    until: str
    days: int
    over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiving:
    """What somebody wants to waive: rules by their sentence or check, until when, why, and who."""

    rules: tuple[str, ...]
    until: Instant
    words: str
    by: str


def asked(home: Home, wanted: Waiving, policy: Policy, task: Task, denied: Verdict) -> tuple[Waived, ...]:
    """The waivers to be given for a denying verdict.

    Raises Misuse for what names no rule that is violated, or several; Refused where the policy gives no
    leave.
    """
    if not wanted.words.strip() or len(wanted.words.encode()) > WORDS_BYTES or len(wanted.rules) > RULES:
        raise Misuse(
            "operations.waiver-words",
            f"A waiver says why, in 1 to {WORDS_BYTES:,} bytes, and names at most {RULES} rules.",
            next='Write for example: --reason "few rows of this group until the autumn"',
        )
    user = person(home, wanted.by)
    role = Role.OWNER if user.owner else Role.APPROVER
    violated = {one.rule for one in denied.objections}
    given = []
    for name in dict.fromkeys(wanted.rules):
        rule = _rule(name, policy, task, violated)
        waived = Waived(rule=rule, principal=user.principal, role=role, time=home.now(), until=wanted.until)
        refusal = refused(policy, waived)
        if refusal is not None:
            raise Refused.of(refusal)
        given.append(waived)
    return tuple(given)


def _rule(name: str, policy: Policy, task: Task, violated: set[str]) -> str:
    """The sentence of the one violated rule that is meant."""
    meant = [rule.text() for rule in named_rules(policy.rules_for(task), name) if rule.text() in violated]
    if len(meant) == 1:
        return meant[0]
    known = "; ".join(sorted(violated)) or "none"
    raise Misuse(
        "operations.which-rule",
        f"{name[:200]!r} names {len(meant)} rules that do not hold; a waiver is of one.",
        why=f"Not satisfied: {known}.",
        next="Name a rule by its whole sentence.",
    )


def require_used(given: Sequence[Waived], verdict: Verdict) -> None:
    """Raise Refused for a waiver that waived nothing: its rule has no measure that could be accepted."""
    for waived in given:
        if waived not in verdict.waivers:
            raise Refused(
                "operations.not-measured",
                f"This rule cannot be waived: {waived.rule}.",
                why="Its check did not pass or fail, so there is no measure that somebody could accept.",
                next="Find out why the check has no answer, and check again.",
            )


def given(home: Home, release: Release, verdict: Verdict, words: str) -> tuple[Draft, ...]:
    """The records of the waivers in a verdict, each signed about the root."""
    drafts = []
    for waived in verdict.waivers:
        said = home.conceal(words.encode())
        claim = Waiver(
            root=release.root,
            rule=waived.rule,
            principal=waived.principal,
            role=waived.role,
            words=said,
            until=waived.until,
            time=waived.time,
        )
        signers = (home.keys.person(waived.principal), *release_signers(home))
        entry = WaiverEntry(
            ref=release.ref,
            root=release.root,
            rule=waived.rule,
            principal=waived.principal,
            role=waived.role.value,
            until=str(waived.until),
            statement=home.blobs.put(seal(home, claim, signers)),
        )
        drafts.append(
            Draft(
                kind="release.waived",
                actor=waived.principal,
                subject=release.ref,
                body=body_of(entry),
                commitments={"words": said},
            )
        )
    return tuple(drafts)


def waived_rules(home: Home, roots: Collection[Digest | None]) -> Iterator[WaivedRule]:
    """The rules that were waived for some releases, and how many whole days each waiver has left."""
    now = home.now()
    for entry in every(home, "waivers", WaiverEntry):
        if entry.root in roots:
            until = Instant.parse(entry.until)
            yield WaivedRule(
                ref=entry.ref,
                root=entry.root,
                rule=entry.rule,
                until=entry.until,
                days=max(0, (until.ns - now.ns) // DAY_NS),
                over=until <= now,
            )


def words_of(home: Home, entry: WaiverEntry) -> str:
    """Why a rule was waived, in the words of who waived it."""
    claim = open_claim(Envelope.decode(home.blobs.get(entry.statement)))
    if not isinstance(claim, Waiver):
        raise _broken("A recorded waiver is another statement.")
    try:
        _, words = open_preimage(home.blobs.get(claim.words))
    except BadInput:
        return FORGOTTEN
    return words.decode("utf-8", "replace")


def require_waivers(home: Home, release: Release, verdict: Verdict) -> None:
    """Raise Tampered unless each waived rule of a verdict has its waiver, signed by the person it names."""
    everybody = {user.principal: user for user in people(home)}
    standing = {
        _waived(home, entry.statement, release.root, everybody) for entry in waivers(home, release.root)
    }
    for waived in verdict.waivers:
        if waived not in standing:
            raise _broken(f"No waiver of a rule that {release.ref} does not satisfy stands beside it.")


def _waived(home: Home, statement: Digest, root: Digest, everybody: dict[str, User]) -> Waived:
    envelope = Envelope.decode(home.blobs.get(statement))
    claim = open_claim(envelope)
    if not isinstance(claim, Waiver) or claim.root != root or claim.principal not in everybody:
        raise _broken("A recorded waiver is about another release, or by nobody of this home.")
    require(envelope, (PublicKey.from_text(everybody[claim.principal].key),))
    return Waived(
        rule=claim.rule,
        principal=claim.principal,
        role=claim.role,
        time=claim.time,
        until=claim.until,
    )


def _broken(what: str) -> Tampered:
    return Tampered("operations.waiver-broken", what, next="Verify the ledger: gatewright verify")
