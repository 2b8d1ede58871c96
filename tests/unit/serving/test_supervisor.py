"""The supervisor with small programs for workers: what it does does not depend on what they serve."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import Misuse
from gatewright.serving.segment_files import WorkerLock
from gatewright.serving.supervisor import LONGEST_PAUSE_SECONDS, pause
from unit.serving.rig import WAIT_S, wait_for

HERE = "127.0.0.1"
PARENT = """
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from gatewright.serving import supervisor
from gatewright.serving.segment_files import WorkerLock
from gatewright.serving.slots import bind_slots
folder, worker = Path(sys.argv[1]), sys.argv[2]
if sys.argv[3] == "impatient":
    supervisor.DRAIN_TIME, supervisor.SEAL_SECONDS = replace(supervisor.DRAIN_TIME, value=0), 0
lock = WorkerLock(folder)
def command(slot):
    return [sys.executable, "-c", worker, str(folder), str(slot.index), str(slot.listening), str(slot.told), str(slot.lock)]
with bind_slots("127.0.0.1", 0, 2) as sockets:
    (folder / "port").write_text(str(sockets[0].getsockname()[1]))
    try:
        sys.exit(supervisor.Supervisor(sockets, command=command, lock=lock.handle, beside=nullcontext, say=supervisor.say).run())
    except supervisor.DependencyFailed as error:
        supervisor.say(error.refusal.sentence())
        sys.exit(4)
"""
WORKER = """
import os, signal, socket, sys
from pathlib import Path
folder, index, (listening, told, lock) = Path(sys.argv[1]), sys.argv[2], map(int, sys.argv[3:])
with (folder / f"starts-{index}").open("a") as starts:
    starts.write("x")
mood = folder / f"mood-{index}"
if mood.exists() and mood.read_text() == "fails":
    sys.exit(7)
stubborn = mood.exists() and mood.read_text() == "stubborn"
signal.signal(signal.SIGTERM, signal.SIG_IGN if stubborn else lambda *_: sys.exit(0))
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.write(lock, b"%d\\n" % os.getpid())
found = socket.socket(fileno=listening)
found.listen()
os.write(told, b"ready")
os.close(told)
(folder / f"pid-{index}").write_text(str(os.getpid()))
while True:
    caller, _ = found.accept()
    caller.sendall(f"{index} {os.getpid()}".encode())
    caller.close()
"""


@dataclass
class Served:
    """A parent with two workers."""

    folder: Path
    process: subprocess.Popen[bytes]

    def call(self) -> tuple[int, int]:
        """Which worker answers, and its process."""
        port = int((self.folder / "port").read_text())
        with socket.create_connection((HERE, port), timeout=WAIT_S) as caller:
            index, pid = caller.recv(64).split()
        return int(index), int(pid)

    def both(self) -> dict[int, int]:
        """The processes of both workers, by their calls."""
        found: dict[int, int] = {}

        def seen() -> bool:
            with contextlib.suppress(OSError, ValueError):
                index, pid = self.call()
                found[index] = pid
            return len(found) == 2

        wait_for(seen)
        return found

    def pid(self, index: int) -> int:
        """The process that last came up in a slot; 0 while there is none."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.folder / f"pid-{index}").read_text())
        return 0

    def starts(self, index: int) -> int:
        """How many times a worker of this slot was started."""
        with contextlib.suppress(OSError):
            return len((self.folder / f"starts-{index}").read_text())
        return 0

    def said(self) -> str:
        """What the parent said."""
        return (self.folder / "said").read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop the parent; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@contextlib.contextmanager
def served(folder: Path, *, mood: str = "patient") -> Iterator[Served]:
    """A parent with two workers, and nothing left of them at the end."""
    with (folder / "said").open("wb") as said:
        command = [sys.executable, "-c", PARENT, str(folder), WORKER, mood]
        process = subprocess.Popen(command, stderr=said, start_new_session=True)
    try:
        yield Served(folder, process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_both_answer_on_one_port_and_end_together(tmp_path: Path, number: int) -> None:
    """Two workers answer on one port; told to stop, the parent ends both, and says with 0 that all ended well."""
    with served(tmp_path) as server:
        found = server.both()
        assert (0, "") == (server.end(number), server.said())

    assert 2 == len(set(found.values()))
    assert not any(Path(f"/proc/{pid}").exists() for pid in found.values())


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    """The other goes on, and another worker answers in the place of the one that was killed."""
    with served(tmp_path) as server:
        before = server.both()
        os.kill(before[1], signal.SIGKILL)
        wait_for(lambda: server.pid(1) not in {0, before[1]})
        after = server.both()
        said = server.said()
        server.end()

    assert before[0] == after[0]
    assert before[1] != after[1]
    assert "Worker 1 was ended by SIGKILL; another is started now.\n" == said


def test_who_waits_at_a_dead_worker_is_answered_by_the_next(tmp_path: Path) -> None:
    """Connections in the queue of a worker that is killed are taken by its replacement: none is refused."""
    with served(tmp_path) as server:
        before = server.both()
        for pid in before.values():
            os.kill(pid, signal.SIGSTOP)
            wait_for(lambda pid=pid: " T " in Path(f"/proc/{pid}/stat").read_text())
        port = int((tmp_path / "port").read_text())
        with contextlib.ExitStack() as open_:
            call = lambda: socket.create_connection((HERE, port), timeout=WAIT_S)  # noqa: E731
            callers = [open_.enter_context(call()) for _ in range(16)]
            for pid in before.values():
                os.kill(pid, signal.SIGKILL)
            answers = {int(caller.recv(64).split()[1]) for caller in callers}
        server.end()

    assert answers
    assert not answers & set(before.values())


def test_what_fails_at_the_very_start_is_not_tried_again(tmp_path: Path) -> None:
    """A first worker that does not come up ends the server with its exit code; no other is left running."""
    for index in (0, 1):
        (tmp_path / f"mood-{index}").write_text("fails")
    with served(tmp_path) as server:
        assert 7 == server.process.wait(WAIT_S)
        assert server.starts(0) <= 1
        assert server.starts(1) <= 1
    WorkerLock(tmp_path).release()


def test_a_worker_that_does_not_come_up_again_does_not_spin(tmp_path: Path) -> None:
    """Its starts are spaced wider and wider, and meanwhile every caller is answered by the other worker."""
    with served(tmp_path) as server:
        before = server.both()
        (tmp_path / "mood-1").write_text("fails")
        os.kill(before[1], signal.SIGKILL)
        wait_for(lambda: "in 0.5 seconds" in server.said())
        answered = {server.call()[0] for _ in range(100)}
        wait_for(lambda: "in 1 seconds" in server.said())
        (tmp_path / "mood-1").unlink()
        after = server.both()
        said = server.said().splitlines()
        assert 0 == server.end()

    assert {0} == answered
    assert before[0] == after[0]
    assert [
        "Worker 1 was ended by SIGKILL; another is started now.",
        "Worker 1 ended with exit code 7; another is started in 0.5 seconds.",
        "Worker 1 ended with exit code 7; another is started in 1 seconds.",
    ] == said
    assert 4 == server.starts(1)


def test_workers_outlive_a_killed_parent_and_keep_the_lock(tmp_path: Path) -> None:
    """A parent killed without warning stops nobody; no second server begins, and it is told of those that are left."""
    with served(tmp_path) as server:
        before = server.both()
        assert -signal.SIGKILL == server.end(signal.SIGKILL)
        assert before == server.both()
        with pytest.raises(Misuse) as caught:
            WorkerLock(tmp_path)
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: _free(tmp_path))

    assert all(str(pid) in caught.value.refusal.what for pid in before.values())
    assert str(server.process.pid) not in caught.value.refusal.what.split()


def _free(folder: Path) -> bool:
    try:
        WorkerLock(folder).release()
    except Misuse:
        return False
    return True


def test_a_worker_that_does_not_end_is_killed_and_named(tmp_path: Path) -> None:
    """After the time to drain the parent kills what is left, and its exit code says that it had to."""
    (tmp_path / "mood-1").write_text("stubborn")
    with served(tmp_path, mood="impatient") as server:
        found = server.both()
        assert 4 == server.end()
        assert "Worker" in server.said()
        assert "did not end in time and was killed" in server.said()

    assert not Path(f"/proc/{found[1]}").exists()


@given(st.integers(min_value=1, max_value=5_000))
def test_pauses_grow_to_a_bound(falls: int) -> None:
    """The first start after a fall is at once; each further pause is longer, up to the longest."""
    assert 0.0 == pause(1)
    assert pause(falls) <= pause(falls + 1) <= LONGEST_PAUSE_SECONDS
    assert pause(falls) < pause(falls + 1) or pause(falls) == LONGEST_PAUSE_SECONDS
