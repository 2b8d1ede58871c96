"""Reading and hashing files that a person names."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse
from gatewright.operations.files import BLOCK_BYTES, digest_file, read_file


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 7])
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int) -> None:
    """Hashed block by block, a file of any size has the digest of its whole content."""
    content = hashlib.shake_128(str(size).encode()).digest(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    assert Digest.of(content) == digest_file(path)
    assert content == read_file(path)


@pytest.mark.parametrize("read", [read_file, digest_file])
def test_the_limit_is_exact(tmp_path: Path, read: object) -> None:
    """A file of exactly the limit is read; one byte more is refused."""
    assert callable(read)
    path = tmp_path / "file"
    path.write_bytes(bytes(BLOCK_BYTES + 2))
    assert read(path, limit=BLOCK_BYTES + 2)
    with pytest.raises(BadInput) as caught:
        read(path, limit=BLOCK_BYTES + 1)
    assert "operations.file-too-large" == caught.value.code


def test_a_small_file_is_read_in_little_memory(tmp_path: Path) -> None:
    """However large the limit is, only what is there is asked for; a file that hides its size is read whole."""
    path = tmp_path / "file"
    path.write_bytes(b"small")
    tracemalloc.start()
    try:
        assert b"small" == read_file(path)
        assert tracemalloc.get_traced_memory()[1] < BLOCK_BYTES
    finally:
        tracemalloc.stop()
    assert read_file(Path("/proc/self/status")).startswith(b"Name:")


def test_a_file_beyond_the_memory_is_a_clear_answer(tmp_path: Path) -> None:
    """A file that does not fit into what memory there is, is refused in words."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from gatewright.operations.files import read_file\n"
        "from gatewright.kernel.errors import DependencyFailed\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "try: read_file(Path(sys.argv[1]))\n"
        "except DependencyFailed as error: print(error.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert "operations.memory" == done.stdout.strip()


@pytest.mark.parametrize("read", [read_file, digest_file])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, read: object) -> None:
    """A missing file, a folder, a device and a named pipe are refused at once, with their path."""
    assert callable(read)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path, Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(GatewrightError) as caught:
            read(path)
        assert isinstance(caught.value, Misuse)
        assert str(path) in caught.value.refusal.what
