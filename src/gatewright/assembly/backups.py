"""Backups of a home, and homes made from them: the one place that knows which files belong to a home.

A backup needs no private key and no passphrase of the home: it is a copy of what lies there, in an
envelope with a key of its own. What is made from it is verified before it gets its name, and is
marked: see :mod:`gatewright.operations.forks`.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import BinaryIO

from gatewright.adapters import backup_file
from gatewright.adapters.backup_file import BackupKey, Member
from gatewright.adapters.durable_files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    HomeLock,
    created_exclusively,
    disk_failures,
    make_folder,
    remove_parts_of,
    sync_folder,
    write_atomically,
)
from gatewright.adapters.ledger_file import database_failure, read_ledger
from gatewright.assembly.settings import HOME_FOLDER, SETTINGS_FILE, find_root, passphrase, read_trust
from gatewright.assembly.verifying import trusted, verify_kept
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.operations import ledger_verification, verify
from gatewright.operations.forks import FORK_FILE, RESTORED_FILE, Restored, restored_file
from gatewright.operations.released import drafted, require_new

COPY_BYTES = 1 << 20
LEDGER = "ledger.db"
COLLECTED = "segments/collected"
KEYS = "keys"
BESIDE = (SETTINGS_FILE, "policy.toml")
OF_THE_MOMENT = {"lock", "serve.lock", "collector.lock", "serve.json", "scrub.json", FORK_FILE, RESTORED_FILE}
"""Files that say how things stand on this machine now; a home made elsewhere begins without them."""
UNFINISHED = (".part", ".open")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What a backup holds: records, files, their bytes; whether the keys are among them; the trust's fingerprint."""

    file: Path
    records: int
    files: int
    bytes: int
    size: int
    keys: bool
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remade:
    """A home made from a backup. ``held`` are the sentences of what was verified, ``missing`` what could not be."""

    folder: Path
    origin: str
    records: int
    made: str
    keys: bool
    fingerprint: str
    held: tuple[str, ...]
    missing: str


def opener(
    passphrase_file: Path | None, key_file: Path | None, *, make: bool = False
) -> Callable[[str], BackupKey]:
    """The key of a backup by its kind, from one of the two files; with ``make`` a key file that is not there is made.

    Raises Misuse unless exactly one is named.
    """
    if (passphrase_file is None) == (key_file is None):
        raise Misuse(
            "assembly.backup-key",
            "A backup is encrypted under a key of its own; name one.",
            next="Give --key-file FILE (made where there is none) or --passphrase-file FILE.",
        )
    if key_file is not None:
        if make:
            remove_parts_of(key_file)
        if make and not os.path.lexists(key_file):
            backup_file.new_key_file(key_file)
        found = backup_file.read_key_file(key_file)
    else:
        secret = passphrase({"GATEWRIGHT_PASSPHRASE_FILE": str(passphrase_file)})
        found = BackupKey(kind="passphrase", secret=secret or b"")

    def key(kind: str) -> BackupKey:
        if kind != found.kind:
            other = (
                "a passphrase: give --passphrase-file"
                if kind == "passphrase"
                else "a key file: give --key-file"
            )
            raise Misuse("assembly.backup-key", f"This backup is opened by {other}.")
        return found

    return key


# Making one


def back_up(start: Path, to: Path, key: Callable[[], BackupKey], *, with_keys: bool = False) -> BackedUp:
    """Write the home at or above ``start`` into the file ``to``: whole, read back and verified, or not at all.

    ``key`` is asked once it is clear that a backup can be written there.

    Raises Misuse where ``to`` exists or lies in the home's folder, Tampered where the home's ledger
    does not hold, DependencyFailed when the disk fails.
    """
    root = find_root(start, os.environ)
    folder = root / HOME_FOLDER
    to = to.absolute()
    if os.path.lexists(to):
        raise Misuse(
            "storage.exists", f"{to.name} exists already.", next="Choose another name.", place=str(to)
        )
    if folder in to.parent.resolve().parents or to.parent.resolve() == folder:
        what = "A backup within the home would be lost with it."
        raise Misuse("assembly.backup-inside", what, next="Name a file elsewhere.", place=str(to))
    trust, opened_by = read_trust(folder), key()
    with ExitStack() as stack:
        with HomeLock(folder / "lock"), disk_failures("read the home", folder):
            remove_parts_of(to)
            ledger = stack.enter_context(_copied(folder))
            copy = read_ledger(Path(ledger.name))
            held = ledger_verification.ledger(copy.leaves, copy.checkpoint, copy.disagreements, trust)
            del copy
            Path(ledger.name).unlink()
            members = list(_listed(root, folder, with_keys=with_keys))
            wrapping = _wrapping(folder)
        size = os.fstat(ledger.fileno()).st_size
        first = (Member(path=f"{HOME_FOLDER}/{LEDGER}", mode=PRIVATE_FILE, size=size), _pieces(ledger))
        home: JsonObject = {
            "keys": with_keys,
            "made": str(Instant(time_ns())),
            "origin": trust.origin,
            "records": held.facts["records"],
            "root": held.facts["root"],
            "trust": trust.fingerprint().hex,
        }
        pieces = backup_file.written(opened_by, home, _every(first, root, members))
        with created_exclusively(to, pieces) as part:
            if wrapping != _wrapping(folder):
                what = "The data key of the home was changed during the backup."
                raise Misuse("assembly.backup-meanwhile", what, next="Run the backup again.")
            files, content, whole = _read_back(part, opened_by)
    return BackedUp(
        file=to,
        records=int(str(home["records"])),
        files=files,
        bytes=content,
        size=whole,
        keys=with_keys,
        fingerprint=trust.fingerprint().hex,
    )


def _copied(folder: Path) -> BinaryIO:
    """One file with all of the ledger as of now: SQLite's own online copy, the write-ahead log folded in."""
    copy = folder / f".{LEDGER}.{os.getpid()}.part"
    copy.unlink(missing_ok=True)
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE_FILE))
    try:
        with closing(sqlite3.connect(folder / LEDGER)) as source, closing(sqlite3.connect(copy)) as target:
            target.execute("PRAGMA journal_mode=OFF")
            source.backup(target)
    except sqlite3.Error as error:
        copy.unlink(missing_ok=True)
        raise database_failure(error, folder / LEDGER) from error
    return copy.open("rb")


def _wrapping(folder: Path) -> bytes:
    """The file of the key under which the stored contents' keys lie; a change of it changes the blobs too."""
    place = folder / KEYS / "data.key"
    return place.read_bytes() if place.is_file() else b""


def _listed(root: Path, folder: Path, *, with_keys: bool) -> Iterator[tuple[str, int]]:
    """Path and mode of every file that belongs to a home, in order; raises Tampered for a link among them."""
    for name in BESIDE:
        if (root / name).is_file():
            yield name, 0o644
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(root).as_posix()
        within = path.relative_to(folder)
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) or path.name in OF_THE_MOMENT or path.suffix in UNFINISHED:
            continue
        if within.parts[0] == KEYS and not with_keys:
            continue
        if within.name.startswith(LEDGER) and len(within.parts) == 1:
            continue
        if not stat.S_ISREG(found.st_mode) or not backup_file.is_plain(name):
            raise Tampered(
                "assembly.not-a-stored-file",
                "Something lies in the home that no part of it wrote: a link, a device or an odd name.",
                next="Look at it, and take it out; then run the backup again.",
                place=name,
            )
        yield name, stat.S_IMODE(found.st_mode)


def _every(
    first: tuple[Member, Iterator[bytes]], root: Path, members: list[tuple[str, int]]
) -> Iterator[tuple[Member, Iterator[bytes]]]:
    yield first
    for name, mode in members:
        with _found(root, name) as file:
            size = os.fstat(file.fileno()).st_size
            yield Member(path=name, mode=mode, size=size), _pieces(file, size)


def _found(root: Path, name: str) -> BinaryIO:
    """A listed file; a segment may have been collected since."""
    places = (root / name, root / HOME_FOLDER / COLLECTED / Path(name).name)
    for place in places if name.endswith(".sealed") else places[:1]:
        try:
            return os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except FileNotFoundError:
            continue
    what = f"A file went away while it was backed up: {name}."
    raise Misuse("assembly.backup-meanwhile", what, next="Run the backup again.", place=name)


def _pieces(file: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """The bytes of an open file; at most ``size`` of them, where it may grow."""
    left = os.fstat(file.fileno()).st_size if size is None else size
    while left and (piece := file.read(min(left, COPY_BYTES))):
        left -= len(piece)
        yield piece


def _read_back(part: Path, key: BackupKey) -> tuple[int, int, int]:
    """Read what was just written from the disk: how many files, their bytes, and the size of all."""
    counted = [0, 0]

    def take(_member: Member, pieces: Iterator[bytes]) -> None:
        counted[0] += 1
        counted[1] += sum(map(len, pieces))

    with part.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        backup_file.read(file, lambda _kind: key, take)
        return counted[0], counted[1], os.fstat(file.fileno()).st_size


# A home from one


def restore(
    file: Path,
    to: Path,
    key: Callable[[str], BackupKey],
    *,
    fingerprint: str = "",
    say: Callable[[str], None] = print,
) -> Remade:
    """Make a home in the new folder ``to`` from a backup: verified whole, or not there at all.

    The home is marked: nothing is recorded in it until a person has said that it was put back.
    Raises Misuse where ``to`` holds something, Tampered where backup or home do not hold.
    """
    require_new(to)
    with disk_failures("read the backup", file):
        if not file.is_file():
            raise Misuse("assembly.no-backup", f"There is no backup {file}.")
        source = file.open("rb")
    with source, drafted(to.absolute()) as draft:
        taken = _Taking(draft)
        said = backup_file.read(source, key, taken.take)
        folder = draft / HOME_FOLDER
        if not (folder / LEDGER).is_file() or not (draft / SETTINGS_FILE).is_file():
            what = "The backup holds no home: its ledger or its settings are missing."
            raise Tampered("assembly.not-a-home", what, next="Use another backup.")
        root = trusted(folder, fingerprint=fingerprint).root
        held, missing = [], ""
        try:
            for one in verify_kept(folder, root):
                held.append(one)
                say(one.sentence)
        except Misuse as error:
            if not held:
                raise
            missing = error.refusal.what
        records = int(str(held[0].facts["records"]))
        mark = Restored(
            records=records, root=str(held[0].facts["root"]), made=str(said.get("made")), plan=_plan_in(held)
        )
        for name in ("blobs", "segments"):  # an empty folder stands in no backup
            make_folder(folder / name)
        write_atomically(folder / RESTORED_FILE, restored_file(mark))
        (folder / "lock").unlink(missing_ok=True)
        taken.settle()
    with disk_failures("make the home", to):
        sync_folder(to.absolute().parent)
    return Remade(
        folder=to,
        origin=root.origin,
        records=records,
        made=mark.made,
        keys=said.get("keys") is True,
        fingerprint=root.fingerprint().hex,
        held=tuple(one.sentence for one in held),
        missing=missing,
    )


def _plan_in(held: Iterable[verify.Verified]) -> int:
    return next((int(str(one.facts["number"])) for one in held if one.kind == "plan"), 0)


class _Taking:
    """Writes the members of a backup below a folder that nobody else knows yet."""

    def __init__(self, draft: Path) -> None:
        self._draft = draft
        self._folders: dict[Path, None] = {draft: None}
        self._homes = {*BESIDE}

    def take(self, member: Member, pieces: Iterator[bytes]) -> None:
        """Write one member, durably but for its name."""
        head = member.path.split("/")[0]
        if member.path not in self._homes and (head != HOME_FOLDER or "/" not in member.path):
            what = f"The backup holds a file that belongs to no home: {member.path}."
            raise Tampered("assembly.not-a-home", what, next="Use another backup.")
        path = self._draft / member.path
        make_folder(path.parent)
        for folder in path.parents:
            self._folders[folder] = None
            if folder == self._draft:
                break
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with disk_failures("write the file", path):
            handle = os.open(path, flags, PRIVATE_FILE)
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, (member.mode | PRIVATE_FILE) & 0o755)
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(handle)

    def settle(self) -> None:
        """Make the names durable, and every folder of a home private."""
        with disk_failures("write the folder", self._draft):
            for folder in self._folders:
                if folder != self._draft:
                    folder.chmod(PRIVATE_FOLDER)
                sync_folder(folder)
