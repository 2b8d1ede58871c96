"""The parent of several workers: starts them, replaces those that end, and ends them all.

It answers nothing itself and imports neither NumPy nor ONNX Runtime, so that it stays small and has
little to fail in. Should it be killed, the workers go on; they hold the server's lock, so that no
second server begins beside them.

A worker that ends is replaced at once. One that ends early time after time, or does not come up, is
started again after a pause that doubles each time; meanwhile its socket takes no connections, so
that the other workers get them. If the very first worker to end never served, and no other has,
nothing is tried again: the server ends with the exit code of that worker, which said why.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import monotonic

from gatewright.kernel.errors import DependencyFailed
from gatewright.serving.limits import DRAIN_TIME
from gatewright.serving.slots import Slot, stop_listening

LASTING_SECONDS = 10.0
"""A worker that lived longer than this ended for a new reason."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
SEAL_SECONDS = 10.0
"""How long, beyond the time to drain, a worker may take to seal its segment."""
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Command = Callable[[Slot], list[str]]


def pause(falls: int, *, served: bool = False) -> float:
    """Seconds before a slot's next start, after so many workers of it that ended early in a row.

    ``served``: the last one had come up, so that another may do some good.
    """
    longest = FIRST_PAUSE_SECONDS if served else LONGEST_PAUSE_SECONDS
    return 0.0 if falls <= 1 else min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(falls - 2, 16))


@dataclass(slots=True)
class _Seat:
    """A slot and the worker that has it; ``due`` is when the next one is started."""

    index: int
    listening: socket.socket
    process: subprocess.Popen[bytes] | None = None
    told: int = -1
    begun: float = 0.0
    served: bool = False
    falls: int = 0
    due: float = 0.0


class Supervisor:
    """Runs one worker on each of the sockets.

    ``command`` makes the command line of a slot's worker; ``lock`` is the handle of the server's lock;
    ``beside`` is entered when the first worker serves, and left when all have ended.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        command: Command,
        lock: int,
        beside: Callable[[], AbstractContextManager[object]],
        say: Callable[[str], None],
    ) -> None:
        self._seats = [_Seat(index, each) for index, each in enumerate(sockets)]
        self._command = command
        self._lock = lock
        self._beside = beside
        self._say = say
        self._stopping = False
        self._announced = False
        self._failed: int | None = None

    def run(self) -> int:
        """Until a signal of :data:`STOPS`; returns 0, or the exit code of a worker that never served.

        Raises DependencyFailed when a worker did not end in time and was killed.
        """
        with contextlib.ExitStack() as beside, selectors.DefaultSelector() as events, _signals() as wake:
            events.register(wake, selectors.EVENT_READ)
            for seat in self._seats:
                self._start(seat, events)
            while not self._stopping:
                self._wait(events, wake)
                for seat in self._seats:
                    self._tend(seat, events)
                if not self._announced and any(seat.served for seat in self._seats):
                    self._announced = True
                    beside.enter_context(self._beside())
            self._drain()
        return self._failed or 0

    def _wait(self, events: selectors.BaseSelector, wake: socket.socket) -> None:
        """Until something ends, speaks or is due."""
        due = [seat.due for seat in self._seats if seat.process is None]
        for key, _ in events.select(max(0.0, min(due) - monotonic()) if due else None):
            if key.fileobj is wake:
                caught = wake.recv(4_096)
                self._stopping = self._stopping or any(number in caught for number in STOPS)
            else:
                seat = self._seats[key.data]
                seat.served = bool(os.read(seat.told, 16)) or seat.served
                self._hang_up(seat, events)

    def _hang_up(self, seat: _Seat, events: selectors.BaseSelector) -> None:
        if seat.told >= 0:
            events.unregister(seat.told)
            os.close(seat.told)
            seat.told = -1

    def _start(self, seat: _Seat, events: selectors.BaseSelector) -> None:
        seat.told, telling = os.pipe()
        events.register(seat.told, selectors.EVENT_READ, seat.index)
        handles = (seat.listening.fileno(), telling, self._lock)
        slot = Slot(
            index=seat.index, workers=len(self._seats), listening=handles[0], told=telling, lock=self._lock
        )
        seat.begun, seat.served = monotonic(), False
        try:
            seat.process = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
                self._command(slot), pass_fds=handles, stdin=subprocess.DEVNULL
            )
        except OSError as error:  # no memory, or too many processes: tried again like a worker that fell
            self._fell(seat, f"could not be started ({error.strerror})")
        finally:
            os.close(telling)

    def _tend(self, seat: _Seat, events: selectors.BaseSelector) -> None:
        """Notice that a worker ended; start the next when it is due."""
        if seat.process is not None and (code := seat.process.poll()) is not None:
            if seat.told >= 0 and not seat.served:  # it may have spoken and ended in one moment
                seat.served = bool(os.read(seat.told, 16))
            self._hang_up(seat, events)
            seat.process = None
            if not seat.served and not self._announced:
                self._failed, self._stopping = code, True
                return
            self._fell(seat, end_of(code))
        if seat.process is None and not self._stopping and monotonic() >= seat.due:
            self._start(seat, events)

    def _fell(self, seat: _Seat, how: str) -> None:
        lasted = seat.served and monotonic() - seat.begun > LASTING_SECONDS
        more = seat.falls + 1 if not seat.served else min(seat.falls + 1, 2)  # only falls at the start add up
        seat.falls = 1 if lasted else more
        wait = pause(seat.falls, served=seat.served)
        seat.due = monotonic() + wait
        if wait:
            stop_listening(seat.listening)
        when = f"in {wait:g} seconds" if wait else "now"
        self._say(f"Worker {seat.index} {how}; another is started {when}.")

    def _drain(self) -> None:
        """Have every worker end what it has in work; kill what takes too long."""
        left = [seat for seat in self._seats if seat.process is not None]
        for seat in left:
            if seat.process is not None:
                seat.process.terminate()
        last = monotonic() + DRAIN_TIME.value + SEAL_SECONDS
        killed = []
        for seat in left:
            if seat.process is None:
                continue
            try:
                code = seat.process.wait(max(0.0, last - monotonic()))
            except subprocess.TimeoutExpired:
                seat.process.kill()
                seat.process.wait()
                killed.append(str(seat.index))
            else:
                if code and self._failed is None:
                    self._say(f"Worker {seat.index} {end_of(code)} while it was stopped.")
        if killed:
            raise DependencyFailed(
                "serving.not-drained",
                f"Worker {', '.join(killed)} did not end in time and was killed.",
                why=f"Requests and the last segment may take {DRAIN_TIME.value + SEAL_SECONDS:g} seconds.",
                next="Start the server again: what was answered is on the disk, and is sealed then.",
            )


def end_of(code: int) -> str:
    """How a child process ended, in words that follow its name."""
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that gets a byte for each signal that stops, or tells that a child ended."""
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(0)
        there.settimeout(0)
        before = {each: signal.signal(each, lambda *_: None) for each in (*STOPS, signal.SIGCHLD)}
        woken = signal.set_wakeup_fd(there.fileno())
        try:
            yield here
        finally:
            signal.set_wakeup_fd(woken)
            for each, handler in before.items():
                signal.signal(each, handler)


def say(text: str) -> None:
    """A line for people, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
