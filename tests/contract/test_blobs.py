"""Local blobs keep the contract of the port, and their encrypted form cannot be bent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.adapters import local_blobs
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, DependencyFailed, Misuse, Tampered
from gatewright.testing.blobs_contract import PROMISES, OpenBlobs

KEY = bytes(range(32))
PREFIX = 8 + 12 + 48
TAG = 16


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    """A new store."""
    return LocalBlobs(tmp_path / "blobs", KEY)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 64 bytes, so that many fit in a short test."""
    monkeypatch.setattr(local_blobs, "CHUNK_BYTES", 64)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.__name__)
def test_local_blobs_keep_the_contract(promise: Callable[[OpenBlobs], None], tmp_path: Path) -> None:
    """Local blobs keep each promise of the port."""
    promise(lambda: LocalBlobs(tmp_path / "blobs", KEY))


def test_content_is_unreadable_at_rest(blobs: LocalBlobs) -> None:
    """The plain bytes stand nowhere in the file, and two stores of the same bytes differ."""
    digest = blobs.put(b"a secret that is long enough to be looked for")
    data = blobs.path_of(digest).read_bytes()
    assert b"secret" not in data
    blobs.path_of(digest).unlink()
    blobs.put(b"a secret that is long enough to be looked for")
    assert data != blobs.path_of(digest).read_bytes()


def test_files_are_private(blobs: LocalBlobs) -> None:
    """A blob is 0600 and its folders are 0700, whatever the umask says."""
    before = os.umask(0)
    try:
        path = blobs.path_of(blobs.put(b"x"))
    finally:
        os.umask(before)
    assert 0o600 == path.stat().st_mode & 0o777
    assert [0o700, 0o700] == [each.stat().st_mode & 0o777 for each in (path.parent, path.parent.parent)]


@pytest.mark.usefixtures("small_chunks")
def test_every_byte_is_bound(blobs: LocalBlobs) -> None:
    """Whichever byte of the file is changed, reading it is Tampered and names the digest."""
    digest = blobs.put(bytes(range(150)))
    path = blobs.path_of(digest)
    data = path.read_bytes()
    for index in range(len(data)):
        path.write_bytes(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
        with pytest.raises(Tampered, match=digest.hex):
            blobs.get(digest)
    path.write_bytes(data)
    assert bytes(range(150)) == blobs.get(digest)


@pytest.mark.usefixtures("small_chunks")
def test_every_truncation_is_found(blobs: LocalBlobs) -> None:
    """A file cut anywhere, chunk boundaries included, is Tampered."""
    digest = blobs.put(bytes(192))
    path = blobs.path_of(digest)
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(Tampered):
            blobs.get(digest)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (0, 0, 2), (0, 1, 1, 2), (0, 1, 2, 2), (0, 2), (2,)])
def test_chunks_cannot_be_moved(blobs: LocalBlobs, order: tuple[int, ...]) -> None:
    """Chunks that are swapped, repeated or left out are Tampered."""
    digest = blobs.put(bytes(192))
    path = blobs.path_of(digest)
    data = path.read_bytes()
    sealed = [data[PREFIX + number * (64 + TAG) :][: 64 + TAG] for number in range(3)]
    path.write_bytes(data[:PREFIX] + b"".join(sealed[number] for number in order))
    with pytest.raises(Tampered):
        blobs.get(digest)


def test_one_blob_cannot_stand_in_for_another(blobs: LocalBlobs) -> None:
    """A valid file under another digest's name is Tampered."""
    first, second = blobs.put(b"first"), blobs.put(b"other")
    blobs.path_of(first).write_bytes(blobs.path_of(second).read_bytes())
    with pytest.raises(Tampered):
        blobs.get(first)


def test_another_key_opens_nothing(blobs: LocalBlobs, tmp_path: Path) -> None:
    """With another store key a blob is Tampered, not garbage."""
    digest = blobs.put(b"x")
    with pytest.raises(Tampered):
        LocalBlobs(tmp_path / "blobs", bytes(32)).get(digest)


def test_putting_again_heals(blobs: LocalBlobs) -> None:
    """The original bytes put again replace a damaged file."""
    digest = blobs.put(b"x")
    blobs.path_of(digest).write_bytes(b"damaged")
    assert blobs.has(digest)
    blobs.put(b"x")
    assert b"x" == blobs.get(digest)


def test_a_key_of_another_length_is_misuse(tmp_path: Path) -> None:
    """A store key has 32 bytes."""
    with pytest.raises(Misuse):
        LocalBlobs(tmp_path, bytes(16))


def test_too_much_is_refused(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content beyond the limit is refused before anything is written."""
    monkeypatch.setattr(local_blobs, "BLOB_BYTES", 10)
    with pytest.raises(BadInput, match="limit"):
        blobs.put(bytes(11))
    assert not blobs.has(Digest.of(bytes(11)))


def test_a_folder_in_the_place_of_a_blob_is_a_failed_dependency(blobs: LocalBlobs) -> None:
    """What cannot be read as a file is DependencyFailed."""
    digest = Digest.of(b"x")
    blobs.path_of(digest).mkdir(parents=True)
    with pytest.raises(DependencyFailed):
        blobs.get(digest)


@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_come_back(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is put comes back."""
    blobs = LocalBlobs(tmp_path_factory.getbasetemp() / "any", KEY)
    assert data == blobs.get(blobs.put(data))
