"""Making and opening a home: the one place where the ports of operations meet their adapters."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gatewright.adapters.durable_files import (
    HomeLock,
    disk_failures,
    make_folder,
    remove_parts,
    sync_folder,
    write_atomically,
)
from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.adapters.sqlite_ledger import SqliteLedger
from gatewright.assembly.settings import (
    HOME_FOLDER,
    SETTINGS_FILE,
    Settings,
    find_root,
    passphrase,
    read_trust,
)
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import nearest_spelling, parse_name
from gatewright.operations.home import Home
from gatewright.operations.initialise import default_policy, initialise
from gatewright.operations.plans import publish, renew
from gatewright.operations.projections import project

LEDGER_FILE = "ledger.db"
LOCK_FILE = "lock"
NEW_PREFIX = ".gatewright-new-"
PUBLIC_FILE = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What ``init`` made: where, whose, and the fingerprint of its keys."""

    root: Path
    origin: str
    owner: str
    trust: str
    passphrase: bool


class _Exclusive:
    """The home's lock, which whoever is inside may enter again; clears up after who was killed inside."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = HomeLock(folder / LOCK_FILE)
        self._depth = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        if self._depth == 0:
            self._lock.acquire()
        self._depth += 1
        try:
            if self._lock.unfinished:
                remove_parts(self._folder)
                self._lock.unfinished = False
            yield
        except BaseException:
            self._lock.unfinished = True
            raise
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._lock.release()


@contextmanager
def read_home(start: Path) -> Iterator[Home]:
    """Open the home at or above ``start`` beside others; what records does so inside ``exclusive()``."""
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
        yield home


@contextmanager
def open_home(start: Path) -> Iterator[Home]:
    """Open the home at or above ``start`` for one operation, all of it exclusive.

    A plan that was recorded but not published, because a process died in between, is published; one
    of whose life less than half is left is renewed.
    """
    with read_home(start) as home, home.exclusive():
        home.archive.require_tables()
        publish(home)
        renew(home)
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
            for part in root.glob(f".{name}.*.part"):
                part.unlink()
        draft = root / f"{NEW_PREFIX}{secrets.token_hex(4)}"
    settings = Settings(root=root, origin=f"gatewright/{secrets.token_hex(8)}")
    try:
        make_folder(draft)
        keys = KeyFolder(folder=draft / "keys", passphrase=secret)
        keys.create()
        trust = keys.trust(settings.origin, Instant(time.time_ns()))
        write_atomically(draft / "trust.json", trust.encode(), PUBLIC_FILE)
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
    keys = KeyFolder(folder=folder / "keys", passphrase=passphrase(os.environ))
    trust = read_trust(folder)
    archive = SqliteLedger(
        folder / LEDGER_FILE,
        signer=keys.log,
        signer_pq=None if trust.log_pq is None else keys.log_pq,
        origin=settings.origin,
        project=project,
    )
    try:
        yield Home(
            root=settings.root,
            folder=folder,
            origin=settings.origin,
            archive=archive,
            blobs=LocalBlobs(folder / "blobs", keys.data_key()),
            keys=keys,
            trust=trust,
            now=lambda: Instant(time.time_ns()),
            new_bytes=secrets.token_bytes,
            write=write_atomically,
            exclusive=_Exclusive(folder),
        )
    finally:
        archive.close()
