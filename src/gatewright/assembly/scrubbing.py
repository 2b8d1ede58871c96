"""What the scrubber reads: every part of a home, verified by the verifier's own steps, one piece at a time.

In the background it is a thread of the collector's process. It reads one piece, then rests
:data:`REST` times as long as that took, so that it has a tenth of one core and of the disk at most.
A ledger is one piece; it is read as of one moment, beside whoever writes.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, time_ns

from gatewright.adapters.durable_files import HomeLock, write_atomically
from gatewright.adapters.ledger_file import read_whole
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly import verifying
from gatewright.assembly.homes import open_home, read_home
from gatewright.assembly.kept_keys import verified_public
from gatewright.assembly.settings import HOME_FOLDER, LEDGER_FILE, LOCK_FILE, find_root, read_trust
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import GatewrightError, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.segments import scan, verify_segment
from gatewright.operations import ledger_verification, verify
from gatewright.operations.catalogue import Damage, Segment, every
from gatewright.operations.files import read_file
from gatewright.operations.scrub import (
    PROGRESS_FILE,
    Piece,
    Progress,
    damages,
    ended,
    passed,
    read_progress,
    record,
)

REST = 9
"""How many times as long as a piece took the scrubber rests after it."""
LEAST_REST_S = 0.02
KEEP_S = 5.0
SEALED = ".sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the scrubber waits: before it begins, so that a server comes to rest, and between two passes."""

    first_s: float = 60.0
    between_s: float = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrubbed:
    """A whole pass: how much was read, every damage that stands, and the places that hold again."""

    pieces: int
    bytes: int
    damaged: tuple[Damage, ...]
    repaired: tuple[str, ...]


def pieces_of(folder: Path) -> Iterator[Piece]:
    """Every part of the home in ``folder``, in the order of its positions.

    The stored contents need the data key: raises Misuse at their place where it is encrypted and no
    passphrase was given.
    """
    keys = Piece(position="1 keys", what="keys", place="trust.json", check=partial(_public, folder))
    yield keys
    yield Piece(position="2 ledger", what="ledger", place=LEDGER_FILE, check=partial(_ledger, folder))
    recorded = _recorded(folder)
    places = {path.name: path for path in sorted((folder / "segments").rglob(f"*{SEALED}"))}
    for name in sorted({*places, *(f"{each}{SEALED}" for each in recorded)}):
        expected = recorded.get(name.removesuffix(SEALED))
        yield Piece(
            position=f"3 segment {name}",
            what="segment",
            place=f"segments/{name}",
            check=partial(_segment, folder, places.get(name, folder / "segments" / name), expected),
            expected=expected,
        )
    key = verifying.data_key(folder)
    if key is None:
        raise Misuse(
            "assembly.scrub-passphrase",
            "Not scrubbed: the stored contents, which need the passphrase.",
            next="Set GATEWRIGHT_PASSPHRASE_FILE to a file that holds it.",
        )
    blobs = LocalBlobs(folder / "blobs", key, also=verifying.next_data_keys(folder))
    for digest in blobs.digests():
        yield Piece(
            position=f"4 content {digest.hex}",
            what="content",
            place=blobs.path_of(digest).relative_to(folder).as_posix(),
            check=partial(_content, blobs, digest),
            expected=digest,
        )


def _public(folder: Path) -> int:
    """Trust root, worker certificates, the published plan, and the private keys that belong to them."""
    trust = read_trust(folder)
    return sum(len(content) for content in verified_public(folder, trust))


def _ledger(folder: Path) -> int:
    try:
        return _require_ledger(folder)
    except Tampered:  # or somebody just changed the keys: then it holds while nobody does
        with HomeLock(folder / LOCK_FILE):
            return _require_ledger(folder)


def _require_ledger(folder: Path) -> int:
    trust = read_trust(folder)
    place = folder / LEDGER_FILE
    found = read_whole(place, origin=trust.origin, key=trust.log)
    ledger_verification.ledger(found.leaves, found.checkpoint, found.disagreements, trust)
    ledger_verification.projections(found.leaves, found.documents)
    return place.stat().st_size


def _recorded(folder: Path) -> dict[str, Digest]:
    """The digest of each segment that the ledger knows, by its id; empty where the tables do not hold."""
    try:
        with read_home(folder.parent) as home:
            return {each.id: each.file for each in every(home, "segments", Segment)}
    except GatewrightError:
        return {}  # the piece before says so


def _segment(folder: Path, path: Path, expected: Digest | None) -> int:
    try:
        content = read_file(path if path.exists() else folder / "segments" / "collected" / path.name)
    except Misuse:
        if expected is None:
            return 0  # collected meanwhile under another name
        raise Tampered(
            "operations.segment-missing",
            "A file of prediction records is missing.",
            next="Restore it from a backup; the ledger holds its root.",
            place=path.name,
        ) from None
    if expected is not None and Digest.of(content) != expected:
        raise Tampered(
            "operations.segment-changed",
            "A file of prediction records is not the one that was recorded.",
            next="Restore it from a backup; the ledger holds its root.",
            place=path.name,
        )
    trust = read_trust(folder)
    verify_segment(scan(content), verify.certified_workers(trust, verifying.certificates(folder)))
    return len(content)


def _content(blobs: LocalBlobs, digest: Digest) -> int:
    return len(blobs.get(digest)) if blobs.has(digest) else 0


def scrub_home(start: Path) -> Scrubbed:
    """A whole pass over the home at or above ``start``, now; what it found is recorded."""
    folder = find_root(start, os.environ) / HOME_FOLDER
    progress = read_progress(folder)
    found: list[tuple[Piece, Damage | None]] = []
    last = begun = Progress(finished=progress.finished)
    for piece, damage, now in passed(pieces_of(folder), begun, _now):
        found.append((piece, damage))
        last = now
    standing = tuple(damage for _, damage in found if damage is not None)
    repaired: list[str] = []
    try:
        with open_home(start) as home:
            _, repaired = record(home, found)
    except GatewrightError:
        if not standing:
            raise
    _keep(folder, ended(last, _now()))
    return Scrubbed(pieces=last.pieces, bytes=last.size, damaged=standing, repaired=tuple(repaired))


def _now() -> Instant:
    return Instant(time_ns())


def _keep(folder: Path, progress: Progress) -> None:
    with HomeLock(folder / LOCK_FILE):  # so that what a killed writer leaves is found by the next
        write_atomically(folder / PROGRESS_FILE, progress.encode())


@contextmanager
def scrubbing(start: Path, pace: Pace) -> Iterator[None]:
    """The scrubber of the home at or above ``start``, in a thread beside the block."""
    scrubber = _Scrubber(start, pace)
    scrubber.begin()
    try:
        yield
    finally:
        scrubber.end()


class _Scrubber:
    """The scrubber of a home in the background, until :meth:`end`."""

    def __init__(self, start: Path, pace: Pace) -> None:
        self._start = start
        self._pace = pace
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scrubber", daemon=True)

    def begin(self) -> None:
        """Begin, after a while."""
        self._thread.start()

    def end(self) -> None:
        """End within a piece; the progress is kept."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        said = ""
        wait = self._pace.first_s
        while not self._ending.wait(wait):
            try:
                wait = self._pass()
                said = ""
            except GatewrightError as error:
                sentence = error.refusal.sentence()
                if sentence != said:
                    _say(sentence)
                said, wait = sentence, self._pace.first_s

    def _pass(self) -> float:
        """One pass, or what is left of it, where one is due; returns the seconds until the next."""
        folder = find_root(self._start, os.environ) / HOME_FOLDER
        progress = kept_progress = read_progress(folder)
        if not progress.position and (left := self._until_due(progress)) > 0:
            return left
        kept = monotonic()
        with read_home(self._start, put_back=True) as home:
            known = set(damages(home))
        began = monotonic()
        for piece, damage, now in passed(pieces_of(folder), kept_progress, _now):
            progress = now
            took = monotonic() - began
            if damage is not None or piece.place in known:
                self._record(piece, damage)
            if monotonic() - kept > KEEP_S:
                _keep(folder, progress)
                kept = monotonic()
            if self._ending.wait(max(LEAST_REST_S, took * REST)):
                _keep(folder, progress)
                return 0.0
            began = monotonic()
        _keep(folder, ended(progress, _now()))
        return self._pace.between_s

    def _until_due(self, progress: Progress) -> float:
        if not progress.finished:
            return 0.0
        since = (time_ns() - Instant.parse(progress.finished).ns) * 1e-9
        return self._pace.between_s - since if since >= 0 else 0.0

    def _record(self, piece: Piece, damage: Damage | None) -> None:
        with open_home(self._start) as home:
            new, repaired = record(home, ((piece, damage),))
        for each in new:
            _say(f"damaged: {each.what} {each.place}: {each.found}")
        for place in repaired:
            _say(f"holds again: {place}")


def _say(sentence: str) -> None:
    sys.stderr.write(f"scrubber: {sentence}\n")
    sys.stderr.flush()
