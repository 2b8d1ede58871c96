from __future__ import annotations

import contextlib
import os
import select
import socket
from pathlib import Path

import pytest

from gatewright.kernel.errors import DependencyFailed, Misuse
from gatewright.serving.segment_files import WorkerLock
from gatewright.serving.slots import Slot, bind, bind_slots, left_folders, stop_listening

HERE = "127.0.0.1"


def test_the_sockets_of_a_server_share_one_port() -> None:
    """Each worker has a socket of its own, and callers reach those that listen, and no others."""
    with bind_slots(HERE, 0, 2) as sockets:
        [port] = {each.getsockname()[1] for each in sockets}
        for each in sockets:
            each.listen()
        assert {0, 1} == {_taken(sockets, port) for _ in range(64)}
        stop_listening(sockets[1])
        stop_listening(sockets[1])
        assert {0} == {_taken(sockets, port) for _ in range(64)}
        sockets[1].listen()
        assert {0, 1} == {_taken(sockets, port) for _ in range(64)}
    bind(HERE, port).close()


def test_a_socket_that_listens_again_takes_whole_connections() -> None:
    """However often it was told to stop, what it accepts later can be read from and written to."""
    with bind_slots(HERE, 0, 1) as [found]:
        for _ in range(3):
            stop_listening(found)
        found.listen()
        with socket.create_connection(found.getsockname()) as caller, found.accept()[0] as taken:
            taken.sendall(b"answer")
            caller.sendall(b"question")
            assert (b"answer", b"question") == (caller.recv(16), taken.recv(16))


def _taken(sockets: list[socket.socket], port: int) -> int:
    """Which of the sockets one call comes to."""
    with socket.create_connection((HERE, port)):
        ready, _, _ = select.select(sockets, [], [], 60)
        for found in ready:
            with contextlib.suppress(OSError):  # one that does not listen is ready, and takes nothing
                found.accept()[0].close()
                return sockets.index(found)
    raise AssertionError("Nobody took the call.")


@pytest.mark.parametrize("listens", [True, False])
def test_another_server_does_not_join_the_port(listens: bool) -> None:
    """A second server is told that the port is taken, alone or with many workers, before and after the first listens."""
    with bind_slots(HERE, 0, 2) as sockets:
        port = sockets[0].getsockname()[1]
        for each in sockets if listens else []:
            each.listen()
        with pytest.raises(DependencyFailed):
            bind(HERE, port)
        with pytest.raises(DependencyFailed), bind_slots(HERE, port, 2):
            pass
    with bind(HERE, 0) as alone:
        alone.listen()
        with pytest.raises(DependencyFailed), bind_slots(HERE, alone.getsockname()[1], 2):
            pass


def test_several_workers_stay_on_the_loopback_too() -> None:
    """The reach of several workers is that of one."""
    with pytest.raises(Misuse), bind_slots("0.0.0.0", 0, 2):  # noqa: S104 - that it is refused is the point
        pass


def test_each_slot_has_a_folder(tmp_path: Path) -> None:
    """The first worker keeps the folder that one worker had; folders of slots that are not started are found."""
    made = [Slot(index=index, workers=3).make_folder(tmp_path) for index in (0, 2, 1)]
    (tmp_path / "worker-x").mkdir()
    (tmp_path / "worker-9").write_bytes(b"")

    assert [tmp_path, tmp_path / "worker-2", tmp_path / "worker-1"] == made
    assert [tmp_path / "worker-1", tmp_path / "worker-2"] == left_folders(tmp_path, 1)
    assert [tmp_path / "worker-2"] == left_folders(tmp_path, 2)
    assert 0o700 == (tmp_path / "worker-1").stat().st_mode & 0o777
    with pytest.raises(DependencyFailed):
        Slot(index=9).make_folder(tmp_path)


def test_a_parent_that_is_gone_hears_nothing() -> None:
    """A worker says that it serves; nobody need be there to hear."""
    hearing, telling = os.pipe()
    Slot(told=telling).tell_parent()
    assert b"ready" == os.read(hearing, 16)
    os.close(hearing)

    _, telling = os.pipe()
    os.close(_)
    Slot(told=telling).tell_parent()
    Slot().tell_parent()


def test_a_lock_is_held_until_its_last_process_ends(tmp_path: Path) -> None:
    """Who inherited the handle keeps the lock when the first holder lets go."""
    lock = WorkerLock(tmp_path)
    inherited = os.dup(lock.handle)
    lock.release()
    with pytest.raises(Misuse) as caught:
        WorkerLock(tmp_path)
    os.close(inherited)

    assert f"by process {os.getpid()}." in caught.value.refusal.what
    WorkerLock(tmp_path).release()
