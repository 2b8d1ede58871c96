"""The file operations of the recorder: segments in one folder, and the lock of the worker.

``NAME.open`` is being written; ``NAME.sealed`` is whole and waits for the collector; ``NAME.damaged``
is what could not be read, kept for a person to look at.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from gatewright.kernel.errors import DependencyFailed, Misuse

OPEN = ".open"
SEALED = ".sealed"
DAMAGED = ".damaged"
LOCK_FILE = "serve.lock"
_LISTED = 4_096
RESERVE_BYTES = 4 * 2**20
"""A new segment is begun only where this much room is left, so that readiness does not flicker."""

_FILE = 0o600
_FOLDER = 0o700


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


class SegmentFiles:
    """Segments in a folder. Every method raises OSError as the disk gives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, name: str, ending: str) -> Path:
        return self._folder / (name + ending)

    def _sync_names(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def create(self, name: str, head: bytes) -> int:
        """Begin ``name`` with ``head``, durably; returns its handle."""
        room = os.statvfs(self._folder)
        if room.f_bavail * room.f_frsize < RESERVE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path = self._path(name, OPEN)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, _FILE)
        try:
            _write_all(handle, head)
            os.fsync(handle)
            self._sync_names()
        except OSError:
            os.close(handle)
            path.unlink(missing_ok=True)
            raise
        return handle

    def append(self, handle: int, data: bytes) -> None:
        """Append; on return the bytes are on the disk."""
        _write_all(handle, data)
        os.fdatasync(handle)

    def close(self, handle: int) -> None:
        """Let go of a handle."""
        os.close(handle)

    def seal(self, name: str) -> None:
        """Give a whole segment its last name."""
        self._path(name, OPEN).rename(self._path(name, SEALED))
        self._sync_names()

    def rewrite(self, name: str, data: bytes) -> None:
        """Keep ``data`` as the sealed segment in place of the open one: what a failure left is not trusted."""
        part = self._path(name, ".part")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _FILE)
        try:
            _write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        part.rename(self._path(name, SEALED))
        self._sync_names()
        self._path(name, OPEN).unlink(missing_ok=True)
        self._sync_names()  # or it is there again after a power loss, when what is sealed was collected

    def read(self, name: str) -> bytes:
        """The bytes of an open segment."""
        return self._path(name, OPEN).read_bytes()

    def discard(self, name: str) -> None:
        """Remove an open segment that holds no record."""
        self._path(name, OPEN).unlink(missing_ok=True)

    def set_aside(self, name: str) -> None:
        """Keep an open segment that cannot be read, under a name that says so."""
        self._path(name, OPEN).rename(self._path(name, DAMAGED))
        self._sync_names()

    def keep_tail(self, name: str, tail: bytes) -> None:
        """Keep the bytes that are cut off an open segment, for a person to look at."""
        with self._path(name, DAMAGED).open("wb") as file:
            file.write(tail)
            file.flush()
            os.fsync(file.fileno())  # the segment without it is durable soon

    def leftovers(self) -> list[str]:
        """Names of open segments, in order."""
        return sorted(path.name.removesuffix(OPEN) for path in self._folder.glob("*" + OPEN))


class WorkerLock:
    """The one server of a folder: an flock that ends with its last process, however each ends.

    Children to whom ``handle`` is passed hold it, too: while one of them lives, no other server
    begins, even when the parent was killed. The file lists the processes, for who is refused.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises Misuse, naming the holders, when another server has it."""
        path = folder / LOCK_FILE
        try:
            folder.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
            self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _FILE)
        except OSError as error:
            raise DependencyFailed(
                "serving.segments-folder", "The segments folder cannot be used.", why=str(error)
            ) from None
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holders = ", ".join(str(each) for each in _alive(self.handle)) or "unknown"
            os.close(self.handle)
            raise Misuse(
                "serving.second-worker",
                f"This home is served already, by process {holders}.",
                why="One server writes the prediction records of a home.",
                next="Stop that process first, or use the endpoint it serves.",
                place=str(path),
            ) from None
        os.ftruncate(self.handle, 0)
        enlist(self.handle)

    def release(self) -> None:
        """Let the next server in, once the children are gone."""
        os.close(self.handle)


def enlist(handle: int) -> None:
    """Name this process in the list of a lock that it holds or was passed."""
    os.write(handle, b"%d\n" % os.getpid())


def _alive(handle: int) -> list[int]:
    """The processes that the list of a lock names: the first, or those that it left behind."""
    listed = [int(word) for word in os.pread(handle, _LISTED, 0).split() if word.isdigit()]
    alive = [each for each in listed if Path(f"/proc/{each}").exists()]
    return alive[:1] if alive[:1] == listed[:1] else alive
