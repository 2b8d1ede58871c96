"""A home's public keys as it has them: a change of them that a dead process left is completed first."""

from __future__ import annotations

import os
from pathlib import Path

from gatewright.adapters.durable_files import HomeLock, write_atomically
from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.ledger_file import newest_leaf
from gatewright.assembly.settings import LEDGER_FILE, LOCK_FILE, passphrase, read_trust
from gatewright.kernel.errors import BadInput
from gatewright.ledger.records import Record
from gatewright.operations.trust_files import NEXT_FILE, STEPS_FOLDER, TRUST_CHANGED, settle
from gatewright.operations.workers import in_use
from gatewright.releases.trust import TrustRoot

PUBLIC_FILE = 0o644
KEYS_FOLDER = "keys"


def home_trust(folder: Path) -> TrustRoot:
    """The public keys of the home whose folder this is; raises Tampered when they are gone."""
    if under_way(folder):
        with HomeLock(folder / LOCK_FILE):
            return settled_trust(folder)
    return read_trust(folder)


def under_way(folder: Path) -> bool:
    """Whether a change of the public keys is under way, or was left by a dead process."""
    return os.path.lexists(folder / STEPS_FOLDER / NEXT_FILE)


def settled_trust(folder: Path) -> TrustRoot:
    """:func:`home_trust` for whoever holds the home's lock."""
    settle(folder, recorded=lambda: _recorded(folder / LEDGER_FILE), write=write_public)
    return read_trust(folder)


def home_keys(folder: Path, trust: TrustRoot) -> KeyFolder:
    """The private keys of the home whose folder this is, those in force by its public keys and certificates."""
    worker = in_use(folder, trust)
    keys = KeyFolder(folder=folder / KEYS_FOLDER, passphrase=passphrase(os.environ))
    return keys.under(trust, "" if worker is None else worker.public.id)


def write_public(path: Path, data: bytes) -> None:
    """Replace a file that everybody may read."""
    write_atomically(path, data, PUBLIC_FILE)


def _recorded(ledger: Path) -> str:
    """The fingerprint in the newest record of a change of the public keys."""
    leaf = newest_leaf(ledger, TRUST_CHANGED)
    try:
        return str(Record.decode(leaf).draft.body.get("trust", "")) if leaf else ""
    except BadInput:
        return ""
