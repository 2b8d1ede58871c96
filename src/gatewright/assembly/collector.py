"""The collector as a process beside the workers: started once they serve, ended with them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

STOP_S = 15.0
NICE = 10
"""The collector gives way to the workers: what it does may wait, what they do is waited for."""


@contextmanager
def collector(root: Path) -> Iterator[None]:
    """The collector of the home at ``root``, where the studio is installed.

    Without it sealed segments wait for the control side, and every other command still works.
    """
    if find_spec("sqlalchemy") is None:
        sys.stderr.write("Sealed records wait for 'gatewright collect' where the studio is installed.\n")
        yield
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "gatewright", "collect", "--watch"],
        cwd=root,
        stdin=subprocess.PIPE,
        env={**os.environ, "GATEWRIGHT_HOME": str(root)},
        start_new_session=True,
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
    try:
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
