"""Durable files are there whole or not at all, and the lock keeps one writer at a time."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewright.adapters.durable_files import (
    HomeLock,
    create_exclusively,
    make_folder,
    remove_parts_of,
    write_atomically,
    write_pieces_atomically,
)
from gatewright.kernel.errors import DependencyFailed, Misuse

CALLS = ("open", "fchmod", "write", "fsync", "replace", "link")


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(each.name for each in folder.iterdir())


class FailingDisk:
    """Makes the n-th of the system calls that write fail with one error, and counts them."""

    def __init__(self, patch: pytest.MonkeyPatch, fail_at: int, number: int) -> None:
        self.calls = 0
        for name in CALLS:
            patch.setattr(os, name, self._failing(getattr(os, name), fail_at, number))

    def _failing(self, real: object, fail_at: int, number: int) -> object:
        def call(*values: object, **options: object) -> object:
            self.calls += 1
            if self.calls == fail_at:
                raise OSError(number, os.strerror(number))
            return real(*values, **options)  # type: ignore[operator]

        return call


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    """A file is replaced whole, private by default, and nothing else is left behind."""
    path = tmp_path / "file"
    write_atomically(path, b"a longer text")
    write_atomically(path, b"short")
    write_pieces_atomically(tmp_path / "pieces", [b"one", bytearray(b" two"), memoryview(b" three")], 0o644)
    assert (b"short", b"one two three") == (path.read_bytes(), (tmp_path / "pieces").read_bytes())
    assert [0o600, 0o644] == [each.stat().st_mode & 0o777 for each in (path, tmp_path / "pieces")]
    assert ["file", "pieces"] == names(tmp_path)


def failure_of(call: Callable[[], None]) -> DependencyFailed | None:
    """How a call failed; None when it did not."""
    try:
        call()
    except DependencyFailed as error:
        return error
    return None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS])
def test_a_disk_that_fails_at_any_call_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whichever system call fails, the error is DependencyFailed, and the file is old or new, with nothing beside it."""
    path = tmp_path / "file"
    for fail_at in itertools.count(1):
        write_atomically(path, b"old")
        with monkeypatch.context() as patch:
            FailingDisk(patch, fail_at, number)
            failure = failure_of(lambda: write_atomically(path, b"new"))
        assert ["file"] == names(tmp_path)
        if failure is None:
            break
        assert str(path) == failure.refusal.place
        assert path.read_bytes() in {b"old", b"new"}
    assert (b"new", True) == (path.read_bytes(), fail_at > 6)


def test_creating_at_any_failing_call_leaves_nothing_or_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is created is there whole or not at all, whichever system call fails."""
    path = tmp_path / "file"
    for fail_at in itertools.count(1):
        path.unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            FailingDisk(patch, fail_at, errno.ENOSPC)
            failure = failure_of(lambda: create_exclusively(path, b"new"))
        if failure is None:
            break
        assert "storage.disk-full" == failure.code
        assert names(tmp_path) in (["file"], [])
    assert ([b"new"], True) == ([each.read_bytes() for each in tmp_path.iterdir()], fail_at > 6)


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a write leaves the old file and no temporary one."""

    def pieces() -> object:
        yield b"half"
        raise KeyboardInterrupt

    write_atomically(tmp_path / "file", b"old")
    with pytest.raises(KeyboardInterrupt):
        write_pieces_atomically(tmp_path / "file", pieces())  # type: ignore[arg-type]
    assert (["file"], b"old") == (names(tmp_path), (tmp_path / "file").read_bytes())


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call that writes only a part is followed by another for the rest."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:3]))
    write_atomically(tmp_path / "file", b"0123456789")
    assert b"0123456789" == (tmp_path / "file").read_bytes()


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    """Creating a file that exists is Misuse and leaves it as it was, also when it is a dangling link."""
    create_exclusively(tmp_path / "file", b"first")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(Misuse, match="exists already"):
            create_exclusively(tmp_path / name, b"second")
    assert b"first" == (tmp_path / "file").read_bytes()
    assert ["file", "link"] == names(tmp_path)


def test_a_link_in_the_place_of_the_file_is_replaced_not_followed(tmp_path: Path) -> None:
    """A write replaces a symbolic link by the file and leaves the link's target alone."""
    (tmp_path / "target").write_bytes(b"target")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", b"new")
    assert (b"target", False) == ((tmp_path / "target").read_bytes(), (tmp_path / "link").is_symlink())


def test_a_missing_folder_is_a_failed_dependency(tmp_path: Path) -> None:
    """Writing into a folder that is not there is DependencyFailed with a sentence."""
    with pytest.raises(DependencyFailed, match="Could not write the file"):
        write_atomically(tmp_path / "no" / "file", b"x")


def test_folders_are_private_and_may_exist(tmp_path: Path) -> None:
    """Folders are made with those above them, 0700, and making them again does nothing."""
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert [0o700, 0o700] == [each.stat().st_mode & 0o777 for each in (tmp_path / "a", tmp_path / "a" / "b")]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DependencyFailed):
        make_folder(tmp_path / "file" / "below")


def test_the_leftovers_of_one_file_are_removed(tmp_path: Path) -> None:
    """What killed writers of a file left beside it goes, whatever signs its name holds; nothing else does."""
    path = tmp_path / "[a]*.json"
    digits = "0123456789abcdef"
    (tmp_path / f".{path.name}.{digits}.part").write_bytes(b"")
    others = [
        f".[a]x.json.{digits}.part",
        f".{path.name}.b.{digits}.part",
        f".{path.name}.short.part",
        path.name,
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    remove_parts_of(path)
    assert sorted(others) == sorted(each.name for each in tmp_path.iterdir())


HOLD = """
import sys, time
from pathlib import Path
from gatewright.adapters.durable_files import HomeLock
with HomeLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    running = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert "held\n" == running.stdout.readline()
    return running


def test_a_held_lock_names_its_holder(tmp_path: Path) -> None:
    """A second process is refused after its wait, with the process id of the first."""
    path = tmp_path / "lock"
    with holder(path) as running:
        with pytest.raises(Misuse, match=f"process {running.pid}"):
            HomeLock(path, wait_s=0.05).acquire()
        running.kill()


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    """A holder that is killed without a chance to clean up frees the lock at once."""
    path = tmp_path / "lock"
    with holder(path) as running:
        running.send_signal(signal.SIGKILL)
        running.wait(timeout=60)
        with HomeLock(path, wait_s=1):
            assert f"{os.getpid()}\n" == path.read_text()


def test_a_waiting_process_gets_the_lock(tmp_path: Path) -> None:
    """Whoever waits gets the lock when the holder lets go in time."""
    path = tmp_path / "lock"
    first = HomeLock(path)
    first.acquire()
    waiting = "from gatewright.adapters.durable_files import HomeLock; from pathlib import Path; import sys\n"
    waiting += "print('go', flush=True)\nwith HomeLock(Path(sys.argv[1])): pass"
    with subprocess.Popen([sys.executable, "-c", waiting, str(path)], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert b"go\n" == running.stdout.readline()
        first.release()
        assert 0 == running.wait(timeout=60)


def test_a_lock_is_let_go_on_the_way_out(tmp_path: Path) -> None:
    """The lock is free after its block, also when the block raised, and can be taken again."""
    lock = HomeLock(tmp_path / "lock", wait_s=0.05)
    with pytest.raises(LookupError), lock:
        raise LookupError
    with lock, pytest.raises(Misuse, match=f"process {os.getpid()}"):
        HomeLock(tmp_path / "lock", wait_s=0.05).acquire()
    with lock, pytest.raises(Misuse, match="held already"):
        lock.acquire()
    lock.release()


def test_programs_that_are_started_do_not_keep_the_lock(tmp_path: Path) -> None:
    """A program started while the lock is held does not hold it after the starter let go."""
    lock = HomeLock(tmp_path / "lock", wait_s=0.2)
    with lock:
        running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    with running:
        with lock:
            assert running.poll() is None
        running.kill()


def test_a_lock_file_that_cannot_be_opened_is_a_failed_dependency(tmp_path: Path) -> None:
    """A lock in a folder that is not there, or behind a link, is DependencyFailed."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path in (tmp_path / "no" / "lock", tmp_path / "link"):
        with pytest.raises(DependencyFailed):
            HomeLock(path).acquire()


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="the system names no run")
@pytest.mark.parametrize("left", [b"", b"17\n", b"11111111-2222-3333-4444-555555555555"])
def test_who_may_not_have_got_to_the_end_is_known(tmp_path: Path, left: bytes) -> None:
    """A holder's process id, or another run of the machine than this one, says that there may be leftovers."""
    path = tmp_path / "lock"
    path.write_bytes(left)
    lock = HomeLock(path)
    with lock:
        assert lock.unfinished
        lock.unfinished = False
    with lock:
        assert not lock.unfinished, "the holder before got to its end, in this run of the machine"
    with pytest.raises(LookupError), lock:
        raise LookupError
    with lock:
        assert lock.unfinished
