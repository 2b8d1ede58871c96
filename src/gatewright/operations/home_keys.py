"""The keys that speak for a home, of now and of the past: what they are, since when, until when, in which state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from gatewright.deployments.deployment import DAY
from gatewright.kernel.errors import Misuse
from gatewright.kernel.instants import Instant
from gatewright.operations.files import file_failures
from gatewright.operations.home import Home
from gatewright.operations.trust_files import versions
from gatewright.operations.workers import certified_here, in_use
from gatewright.releases.keys import PublicKey
from gatewright.releases.trust import TrustRoot

WARN_DAYS = 60
"""Keys that expire sooner than this are worth a warning."""
IN_FORCE = "in force"
RETIRED = "retired"
REVOKED = "revoked"
EXPIRED = "expired"
DATA_KEY_PLACE = "keys/data.key"
DATA_ALGORITHM = "aes-256"


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeKeyEntry:
    """One key: its role, algorithm and id; from when until when (empty: not stated) and its state.

    The data key signs nothing, so it has no public half and no id; its time is that of its file, for no record
    tells it. ``here`` says whether its private half lies in the home, where that is known.
    """

    role: str
    algorithm: str
    id: str
    since: str
    until: str
    state: str
    here: bool | None = None


def home_keys(home: Home) -> tuple[HomeKeyEntry, ...]:
    """Every key of the home: root, release, log, worker and data, those in force first."""
    found = [*_of_trust(home), *_workers(home), _data(home)]
    return tuple(sorted(found, key=lambda each: each.state != IN_FORCE))


def _of_trust(home: Home) -> Iterator[HomeKeyEntry]:
    since: dict[tuple[str, PublicKey], Instant] = {}
    until: dict[tuple[str, PublicKey], Instant] = {}
    opened = home.archive.get("home", "home")
    first = home.now() if opened is None else Instant.parse(str(opened["time"]))
    held: set[tuple[str, PublicKey]] = set()
    for version in versions(home.folder):
        now = {(role, key) for role, key in _roles(version)}
        for each in now - held:
            since.setdefault(each, version.made or first)
        for each in held - now:
            until[each] = version.made or first
        held = now
    revoked = _revoked(home.trust)
    for (role, key), began in sorted(since.items(), key=lambda item: (item[0][0], item[1].ns)):
        if (role, key) in held:
            last, state = home.trust.expires, _state(home)
        else:
            last, state = until.get((role, key)), REVOKED if key in revoked else RETIRED
        yield HomeKeyEntry(
            role=role,
            algorithm=str(key.algorithm),
            id=key.id,
            since=str(began),
            until="" if last is None else str(last),
            state=state,
            here=_root_is_here(home) if role == "root" and (role, key) in held else None,
        )


def _roles(trust: TrustRoot) -> Iterator[tuple[str, PublicKey]]:
    pairs = {
        "root": (trust.root, trust.root_pq),
        "release": trust.release_keys,
        "log": (trust.log, trust.log_pq),
    }
    return ((role, key) for role, pair in pairs.items() for key in pair if key is not None)


def _revoked(trust: TrustRoot) -> set[PublicKey]:
    gone: set[PublicKey] = set()
    for era in trust.past:
        if "release" in era.revoked:
            gone |= set(era.release_keys)
        if "log" in era.revoked:
            gone |= {key for key in (era.log, era.log_pq) if key is not None}
    return gone


def _state(home: Home) -> str:
    return EXPIRED if home.trust.expires is not None and home.trust.expires <= home.now() else IN_FORCE


def _root_is_here(home: Home) -> bool:
    try:
        return bool(home.keys.root.public)
    except Misuse as error:
        if error.code != "keys.missing":
            raise
        return False


def _workers(home: Home) -> Iterator[HomeKeyEntry]:
    using = in_use(home.folder, home.trust)
    known = sorted(certified_here(home.folder, home.trust), key=lambda each: each.valid_from)
    followed = [each.valid_from for each in known[1:]]
    for worker, following in zip_longest(known, followed):
        gone = home.trust.revoked_worker(worker.public.id)
        until: Instant | None = worker.valid_until
        state = IN_FORCE if worker == using else RETIRED
        if state == RETIRED and following is not None:  # another one signs from then on
            until = following if until is None else min(until, following)
        if gone is not None:
            state, until = REVOKED, gone.time
        yield HomeKeyEntry(
            role="worker",
            algorithm=str(worker.public.algorithm),
            id=worker.public.id,
            since=str(worker.valid_from),
            until="" if until is None else str(until),
            state=state,
        )


def _data(home: Home) -> HomeKeyEntry:
    place = home.folder / DATA_KEY_PLACE
    here = place.is_file()
    with file_failures("look at the data key", place):
        since = Instant(place.stat().st_mtime_ns) if here else None
    return HomeKeyEntry(
        role="data",
        algorithm=DATA_ALGORITHM,
        id="",
        since="" if since is None else str(since),
        until="",
        state=IN_FORCE,
        here=None if here else False,
    )


def keys_warning(trust: TrustRoot, now: Instant) -> str:
    """That the keys expire soon, or have expired; nothing where they do not."""
    if trust.expires is None:
        return ""
    days = (trust.expires.ns - now.ns) // DAY
    if trust.expires <= now:
        return (
            f"The keys of this home expired on {str(trust.expires)[:10]}: what they sign now does not count."
        )
    if days < WARN_DAYS:
        return f"The keys of this home expire on {str(trust.expires)[:10]}, in {days} days."
    return ""
