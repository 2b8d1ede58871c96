"""Making and opening a home: the one place where the ports of operations meet their adapters."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gatewright.adapters.durable_files import (
    HomeLock,
    disk_failures,
    make_folder,
    remove_parts,
    remove_parts_of,
    sync_folder,
    write_atomically,
)
from gatewright.adapters.key_files import DATA_KEY_FILE, KeyFolder
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.adapters.sqlite_ledger import SqliteLedger
from gatewright.assembly.left_segments import take_in
from gatewright.assembly.settings import (
    HOME_FOLDER,
    LEDGER_FILE,
    LOCK_FILE,
    SETTINGS_FILE,
    TRUST_FILE,
    Settings,
    find_root,
    passphrase,
)
from gatewright.assembly.trusting import PUBLIC_FILE, home_keys, home_trust, under_way
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import nearest_spelling, parse_name
from gatewright.operations import forks
from gatewright.operations.collect import Collected
from gatewright.operations.home import Home
from gatewright.operations.initialise import default_policy, initialise
from gatewright.operations.plans import publish, renew
from gatewright.operations.projections import project
from gatewright.operations.waiting import open_segments, sealed
from gatewright.operations.workers import publish_certificates, renew_certificate
from gatewright.releases.trust import TrustRoot

NEW_PREFIX = ".gatewright-new-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What ``init`` made: where, whose, and the fingerprint of its keys."""

    root: Path
    origin: str
    owner: str
    trust: str
    passphrase: bool


class _Exclusive:
    """The home's lock, which whoever is inside may enter again; clears up after who was killed inside.

    ``gate`` is asked by whoever enters first, and raises where nothing may be recorded. Nobody gets in
    whose public keys of the home, read before, are not in force any more.
    """

    gate: Callable[[], None] | None = None
    taken = Collected(segments=0, predictions=0, problems=())
    """What was recorded of what dead workers left, before anything else."""

    def __init__(self, folder: Path, trust: TrustRoot) -> None:
        self._folder = folder
        self._lock = HomeLock(folder / LOCK_FILE)
        self._depth = 0
        self._keys = trust.encode() + self._data_key()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if self._depth == 0:
            self._lock.acquire()
        self._depth += 1
        try:
            if self._lock.unfinished:
                remove_parts(self._folder)
                self._lock.unfinished = False
            if self._depth == 1:
                self._enter()
            yield
        except BaseException:
            self._lock.unfinished = True
            raise
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._keys = self._in_force()  # changed by whoever was inside, or as they were
                self._lock.release()

    @property
    def changed(self) -> bool:
        """Whether another process changed the home's keys since, or is at it."""
        return under_way(self._folder) or self._in_force() != self._keys

    def _enter(self) -> None:
        if self._in_force() != self._keys:
            raise _keys_changed("What it would sign with the old ones would not count.")
        if self.gate is not None:
            self.gate()

    def _data_key(self) -> bytes:
        place = self._folder / "keys" / DATA_KEY_FILE
        return place.read_bytes() if place.is_file() else b""

    def _in_force(self) -> bytes:
        """The files of the public keys and of the data key as they are, empty where they cannot be read."""
        try:
            return (self._folder / TRUST_FILE).read_bytes() + self._data_key()
        except OSError:
            return b""


def _keys_changed(why: str) -> Misuse:
    return Misuse(
        "assembly.keys-changed",
        "Another command changed the keys of this home while this one ran.",
        why=why,
        next="Nothing was done. Run the command again.",
    )


@contextmanager
def read_home(start: Path, *, put_back: bool = False) -> Iterator[Home]:
    """Open the home at or above ``start`` beside others; what records does so inside ``exclusive()``.

    That raises in a home that was put back to an older state, unless ``put_back`` says that the caller
    comes for just that. Nothing is called tampered because the keys changed under whoever reads: that is Misuse.
    """
    settings = Settings.read(find_root(start, os.environ))
    ledger = settings.folder / LEDGER_FILE
    if not ledger.is_file():
        raise Tampered(
            "assembly.no-ledger",
            "The ledger of this home is gone.",
            next="Restore ledger.db from a backup; nothing is made anew in its place.",
            place=str(ledger),
        )
    with _opened(settings, settings.folder) as home:
        if not put_back and isinstance(home.exclusive, _Exclusive):
            home.exclusive.gate = partial(_before_records, home, home.exclusive)
        try:
            yield home
        except Tampered:
            if isinstance(home.exclusive, _Exclusive) and home.exclusive.changed:
                raise _keys_changed("What it read was signed partly with the old ones.") from None
            raise


def _before_records(home: Home, exclusive: _Exclusive) -> None:
    """Refuse where nothing may be recorded; then record what was promised before."""
    forks.require_none(home)
    if (open_segments(home.segments) or sealed(home.segments)) and forks.found(home) is None:
        exclusive.taken = take_in(home)


def taken_in(home: Home) -> Collected:
    """What opening the home recorded of what workers had left."""
    assert isinstance(home.exclusive, _Exclusive)  # noqa: S101 - every opened home has it
    return home.exclusive.taken


@contextmanager
def open_home(start: Path) -> Iterator[Home]:
    """Open the home at or above ``start`` for one operation, all of it exclusive.

    A plan that was recorded but not published, because a process died in between, is published; one
    of whose life less than half is left is renewed.
    """
    with read_home(start) as home, home.exclusive():
        home.archive.require_tables()
        publish_certificates(home)
        publish(home)
        renew(home)
        renew_certificate(home)
        yield home


def create_home(root: Path, owner: str = "") -> Made:
    """Make a home under ``root``: whole, or not at all.

    Everything is made in a folder of another name, which gets its own name as the last step.
    """
    secret = passphrase(os.environ)
    owner = parse_name(owner or nearest_spelling(getpass.getuser()), of="owner")
    root = root.resolve()
    if (root / HOME_FOLDER).exists():
        raise Misuse(
            "assembly.home-exists",
            f"There is a home at {root} already.",
            next="Use it, or choose another folder.",
        )
    with disk_failures("make the home", root):
        root.mkdir(parents=True, exist_ok=True)
        for leftover in root.glob(f"{NEW_PREFIX}*"):
            shutil.rmtree(leftover)
        for name in ("policy.toml", SETTINGS_FILE):
            remove_parts_of(root / name)
        draft = root / f"{NEW_PREFIX}{secrets.token_hex(4)}"
    settings = Settings(root=root, origin=f"gatewright/{secrets.token_hex(8)}")
    try:
        make_folder(draft)
        keys = KeyFolder(folder=draft / "keys", passphrase=secret)
        keys.create()
        trust = keys.trust(settings.origin, Instant(time.time_ns()))
        write_atomically(draft / TRUST_FILE, trust.encode(), PUBLIC_FILE)
        make_folder(draft / "blobs")
        make_folder(draft / "segments")
        with _opened(settings, draft) as home:
            initialise(home, owner)
        if not (root / "policy.toml").exists():
            write_atomically(root / "policy.toml", default_policy(), PUBLIC_FILE)
        write_atomically(root / SETTINGS_FILE, settings.text().encode(), PUBLIC_FILE)
        with disk_failures("make the home", root):
            draft.rename(root / HOME_FOLDER)
            sync_folder(root)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Made(
        root=root,
        origin=settings.origin,
        owner=owner,
        trust=trust.fingerprint().hex,
        passphrase=secret is not None,
    )


@contextmanager
def _opened(settings: Settings, folder: Path) -> Iterator[Home]:
    trust = home_trust(folder)
    exclusive = _Exclusive(folder, trust)
    keys = home_keys(folder, trust)
    archive = SqliteLedger(
        folder / LEDGER_FILE,
        signer=keys.log,
        signer_pq=None if trust.log_pq is None else keys.log_pq,
        origin=trust.origin,
        project=project,
    )
    try:
        yield Home(
            root=settings.root,
            folder=folder,
            origin=trust.origin,
            archive=archive,
            blobs=LocalBlobs(folder / "blobs", keys.data_key(), also=keys.next_data_keys()),
            keys=keys,
            trust=trust,
            now=lambda: Instant(time.time_ns()),
            new_bytes=secrets.token_bytes,
            write=partial(_write, folder),
            exclusive=exclusive,
        )
    finally:
        archive.close()


def _write(folder: Path, path: Path, data: bytes) -> None:
    """Write a file whole; beside one outside of the home, where no lock keeps others out, clear up first."""
    if folder not in path.absolute().parents:
        remove_parts_of(path)
    write_atomically(path, data)
