"""The serving process with its adapters: needs the base installation only, never opens the database."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from gatewright.adapters.key_files import KeyFolder
from gatewright.adapters.local_blobs import LocalBlobs
from gatewright.assembly.settings import Settings, find_root, passphrase, read_trust
from gatewright.kernel.instants import Instant
from gatewright.serving.worker import WorkerSettings, run_worker

COLLECTOR_STOP_S = 15.0


def serve_home(start: Path, *, host: str, port: int, allowed_hosts: tuple[str, ...]) -> int:
    """Serve the home at or above ``start`` until told to stop; returns the exit code."""
    settings = Settings.read(find_root(start, os.environ))
    folder = settings.folder
    keys = KeyFolder(folder=folder / "keys", passphrase=passphrase(os.environ))
    data_key = keys.data_key()
    with ExitStack() as beside:
        run_worker(
            WorkerSettings(
                plan=folder / "plan.dsse",
                segments=folder / "segments",
                host=host,
                port=port,
                hosts=frozenset(allowed_hosts),
            ),
            blobs=LocalBlobs(folder / "blobs", data_key),
            signer=keys.worker,
            data_key=data_key,
            trust=read_trust(folder),
            clock=lambda: Instant(time.time_ns()),
            ready=lambda _url: beside.enter_context(_collector(settings.root)),
        )
    return 0


@contextmanager
def _collector(root: Path) -> Iterator[None]:
    """The collector beside the worker, where the studio is installed; a worker that is refused has none.

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
    try:
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(COLLECTOR_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
