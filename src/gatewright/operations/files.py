"""Reading and hashing the files a person names, with a clear answer when that is not possible."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, DependencyFailed, Misuse

FILE_BYTES = 4 * 1024**3
BLOCK_BYTES = 1024 * 1024
"""What is read of a file at once while it is hashed: as fast as whole, in little memory."""
POLICY_BYTES = 1024 * 1024


@contextmanager
def file_failures(doing: str, path: Path) -> Iterator[None]:
    """Raise DependencyFailed for every ``OSError`` inside; ``doing`` completes "Could not ..."."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise DependencyFailed(
            "operations.disk", f"Could not {doing}.", why=f"{why}.", place=str(path)
        ) from error


def sync_names(folder: Path) -> None:
    """Make the names in a folder durable: what was made, moved or removed in it. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folders(folder: Path) -> None:
    """Make a folder, and those above it that are missing, durably. Raises OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_names(each.parent)


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for anybody to write into a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


@contextmanager
def _regular(path: Path) -> Iterator[BufferedReader]:
    """A regular file, open; anything else, and every failure to read, is a refusal that names it."""
    try:
        with open(path, "rb", opener=_at_once) as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise Misuse("operations.not-a-file", f"{path} is not a regular file.")
            yield source
    except FileNotFoundError:
        raise Misuse("operations.no-file", f"There is no file {path}.") from None
    except IsADirectoryError:
        raise Misuse("operations.not-a-file", f"{path} is a folder, not a file.") from None
    except OSError as error:
        raise DependencyFailed(
            "operations.file", f"{path} cannot be read.", why=str(error.strerror)
        ) from None


def _too_large(path: Path, limit: int) -> BadInput:
    return BadInput("operations.file-too-large", f"{path} has more than {limit:,} bytes, the limit.")


def read_file(path: Path, *, limit: int = FILE_BYTES) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes."""
    with _regular(path) as source:
        size = os.fstat(source.fileno()).st_size  # a hint: asked for is what there is, never the limit
        try:
            content = source.read(min(size, limit) + 1)
            if len(content) > size:  # it grew, or says that it is empty, as files of the kernel do
                content += _rest(source, limit + 1 - len(content))
        except MemoryError:
            raise DependencyFailed(
                "operations.memory",
                f"{path} does not fit into memory.",
                why=f"It has {size:,} bytes.",
                next="Try again where more memory is free.",
            ) from None
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def _rest(source: BufferedReader, most: int) -> bytes:
    """What is left, at most ``most`` bytes of it."""
    parts = []
    while most > 0 and (part := source.read(min(BLOCK_BYTES, most))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def digest_file(path: Path, *, limit: int = FILE_BYTES) -> Digest:
    """The digest of a regular file of at most ``limit`` bytes, of which one block is held at a time."""
    state, size = hashlib.sha256(), 0
    block = memoryview(bytearray(BLOCK_BYTES))
    with _regular(path) as source:
        while count := source.readinto(block):
            size += count
            if size > limit:
                raise _too_large(path, limit)
            state.update(block[:count])
    return Digest(state.hexdigest())
