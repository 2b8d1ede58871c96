"""Rotating a home's keys, with the folders and the waiting that this takes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from gatewright.adapters.key_files import HomeKey, KeyFolder
from gatewright.assembly.homes import open_home
from gatewright.assembly.settings import passphrase
from gatewright.assembly.trusting import home_keys
from gatewright.kernel.errors import DependencyFailed, Misuse
from gatewright.operations.collect import collect
from gatewright.operations.key_rotation import Rotated, revoke_worker, rotate, rotate_worker
from gatewright.operations.status import signing_workers
from gatewright.operations.trust_changes import RootPair, root_signers
from gatewright.operations.waiting import open_segments
from gatewright.releases.trust import TRUST_FORMAT_1, TrustRoot

WAIT_S = 10.0
"""How long running workers may take to use a new key and to seal what the old one signed."""
LOOK_S = 0.05
PROOF = b"gatewright: this copy of a root key signs\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedRoot:
    """Where the root keys lie now, and their ids."""

    folder: Path
    ids: tuple[str, str]


def root_folder(folder: Path, trust: TrustRoot) -> KeyFolder:
    """The root keys in a folder of their own; raises Misuse where it holds none."""
    return KeyFolder(folder=folder, passphrase=passphrase(os.environ)).under(trust)


def rotate_home(
    start: Path, part: str, *, compromised: bool = False, root: Path | None = None, keep: bool = False
) -> Rotated:
    """Put new keys in force in the home at or above ``start``; see :func:`~gatewright.operations.key_rotation.rotate`."""
    if part == "worker":
        return _rotate_worker(start, compromised=compromised, root=root, keep=keep)
    with open_home(start) as home:
        away = None if root is None else root_folder(root, home.trust)
        rotated = rotate(home, part, compromised=compromised, away=away, keep=keep)
        if away is not None and part == "root" and not keep:
            away.under(TrustRoot.decode((home.folder / "trust.json").read_bytes())).sweep()
        return rotated


def _rotate_worker(start: Path, *, compromised: bool, root: Path | None, keep: bool) -> Rotated:
    """A new worker key; where the old one was taken, it is revoked once no worker of ours signs with it.

    What our own workers had answered with it until then is in the log first, and goes on counting.
    """
    with open_home(start) as home:
        if compromised:
            _root(root, home.trust)  # refused before anything is made
            root_signers(home, _root(root, home.trust))
        rotated = rotate_worker(home, keep=keep)
        segments = home.segments
    if not compromised or not rotated.before:
        return rotated
    old = rotated.before[0].id
    left = open_segments(segments)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and (
        old in signing_workers(segments) or left & open_segments(segments)
    ):
        time.sleep(LOOK_S)
    with open_home(start) as home:
        while collect(home).segments:
            pass
        fresh = revoke_worker(home, old, root=_root(root, home.trust))
        return replace(
            rotated,
            compromised=True,
            version=fresh.trust.version,
            fingerprint=fresh.trust.fingerprint().hex,
        )


def _root(folder: Path | None, trust: TrustRoot) -> RootPair | None:
    if folder is None:
        return None
    keys = root_folder(folder, trust)
    return keys.root, keys.root_pq


def move_root(start: Path, folder: Path) -> MovedRoot:
    """Take the root keys out of the home into a folder: copied, the copy proved, then removed here.

    Raises Misuse where they are not here, or the folder holds other ones.
    """
    with open_home(start) as home:
        if home.trust.format == TRUST_FORMAT_1:
            raise Misuse(
                "assembly.no-root",
                "This home has no root keys yet.",
                why="It was made before there were any; its release keys play their part.",
                next="Any rotation makes them: gatewright key rotate log",
            )
        if folder.resolve().is_relative_to(home.folder.resolve()):
            raise Misuse(
                "assembly.root-inside", f"{folder} lies inside the home.", next="Name a folder elsewhere."
            )
        here, there = home_keys(home.folder, home.trust), root_folder(folder, home.trust)
        for name in (HomeKey.ROOT, HomeKey.ROOT_PQ):
            here.copy_key(name, there)
        for key, public in zip((there.root, there.root_pq), home.trust.root_keys, strict=True):
            if key.public != public or not public.verifies(key.sign(PROOF), PROOF):
                raise DependencyFailed(
                    "assembly.root-copy", "The copy of a root key does not sign.", place=str(folder)
                )
        for name in (HomeKey.ROOT, HomeKey.ROOT_PQ):
            here.remove(name)
        ids = tuple(each.id for each in home.trust.root_keys)
    return MovedRoot(folder=folder, ids=(ids[0], ids[1]))
