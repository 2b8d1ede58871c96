"""What waits for the collector, and whether one runs: read without opening the home.

A running collector holds a shared lock on ``segments/collector.lock``, from its birth to its death
however it dies. Nothing is written into the file.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gatewright.kernel.instants import Instant

COLLECTOR_LOCK = "collector.lock"
SEALED = ".sealed"
OPEN = ".open"
WORKER_FOLDER = "worker-"
"""The folders of a server's second and further workers, below that of the first."""
LONG_WAIT_S = 60.0
"""A sealed segment that waits longer than this waits for something that does not come."""


def sealed(segments: Path) -> list[Path]:
    """The sealed segments of all workers, in the order of their times, which their names begin with."""
    found = [*segments.glob(f"*{SEALED}"), *segments.glob(f"{WORKER_FOLDER}*/*{SEALED}")]
    return sorted(found, key=lambda path: path.name)


def open_segments(segments: Path) -> frozenset[str]:
    """The names of the segments that workers are writing."""
    found = [*segments.glob(f"*{OPEN}"), *segments.glob(f"{WORKER_FOLDER}*/*{OPEN}")]
    return frozenset(path.name for path in found)


def longest_wait(segments: Path, now: Instant) -> float:
    """Seconds since the first of the sealed segments came to lie there; 0 where none does."""
    came = []
    for path in sealed(segments):
        try:
            came.append(path.stat().st_ctime_ns)
        except FileNotFoundError:  # collected meanwhile
            continue
    return max(0.0, (now.ns - min(came)) * 1e-9) if came else 0.0


def collector_lock(segments: Path) -> int:
    """A handle of the lock that a collector holds; it is held until the last copy of it is closed.

    Raises OSError where the file cannot be made.
    """
    handle = os.open(segments / COLLECTOR_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    fcntl.flock(handle, fcntl.LOCK_SH)  # waits only for whoever looks, and that is a moment
    return handle


def collector_runs(segments: Path) -> bool:
    """Whether a collector runs that a server of this home started."""
    try:
        handle = os.open(segments / COLLECTOR_LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
