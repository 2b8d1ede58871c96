"""The collector as a process beside the workers: started once they serve, kept running, ended with them.

One that ends by itself, or is killed, is replaced as a worker is: at once, and after pauses that
double where it ends early time after time.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from gatewright.operations.waiting import collector_lock
from gatewright.serving.supervisor import LASTING_SECONDS, end_of, pause

STOP_S = 15.0
NICE = 10
"""The collector gives way to the workers: what it does may wait, what they do is waited for."""


@contextmanager
def collector(root: Path, segments: Path, say: Callable[[str], None]) -> Iterator[None]:
    """The collector of the home at ``root``, where the studio is installed.

    Without it sealed segments wait for the control side, and every other command still works.
    """
    if find_spec("sqlalchemy") is None:
        say("Sealed records wait for 'gatewright collect' where the studio is installed.")
        yield
        return
    kept = _Kept(root, segments, say)
    kept.begin()
    try:
        yield
    finally:
        kept.end()


class _Kept:
    """A collector that runs, and the thread that replaces it."""

    def __init__(self, root: Path, segments: Path, say: Callable[[str], None]) -> None:
        self._root = root
        self._segments = segments
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._changing = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="collector", daemon=True)

    def begin(self) -> None:
        """Start the first one."""
        self._thread.start()

    def end(self) -> None:
        """Have it collect once more and end; one that takes too long is killed."""
        with self._changing:
            self._ending.set()
            process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
        self._thread.join(STOP_S)
        if process is not None and self._thread.is_alive():
            process.kill()
        self._thread.join()

    def _keep(self) -> None:
        falls, wait = 0, 0.0
        while not self._ending.wait(wait):
            begun = monotonic()
            how = self._run()
            if not how:
                return
            falls = 1 if monotonic() - begun > LASTING_SECONDS else falls + 1
            wait = pause(falls)
            when = f"in {wait:g} seconds" if wait else "now"
            self._say(f"The collector {how}; another is started {when}.")

    def _run(self) -> str:
        """Start one and wait for its end: how that came, or nothing where it was asked for."""
        try:
            with self._changing:
                if self._ending.is_set():
                    return ""
                self._process = process = self._start()
        except OSError as error:  # no memory, or too many processes
            return f"could not be started ({error.strerror})"
        with contextlib.suppress(OSError):  # it ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
        code = process.wait()
        return "" if self._ending.is_set() else end_of(code)

    def _start(self) -> subprocess.Popen[bytes]:
        """The process; it alone has the lock that says it runs."""
        lock = collector_lock(self._segments)
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "gatewright", "collect", "--watch"],
                cwd=self._root,
                stdin=subprocess.PIPE,
                env={**os.environ, "GATEWRIGHT_HOME": str(self._root)},
                pass_fds=(lock,),
                start_new_session=True,
            )
        finally:
            os.close(lock)
