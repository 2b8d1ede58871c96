"""The one way in which a home's public keys change: a signed step, a record, then the files.

Order matters. The step lies in ``trust/next.dsse.json`` and among the contents before the record
names it; the record and the head of the log, signed by the new log keys, are one transaction; then
``trust/1.json``, ``trust/<n>.dsse.json`` and, last, ``trust.json`` are published. A process that
died in between is completed, or taken back where nothing was recorded, by whoever opens the home
next (:func:`~gatewright.operations.trust_files.settle`). So a home has the old keys or the new ones, and never a mixture.

Source: The Update Framework 1.0.33, section 5.3; the names of its roles are not used here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from gatewright.kernel.errors import DependencyFailed, Misuse
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Draft, Record
from gatewright.operations.catalogue import TrustChanged, body_of
from gatewright.operations.files import file_failures
from gatewright.operations.home import Home
from gatewright.operations.trust_files import (
    NEXT_FILE,
    STEPS_FOLDER,
    publish_trust,
)
from gatewright.operations.users import owner
from gatewright.ports import Signer
from gatewright.releases.heads import open_head
from gatewright.releases.trust import TRUST_FORMAT_1, Era, TrustRoot
from gatewright.releases.trust_chain import next_trust, seal_step

KEYS_LAST_NS = 730 * 24 * 3_600 * 10**9
"""How long the keys of a new version may sign: two years."""
ROOT_AWAY = "operations.root-away"

PARTS: Mapping[str, tuple[str, str]] = {
    "root": ("root-p256", "root-ml-dsa-65"),
    "release": ("release-p256", "release-ml-dsa-65"),
    "log": ("log-ed25519", "log-ml-dsa-44"),
}
"""The parts of a key set that rotate, and the names of their two keys."""

RootPair = tuple[Signer, Signer]


def nothing_more(_: Home) -> Sequence[Draft]:
    """No further records."""
    return ()


def following_version(home: Home, *, revoked: Sequence[str] = (), **changes: Any) -> TrustRoot:
    """The version that follows the home's, made now: ``changes`` are fields of :class:`TrustRoot`.

    Keys (or an origin) that leave it are put into its past, with the parts of them that are
    ``revoked``. A home of format 1 gets, in the same version, the root pair and the ML-DSA-44 log key
    that it is without.
    """
    before, now = home.trust, home.now()
    changes = {**_upgrade(home), **changes}
    changes.setdefault("expires", Instant(now.ns + KEYS_LAST_NS))
    after = replace(before, version=before.version + 1, made=max(now, before.made or now), **changes)
    if _spoken(after) == _spoken(before):
        return after
    era = Era(
        origin=before.origin,
        release=before.release,
        release_pq=before.release_pq,
        log=before.log,
        log_pq=before.log_pq,
        until=max(now, _last_time(home)),
        records=recorded_count(home),
    )
    return replace(after, past=tuple(_revoked(each, era, revoked) for each in (*after.past, era)))


def recorded_count(home: Home) -> int:
    """How many records the home's log has."""
    return open_head(home.archive.checkpoint(), home.trust).checkpoint.size


def _last_time(home: Home) -> Instant:
    """The time of the last record: with a clock that was set back, later than now."""
    last = recorded_count(home) - 1
    return max((Record.decode(leaf).time for leaf in home.archive.leaves(max(0, last))), default=Instant(0))


def _spoken(trust: TrustRoot) -> tuple[object, ...]:
    return (trust.origin, trust.release_keys, trust.log, trust.log_pq)


def _revoked(each: Era, newest: Era, revoked: Sequence[str]) -> Era:
    """An era, with what is revoked of the newest one marked wherever the same keys stood before."""
    same = {"release": each.release_keys == newest.release_keys, "log": each.log == newest.log}
    marked = {part for part in revoked if same[part]}
    return replace(each, revoked=tuple(sorted(marked | set(each.revoked))))


def _upgrade(home: Home) -> dict[str, Any]:
    if home.trust.format != TRUST_FORMAT_1:
        return {}
    names = {"root": "root-p256", "root_pq": "root-ml-dsa-65", "log_pq": "log-ml-dsa-44"}
    return {field: home.keys.make(name).public for field, name in names.items()}


def change_trust(
    home: Home,
    following: TrustRoot,
    *,
    what: str,
    root: RootPair | None = None,
    new_root: RootPair | None = None,
    also: Callable[[Home], Sequence[Draft]] = nothing_more,
) -> Home:
    """Make ``following`` the home's public keys; returns the home with them in force.

    ``what`` says in words what changed. ``root`` are the root keys in force, where they lie elsewhere
    than in the home, and ``new_root`` those of ``following``. ``also`` is handed the home with the new keys and gives records that are written in
    the same transaction. Called inside ``exclusive()``; the caller goes on with the home returned and
    publishes the plan where ``also`` changed it. Raises Misuse where a root key is not here, Tampered
    where ``following`` does not follow.
    """
    fresh = replace(home, trust=following, origin=following.origin, keys=home.keys.under(following))
    signers = root_signers(home, root)
    if following.root_keys != home.trust.root_keys:
        signers = (*signers, *(new_root or (fresh.keys.root, fresh.keys.root_pq)))
    step = seal_step(following, signers)
    next_trust(home.trust, step)
    entry = TrustChanged(
        version=following.version,
        trust=following.fingerprint(),
        step=home.blobs.put(step),
        what=what,
    )
    drafts = (
        Draft(
            kind="trust.changed",
            actor=owner(home).principal,
            subject=following.origin,
            body=body_of(entry),
        ),
        *also(fresh),
    )
    steps = home.folder / STEPS_FOLDER
    with file_failures("make the folder of the trust root", steps):
        steps.mkdir(mode=0o700, exist_ok=True)
    home.write(steps / NEXT_FILE, step)
    home.archive.hand_over(
        drafts,
        home.now(),
        origin=following.origin,
        signer=fresh.keys.log,
        signer_pq=None if following.log_pq is None else fresh.keys.log_pq,
    )
    with recorded_already():
        publish_trust(home.folder, home.trust, following, step, home.write)
    return fresh


@contextmanager
def recorded_already() -> Iterator[None]:
    """Say, of a disk that fails inside, that the new keys are in force all the same."""
    try:
        yield
    except DependencyFailed as error:
        raise DependencyFailed(
            "operations.keys-not-published",
            "The new keys are recorded and in force, but not everything about them could be written.",
            why=error.refusal.sentence(),
            next="Do not repeat the command. When the disk works again, the next command completes this one.",
        ) from error


def root_signers(home: Home, root: RootPair | None = None) -> tuple[Signer, ...]:
    """The keys that sign the next version: those given, or the home's; in format 1 the release keys.

    Raises Misuse where they are not here, or are not those of this home.
    """
    if home.trust.format == TRUST_FORMAT_1:
        return (home.keys.release, home.keys.release_pq)
    try:
        signers = root or (home.keys.root, home.keys.root_pq)
    except Misuse as error:
        if error.code != "keys.missing":
            raise
        raise Misuse(
            ROOT_AWAY,
            "The root keys are not in this home.",
            why="Only they can change which keys speak for it.",
            next="Bring the folder that holds them, and name it: --root FOLDER",
        ) from None
    if tuple(each.public for each in signers) != home.trust.root_keys:
        raise Misuse(
            "operations.other-root",
            "These root keys are not those of this home.",
            why="The home's public keys name others.",
            next="Name the folder that 'gatewright key root --to FOLDER' wrote for this home.",
        )
    return signers
