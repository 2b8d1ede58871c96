"""Reading the files a person names, with a clear answer when that is not possible."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatewright.kernel.errors import BadInput, DependencyFailed, Misuse

FILE_BYTES = 4 * 1024**3
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


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for anybody to write into a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def read_file(path: Path, *, limit: int = FILE_BYTES) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes."""
    try:
        with open(path, "rb", opener=_at_once) as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise Misuse("operations.not-a-file", f"{path} is not a regular file.")
            content = source.read(limit + 1)
    except FileNotFoundError:
        raise Misuse("operations.no-file", f"There is no file {path}.") from None
    except IsADirectoryError:
        raise Misuse("operations.not-a-file", f"{path} is a folder, not a file.") from None
    except OSError as error:
        raise DependencyFailed(
            "operations.file", f"{path} cannot be read.", why=str(error.strerror)
        ) from None
    if len(content) > limit:
        raise BadInput("operations.file-too-large", f"{path} has more than {limit:,} bytes, the limit.")
    return content
