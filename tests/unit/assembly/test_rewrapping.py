"""Changing the data key: everything opens with the new one, nothing with the old one, wherever it was cut off."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from anomaly.home_verbs import seal_a_segment
from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly import rewrapping
from gatewright.assembly.homes import create_home, open_home
from gatewright.assembly.rewrapping import change_data_key, segment_key
from gatewright.assembly.verifying import verify_home
from gatewright.kernel.errors import Misuse, Tampered
from gatewright.operations.collect import collect


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A home with contents, a collected segment and one that waits."""
    create_home(tmp_path, "ada")
    for _ in range(2):
        seal_a_segment(tmp_path)
        with open_home(tmp_path) as home:
            collect(home)
    seal_a_segment(tmp_path)
    return tmp_path


def data_key(root: Path) -> bytes:
    """The data key in force."""
    return KeyFolder(folder=root / ".gatewright/keys").data_key()


def segment_keys(root: Path) -> dict[str, bytes]:
    """The key of each segment by its name; one that waited is recorded, and moved, by whoever opens the home."""
    segments = (root / ".gatewright/segments").rglob("*.sealed")
    return {path.name: segment_key(path, (data_key(root),)) for path in segments}


def require_opens(root: Path) -> None:
    """Everything verifies, and every segment's key opens with the data key of now alone."""
    assert list(verify_home(root))
    for path in (root / ".gatewright/segments").rglob("*.sealed"):
        assert 32 == len(segment_key(path, (data_key(root),)))


def test_everything_opens_with_the_new_key_alone(root: Path) -> None:
    """After the change the old key opens neither contents nor segments; the ledger's digests still hold."""
    old = data_key(root)
    done = change_data_key(root)
    assert (3, 0) == (done.segments, done.again)
    assert old != data_key(root)
    require_opens(root)
    blobs = LocalBlobs(root / ".gatewright/blobs", old)
    for digest in blobs.digests():
        with pytest.raises(Tampered):
            blobs.get(digest)
    assert not (root / ".gatewright/keys/data-next.key").exists()


@pytest.mark.parametrize("after", range(6))
def test_a_change_that_was_cut_off_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Cut off after any number of steps, the home opens and verifies as it is, and the next try ends it."""
    keys = segment_keys(root)
    left = [after]

    def step(_self: object) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1

    def counted(function: object) -> object:
        def call(*arguments: object) -> object:
            step(None)
            return function(*arguments)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(LocalBlobs, "rewrap", counted(LocalBlobs.rewrap))
        patch.setattr(rewrapping, "_rewrap", counted(rewrapping._rewrap))
        patch.setattr(KeyFolder, "settle_data_key", counted(KeyFolder.settle_data_key))
        with pytest.raises(KeyboardInterrupt):
            change_data_key(root)
    assert list(verify_home(root))
    done = change_data_key(root)
    assert min(after, done.contents + done.segments) == done.again
    require_opens(root)
    assert keys == segment_keys(root)


def test_it_is_refused_while_a_server_runs(root: Path) -> None:
    """A running worker holds the old key: nothing is changed under it."""
    lock = os.open(root / ".gatewright/segments/serve.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    before = data_key(root)
    with pytest.raises(Misuse, match="server of this home runs"):
        change_data_key(root)
    os.close(lock)
    assert before == data_key(root)
