"""The parent's side of an isolated child: start it, feed it, read it, and leave nothing of it running.

The child runs in its own session with an empty environment, an empty private folder and closed
descriptors; what it may use is in its :class:`Limits`, which it is given as an argument.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gatewright.kernel.errors import DependencyFailed
from gatewright.operations.child_protocol import LENGTH, Job, Limits

_STDERR_KEPT = 4_096
_CHUNK = 1 << 20
_GRACE_SECONDS = 5.0
_WATCH_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended.

    ``status`` is its exit status (negative: a signal), ``output`` what it answered, ``errors`` the end
    of what it printed; the rest says whether it was stopped because time, room or tasks ran out.
    """

    status: int
    output: bytes
    errors: bytes
    timed_out: bool
    flooded: bool
    crowded: bool


def converse(job: Job, arguments: bytes, limits: Limits, *, hidden: Sequence[str] = ()) -> Ended:
    """Start the child, feed it, read it within the limits, and leave no process behind.

    ``hidden`` are paths that the sandbox of a recipe must not open. Raises
    :class:`DependencyFailed` where no child can be started.
    """
    with tempfile.TemporaryDirectory(prefix="gatewright-child-") as folder:
        try:
            child = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
                [
                    sys.executable,
                    *_flags(job),
                    "-m",
                    "gatewright.operations.children",
                    job.value,
                    limits.encode(),
                    *hidden,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=_environment(folder, job, limits.threads),
                start_new_session=True,
                close_fds=True,
            )
        except OSError as error:
            raise DependencyFailed(
                "operations.child-start", "The isolated reader cannot be started.", why=str(error)
            ) from None
        with child:
            try:
                return _attend(child, arguments, limits)
            finally:
                _kill(child)


def _flags(job: Job) -> list[str]:
    """How Python starts: without the user's packages and the current folder, writing no compiled files.

    ``-I`` would also pass over the fixed hash seed of a recipe. Where compiled modules are kept, if
    not beside their sources, is said here, because the child reads no variable for it.
    """
    alone = ["-s", "-P"] if job is Job.TRAIN else ["-I"]
    compiled = [] if sys.pycache_prefix is None else ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    return [*alone, "-B", *compiled]


def _environment(folder: str, job: Job, threads: int) -> dict[str, str]:
    """Nothing of ours; as many threads as asked for every library that would start one per core."""
    counted = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    plain = {
        "HOME": folder,
        "LANG": "C.UTF-8",
        "MALLOC_ARENA_MAX": "2",
        "PATH": "/usr/bin:/bin",
        "TMPDIR": folder,
        **dict.fromkeys(counted, str(threads)),
    }
    if job is not Job.TRAIN:
        return plain
    # Sets keep their order from run to run; waiting threads sleep; what would start a process does not.
    steady = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONHASHSEED": "0"}
    return {
        **plain,
        **steady,
        "JOBLIB_MULTIPROCESSING": "0",
        "LOKY_MAX_CPU_COUNT": str(threads),
        "USER": "recipe",
    }


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child's whole session; it leads its own, so nobody else is met."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()


def _attend(child: subprocess.Popen[bytes], arguments: bytes, limits: Limits) -> Ended:
    deadline = time.monotonic() + limits.seconds
    pump = _Pump(child, arguments, limits)
    quiet = pump.run(deadline)
    timed_out = not quiet and not pump.flooded and not pump.crowded
    if quiet:
        try:
            child.wait(max(0.0, deadline - time.monotonic()) + _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            timed_out = True
    _kill(child)
    status = child.wait()
    return Ended(
        status=status,
        output=bytes(pump.output),
        errors=bytes(pump.errors),
        timed_out=timed_out or status == -signal.SIGXCPU,
        flooded=pump.flooded,
        crowded=pump.crowded,
    )


class _Pump:
    """Feeds a child and reads it at once, so that neither side waits for the other for ever."""

    def __init__(self, child: subprocess.Popen[bytes], arguments: bytes, limits: Limits) -> None:
        if not (child.stdin and child.stdout and child.stderr):
            raise DependencyFailed("operations.child-start", "The isolated reader has no pipes.")
        self.output = bytearray()
        self.errors = bytearray()
        self.flooded = False
        self.crowded = False
        self._child, self._tasks = child, limits.tasks
        self._stdin, self._stdout, self._stderr = child.stdin, child.stdout, child.stderr
        self._left = memoryview(arguments)
        self._most = limits.answer_bytes + 2 * LENGTH + _STDERR_KEPT
        for stream in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(stream.fileno(), False)

    def run(self, deadline: float) -> bool:
        """Pump until the child closes its ends (True), or time or room runs out (False)."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            selector.register(self._stdout, selectors.EVENT_READ)
            selector.register(self._stderr, selectors.EVENT_READ)
            while selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0 or self.flooded or self._has_too_many_tasks():
                    return False
                for key, _ in selector.select(min(left, _WATCH_SECONDS)):
                    if not self._move(key.fileobj):
                        selector.unregister(key.fileobj)
        return True

    def _has_too_many_tasks(self) -> bool:
        """Whether the child runs more threads than it may; the kernel does not count those of root."""
        if self._tasks:
            with contextlib.suppress(OSError):  # no /proc here, or the child has just ended
                self.crowded = len(list(Path(f"/proc/{self._child.pid}/task").iterdir())) > self._tasks + 1
        return self.crowded

    def _move(self, stream: object) -> bool:
        """Move some bytes; whether more may follow."""
        if stream is self._stdin:
            return self._feed()
        reads_output = stream is self._stdout
        source = self._stdout if reads_output else self._stderr
        part = os.read(source.fileno(), _CHUNK)
        if reads_output:
            self.output += part
            self.flooded = len(self.output) > self._most
        else:
            self.errors = (self.errors + part)[-_STDERR_KEPT:]
        return bool(part)

    def _feed(self) -> bool:
        try:
            written = os.write(self._stdin.fileno(), self._left[:_CHUNK])
        except BlockingIOError:
            return True
        except BrokenPipeError:  # the child has ended or refuses to read on; its answer says why
            written = len(self._left)
        self._left = self._left[written:]
        if not self._left:
            try:
                self._stdin.close()
            except BrokenPipeError:
                return False
        return bool(self._left)
