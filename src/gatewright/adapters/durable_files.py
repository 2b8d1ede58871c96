"""Files that are there whole or not at all, and the lock that keeps one writer in a home.

A write goes to a temporary file in the same folder, is synced, takes its name in one step, and the
folder is synced: after a power loss the old bytes are found or the new, never a mix. Every failure
of the disk reaches a person as :class:`~gatewright.kernel.errors.DependencyFailed`.

A process killed in the middle of a write leaves one file named ``.<name>.<random>.part`` behind, and
so may a power loss, even after it; no reader looks at such names, and whoever takes the lock next
removes them: see :func:`remove_parts`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import Self

from gatewright.kernel.errors import DependencyFailed, Misuse

LOCK_WAIT_S = 10.0
LOCK_POLL_S = 0.02
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LOCK_BYTES = 64
_PART_BYTES = 8
_HEX_DIGIT = "[0-9a-f]"
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

_REASONS = {
    errno.ENOSPC: ("storage.disk-full", "The disk is full.", "Free some space, then run the command again."),
    errno.EDQUOT: ("storage.disk-full", "The disk quota is used up.", "Free some space, then run it again."),
    errno.EIO: ("storage.disk-error", "The disk reported an error.", "Check the disk before anything else."),
    errno.EACCES: ("storage.no-permission", "Permission is denied.", "Give this user access to the path."),
    errno.EPERM: (
        "storage.no-permission",
        "The system does not permit it.",
        "Give this user access to the path.",
    ),
    errno.EROFS: ("storage.read-only", "The file system is read-only.", "Use a home on a writable disk."),
    errno.EMFILE: ("storage.too-many-files", "Too many files are open.", "Raise the limit (ulimit -n)."),
}


def disk_failure(error: OSError, doing: str, path: Path) -> DependencyFailed:
    """What an ``OSError`` means for a person; ``doing`` completes "Could not ..."."""
    code, why, step = _REASONS.get(
        error.errno or 0, ("storage.failed", os.strerror(error.errno or errno.EIO) + ".", "")
    )
    return DependencyFailed(code, f"Could not {doing}.", why=why, next=step, place=str(path))


@contextmanager
def disk_failures(doing: str, path: Path) -> Iterator[None]:
    """Raise DependencyFailed for every ``OSError`` inside."""
    try:
        yield
    except OSError as error:
        raise disk_failure(error, doing, path) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create a folder (0700), and those above it, durably. Raises DependencyFailed."""
    with disk_failures("create the folder", folder):
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            sync_folder(each.parent)


def _write_all(handle: int, data: bytes | bytearray | memoryview) -> None:
    """Write everything: one system call takes at most 2 GiB, and may take less."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(handle, rest) :]


def _write_part(part: Path, pieces: Iterable[bytes | bytearray | memoryview], mode: int) -> None:
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(handle, mode)  # whatever the umask says
        for piece in pieces:
            _write_all(handle, piece)
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _part_of(path: Path, pieces: Iterable[bytes | bytearray | memoryview], mode: int) -> Iterator[Path]:
    """A synced temporary file beside ``path`` with the content; gone at the end unless renamed."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(_PART_BYTES)}.part")
    try:
        _write_part(part, pieces, mode)
        yield part
    finally:
        part.unlink(missing_ok=True)


def write_pieces_atomically(
    path: Path, pieces: Iterable[bytes | bytearray | memoryview], mode: int = PRIVATE_FILE
) -> None:
    """Replace ``path`` with the pieces joined; all or nothing, durable on return.

    Raises DependencyFailed when the disk fails; then the old file stands as it was.
    """
    with disk_failures("write the file", path), _part_of(path, pieces, mode) as part:
        part.replace(path)
        sync_folder(path.parent)


def write_atomically(path: Path, data: bytes | bytearray | memoryview, mode: int = PRIVATE_FILE) -> None:
    """Replace ``path`` with ``data``; all or nothing, durable on return.

    Raises DependencyFailed when the disk fails; then the old file stands as it was.
    """
    write_pieces_atomically(path, (data,), mode)


def create_exclusively(path: Path, data: bytes | bytearray | memoryview, mode: int = PRIVATE_FILE) -> None:
    """Create ``path`` with ``data``, whole and durable. Raises Misuse when the path exists already.

    Raises DependencyFailed when the disk fails; then there is no such file.
    """
    with created_exclusively(path, (data,), mode):
        pass


@contextmanager
def created_exclusively(
    path: Path, pieces: Iterable[bytes | bytearray | memoryview], mode: int = PRIVATE_FILE
) -> Iterator[Path]:
    """A synced file with the pieces, to be looked at; at the end of the block it takes the name ``path``.

    It takes no name, and is gone, where the block raises. Raises Misuse when the path exists already,
    and DependencyFailed when the disk fails; then there is no such file.
    """
    with disk_failures("create the file", path), _part_of(path, pieces, mode) as part:
        yield part
        try:
            os.link(part, path)  # unlike a rename, a link never replaces what is there
        except FileExistsError:
            raise Misuse(
                "storage.exists",
                f"{path.name} exists already.",
                next="Choose another name, or remove it first.",
                place=str(path),
            ) from None
        part.unlink()  # before the sync: after a power loss no second name keeps what is removed later
        sync_folder(path.parent)


def remove_parts(folder: Path) -> None:
    """Remove what killed writers left in a folder and below; for whoever keeps every writer out.

    Raises DependencyFailed.
    """
    with disk_failures("remove unfinished files", folder):
        for part in sorted(folder.rglob(".*.part")):
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part)
            else:
                part.unlink(missing_ok=True)


@cache
def _boot() -> bytes:
    """What names this run of the machine, from its start on; empty where the system does not say."""
    with suppress(OSError):
        return _BOOT.read_bytes().strip()[: _LOCK_BYTES - 1]
    return b""


def remove_parts_of(path: Path) -> None:
    """Remove what killed writers of the file ``path`` left beside it; for whoever knows of no other writer.

    Raises DependencyFailed.
    """
    with disk_failures("remove unfinished files", path):
        for part in path.parent.glob(f".{escape(path.name)}.{_HEX_DIGIT * 2 * _PART_BYTES}.part"):
            part.unlink(missing_ok=True)


class HomeLock:
    """The lock of a home: one writer at a time, across processes.

    An advisory ``flock`` on ``path``. The kernel lets go of it when the process ends, however it
    ends. Use it as a context manager; it cannot be taken twice by the same object. A child made by
    a bare ``fork`` shares it; a program that was started afresh does not.

    ``unfinished`` says, while the lock is held, that an earlier holder may not have got to its end:
    the file does not say what a holder leaves there, the run of the machine. That is another one after
    a restart, because a power loss may undo what was not synced. Whoever has tidied up sets it to False.
    """

    def __init__(self, path: Path, *, wait_s: float = LOCK_WAIT_S) -> None:
        self._path = path
        self._wait_s = wait_s
        self._handle: int | None = None
        self.unfinished = False

    def acquire(self) -> None:
        """Take the lock; waits up to ``wait_s`` seconds.

        Raises Misuse, naming the holder's process id, when another process keeps it longer, and
        DependencyFailed when the lock file cannot be opened.
        """
        if self._handle is not None:
            raise Misuse("storage.lock-held", "This lock is held already.", place=str(self._path))
        with disk_failures("open the lock file", self._path):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
            try:
                self._wait(handle)
                self.unfinished = os.pread(handle, _LOCK_BYTES, 0).strip() != _boot()
                mine = f"{os.getpid()}\n".encode()
                os.pwrite(handle, mine, 0)
                os.ftruncate(handle, len(mine))
            except BaseException:
                os.close(handle)
                raise
        self._handle = handle

    def _wait(self, handle: int) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise self._busy(handle) from None
                time.sleep(LOCK_POLL_S)
            else:
                return

    def _busy(self, handle: int) -> Misuse:
        text = os.pread(handle, 20, 0).strip()
        holder = f"process {int(text)}" if text.isdigit() else "another process"
        return Misuse(
            "storage.home-busy",
            f"The home is in use by {holder}.",
            why=f"Only one command at a time may write to a home; this one waited {self._wait_s:g} s.",
            next="Wait for the other command to end, then run this one again.",
            place=str(self._path),
        )

    def release(self) -> None:
        """Let go of the lock; does nothing when it is not held."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            if not self.unfinished:
                with suppress(OSError):  # then the next holder looks for leftovers in vain
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, _boot(), 0)
            os.close(handle)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unfinished = self.unfinished or error is not None
        self.release()
